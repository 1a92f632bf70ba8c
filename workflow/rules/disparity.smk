# How strongly SAE features fire in each language (paper A, sec. 2.4 and 2.5).
#   in:  language model, adapter, SAEs, translations; parallel segments, where there are any
#   out: own-feature activations a block of layers and language, gap tables, their controls, inference over languages;
#        codes of the same texts a block of layers and language, the gap chosen both ways


def adapter_languages(adapter):
    """The languages that a model is measured in, with an adapter (the reference and those aligned) or without."""
    return [lang for lang in LANGUAGES if adapter == "base" or lang in {REFERENCE, *RUNS[adapter].languages}]


def encoded_languages(wildcards):
    """The languages that an encode job takes."""
    return language_blocks(adapter_languages(wildcards.adapter))[wildcards.langs]


rule encode:
    input:
        lm="results/{model}/lm",
        adapter=adapter_folder,
        sae=block_saes,
        reproduced=lambda wildcards: reproduced(wildcards.model, [wildcards.block]),
        translations=lambda wildcards: [
            translation_table(wildcards.model, wildcards.block, lang) for lang in encoded_languages(wildcards)
        ],
    output:
        directory("results/{model}/activations/{adapter}/{block}/{langs}"),
    log:
        "results/{model}/logs/encode/{adapter}/{block}/{langs}.log",
    benchmark:
        "results/{model}/usage/encode/{adapter}/{block}/{langs}.tsv"
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
    params:
        **sections(compute=STUDY.compute),
        code=code("encode"),
        seed=STUDY.seed,
        sae_folder="results/{model}/sae",
        layers=block_layers,
        langs=encoded_languages,
    message:
        "Encode the phrases of {wildcards.model} ({wildcards.adapter}), layers {wildcards.block}, {wildcards.langs}"
    script:
        "../scripts/encode.py"


def activation_tables(model, adapter, languages, block_list=None):
    """The encode jobs' tables in some languages, each with its language, block after block (default: all blocks)."""
    return {
        path: Path(path).stem
        for block in block_list or model_blocks(model)
        for path in language_files(f"results/{model}/activations/{adapter}/{block}", adapter_languages(adapter))
        if Path(path).stem in languages
    }


def base_activations(wildcards):
    """The base model's activations, each table with its language."""
    return activation_tables(wildcards.model, "base", LANGUAGES)


rule gap:
    input:
        activations=in_folders(base_activations),
    output:
        language_gap="results/{model}/tables/language_gap.parquet",
        group_gap="results/{model}/tables/group_gap.parquet",
        group_activation="results/{model}/tables/group_activation.parquet",
        language_gap_summary="results/{model}/tables/language_gap_summary.parquet",
    log:
        "results/{model}/logs/gap.log",
    benchmark:
        "results/{model}/usage/gap.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(languages=STUDY.languages, statistics=STUDY.statistics),
        code=code("gap"),
        seed=STUDY.seed,
        activations=base_activations,
        minimum_phrases=STUDY.gap.minimum_phrases,
    message:
        "Compute the activation gaps of {wildcards.model}"
    script:
        "../scripts/gap.py"


rule controls:
    input:
        activations=in_folders(base_activations),
    output:
        "results/{model}/tables/activation_controls.parquet",
    log:
        "results/{model}/logs/controls.log",
    benchmark:
        "results/{model}/usage/controls.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(statistics=STUDY.statistics.only("bootstrap", "confidence")),
        code=code("controls"),
        seed=STUDY.seed,
        activations=base_activations,
        reference=REFERENCE,
        minimum_phrases=STUDY.gap.minimum_phrases,
    message:
        "Compute the controls of the gap of {wildcards.model}"
    script:
        "../scripts/controls.py"


PARALLEL = STUDY.translation.backend == "parallel"


def pooled_texts(wildcards):
    """The tables, by language, of the texts whose codes are taken: segments, or phrases where these are translated."""
    if PARALLEL:
        return {lang: [segment_table(lang)] for lang in LANGUAGES}
    blocks = model_blocks(wildcards.model)
    return {lang: [translation_table(wildcards.model, block, lang) for block in blocks] for lang in LANGUAGES}


rule codes:
    input:
        lm="results/{model}/lm",
        sae=block_saes,
        reproduced=lambda wildcards: reproduced(wildcards.model, [wildcards.block]),
        tables=lambda wildcards: sum(pooled_texts(wildcards).values(), []),
    output:
        directory("results/{model}/codes/{block}/{langs}"),
    log:
        "results/{model}/logs/codes/{block}/{langs}.log",
    benchmark:
        "results/{model}/usage/codes/{block}/{langs}.tsv"
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
    params:
        **sections(compute=STUDY.compute),
        code=code("codes"),
        seed=STUDY.seed,
        sae_folder="results/{model}/sae",
        tables=pooled_texts,
        kind="segments" if PARALLEL else "phrases",
        reference=REFERENCE,
        layers=block_layers,
        langs=lambda wildcards: language_blocks(LANGUAGES)[wildcards.langs],
        texts=STUDY.reciprocal.texts,
        feature_stride=STUDY.reciprocal.feature_stride or STUDY.phrases.feature_stride,
    message:
        "Take the codes of parallel texts of {wildcards.model}, layers {wildcards.block}, {wildcards.langs}"
    script:
        "../scripts/codes.py"


def code_tables(wildcards):
    """The codes, each table with its language, block after block."""
    model = wildcards.model
    return {
        path: Path(path).stem
        for block in model_blocks(model)
        for path in language_files(f"results/{model}/codes/{block}", LANGUAGES)
    }


rule reciprocal:
    input:
        codes=in_folders(code_tables),
    output:
        reciprocal_gap="results/{model}/tables/reciprocal_gap.parquet",
        reciprocal_gap_summary="results/{model}/tables/reciprocal_gap_summary.parquet",
    log:
        "results/{model}/logs/reciprocal.log",
    benchmark:
        "results/{model}/usage/reciprocal.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(statistics=STUDY.statistics.only("bootstrap", "confidence")),
        code=code("reciprocal"),
        seed=STUDY.seed,
        codes=code_tables,
        reference=REFERENCE,
        per_feature=STUDY.phrases.per_feature,
        threshold=STUDY.phrases.threshold,
        minimum_phrases=STUDY.gap.minimum_phrases,
    message:
        "Compute the gap of {wildcards.model} chosen both ways"
    script:
        "../scripts/reciprocal.py"


def tables_by_language(wildcards):
    """The tables of a model whose measures are compared between the groups, language by language."""
    made_by = {"language_gap": "gap", "reciprocal_gap": "gap", "similarity": "similarity"}
    analyses = model_of(wildcards).analyses
    return [
        f"results/{wildcards.model}/tables/{table}.parquet"
        for table, analysis in made_by.items()
        if analysis in analyses
    ]


rule group_inference:
    input:
        tables_by_language,
    output:
        "results/{model}/tables/group_inference.parquet",
    log:
        "results/{model}/logs/group_inference.log",
    benchmark:
        "results/{model}/usage/group_inference.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(languages=STUDY.languages, statistics=STUDY.statistics),
        code=code("group_inference"),
        seed=STUDY.seed,
    message:
        "Compare the groups of {wildcards.model} over languages"
    script:
        "../scripts/group_inference.py"
