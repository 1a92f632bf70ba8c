# Phrases that make SAE features fire, and their translations.
#   in:  language model, SAEs; documents or parallel segments, or exports; a machine translation, if any
#   out: phrases of the reference language, recorded activations found again, translations a block of layers and language

from isogloss.config.translation import MULTILINGUAL


def phrase_tables(model, layers):
    """The tables that hold the phrases of some layers."""
    if model not in EXPORTED:
        return [f"results/{model}/phrases/all.parquet"]
    return [f"results/{model}/phrases/layer_{layer}.parquet" for layer in layers]


def block_phrases(wildcards):
    """The phrases of a block's layers."""
    return phrase_tables(wildcards.model, block_layers(wildcards))


def model_phrases(wildcards):
    """The phrases of all layers."""
    return phrase_tables(wildcards.model, layers_of(wildcards))


rule phrases:
    input:
        lm="results/{model}/lm",
        sae=lambda wildcards: sae_folders(wildcards.model, layers_of(wildcards)),
        documents=next(iter(document_tables([STUDY.phrases_language], STUDY.phrase_provider)), []),
        segments=segment_table(STUDY.phrases_language, STUDY.phrase_provider),
    output:
        phrases="results/{model}/phrases/all.parquet",
        counts="results/{model}/tables/phrase_counts.parquet",
    log:
        "results/{model}/logs/phrases.log",
    benchmark:
        "results/{model}/usage/phrases.tsv"
    wildcard_constraints:
        model=one_of(model for model in STUDY.models if STUDY.searched(model)),
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
    params:
        **sections(settings=STUDY.phrases.without("check", "texts", "language"), compute=STUDY.compute),
        code=code("phrases"),
        space=segment_space(STUDY.phrases_language, STUDY.phrase_provider),
        sae_folder="results/{model}/sae",
        layers=layers_of,
    message:
        "Find the phrases that make the features of {wildcards.model} fire"
    script:
        "../scripts/phrases.py"


def widths_source(wildcards):
    """The SAE as an input where the study does not declare its width; other weights change no phrase of the exports."""
    saes = model_of(wildcards).saes
    return [] if saes.features else ancient(f"results/{wildcards.model}/sae/layer_{wildcards.layer}")


rule exported_phrases:
    input:
        lm="results/{model}/lm",
        sae=widths_source,
        exports="results/{model}/neuronpedia/layer_{layer}",
    output:
        phrases="results/{model}/phrases/layer_{layer}.parquet",
        records="results/{model}/phrases/layer_{layer}.records.parquet",
        counts="results/{model}/phrases/layer_{layer}.counts.parquet",
    log:
        "results/{model}/logs/exported_phrases/{layer}.log",
    benchmark:
        "results/{model}/usage/exported_phrases/{layer}.tsv"
    wildcard_constraints:
        model=one_of(EXPORTED),
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(settings=STUDY.phrases.without("check", "corpus_tokens", "texts", "language", "unit")),
        code=code("exported_phrases"),
        features=model_setting("saes.features"),
        checked_records=STUDY.phrases.check.records,
    message:
        "Read the phrases of {wildcards.model}, layer {wildcards.layer}, from the exports"
    script:
        "../scripts/exported_phrases.py"


rule reproduce:
    input:
        lm="results/{model}/lm",
        sae=block_saes,
        records=lambda wildcards: [path.replace(".parquet", ".records.parquet") for path in block_phrases(wildcards)],
    output:
        "results/{model}/reproduced/{block}.parquet",
    log:
        "results/{model}/logs/reproduce/{block}.log",
    benchmark:
        "results/{model}/usage/reproduce/{block}.tsv"
    wildcard_constraints:
        model=one_of(EXPORTED),
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
    params:
        **sections(check=STUDY.phrases.check.without("records"), compute=STUDY.compute),
        code=code("reproduce"),
        sae_folder="results/{model}/sae",
        layers=block_layers,
    message:
        "Measure recorded activations of {wildcards.model} again, layers {wildcards.block}"
    script:
        "../scripts/reproduce.py"


def reproduced(model, block_list):
    """What must have been found again before a model is measured: recorded activations, where there are any."""
    return [f"results/{model}/reproduced/{block}.parquet" for block in block_list if model in EXPORTED]


def model_reproduced(wildcards):
    """The recorded activations of all layers."""
    return reproduced(wildcards.model, model_blocks(wildcards.model))


rule phrase_counts:
    input:
        counts=lambda wildcards: [path.replace(".parquet", ".counts.parquet") for path in model_phrases(wildcards)],
        reproduced=model_reproduced,
    output:
        phrase_counts="results/{model}/tables/phrase_counts.parquet",
        reproduction="results/{model}/tables/reproduction.parquet",
    log:
        "results/{model}/logs/phrase_counts.log",
    benchmark:
        "results/{model}/usage/phrase_counts.tsv"
    wildcard_constraints:
        model=one_of(EXPORTED),
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("phrase_counts"),
    message:
        "Count the phrases of {wildcards.model}"
    script:
        "../scripts/phrase_counts.py"


def translator_folder(wildcards, direction):
    """The translator as an input; nothing for the phrases' language, a translation memory, or without a model."""
    backend = STUDY.translation.backend
    if wildcards.lang == STUDY.phrases_language or backend == "parallel":
        return []
    if backend in MULTILINGUAL:
        return "results/translators/model" if direction == "to" else []
    return f"results/translators/{direction}/{wildcards.lang}" if translator(wildcards, direction) else []


def translator_codes(wildcards):
    """What a translator of all languages calls the phrases' language and another."""
    asks = STUDY.translation.backend in MULTILINGUAL and wildcards.lang != STUDY.phrases_language
    return f"results/translators/codes/{wildcards.lang}.json" if asks else []


rule translate:
    input:
        phrases=block_phrases,
        segments=segment_table("{lang}") if STUDY.translation.backend == "parallel" else [],
        translator=lambda wildcards: translator_folder(wildcards, "to"),
        back_translator=lambda wildcards: translator_folder(wildcards, "from"),
        codes=translator_codes,
    output:
        "results/{model}/translations/{block}/{lang}.parquet",
    log:
        "results/{model}/logs/translate/{block}/{lang}.log",
    benchmark:
        "results/{model}/usage/translate/{block}/{lang}.tsv"
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=lambda wildcards: int(bool(translator_folder(wildcards, "to"))),
    params:
        **sections(settings=STUDY.translation.without("models", "back_models", "model", "codes")),
        code=code("translate"),
        space=lambda wildcards: segment_space(wildcards.lang),
        source_lang=STUDY.phrases_language,
        layers=block_layers,
        target=lambda wildcards: getattr(translator(wildcards, "to"), "target", None),
        back_target=lambda wildcards: getattr(translator(wildcards, "from"), "target", None),
        state_folder="results/{model}/.translation/{block}/{lang}",
    message:
        "Translate the phrases of {wildcards.model}, layers {wildcards.block}, into {wildcards.lang}"
    script:
        "../scripts/translate.py"


def translation_table(model, block, lang):
    """The phrases of a block in a language."""
    return f"results/{model}/translations/{block}/{lang}.parquet"


def every_translation(wildcards):
    """The phrases of all layers in all languages, each table with its language."""
    model = wildcards.model
    return {translation_table(model, block, lang): lang for lang in LANGUAGES for block in model_blocks(model)}


rule translation_quality:
    input:
        translations=lambda wildcards: list(every_translation(wildcards)),
    output:
        "results/{model}/tables/translation_quality.parquet",
    log:
        "results/{model}/logs/translation_quality.log",
    benchmark:
        "results/{model}/usage/translation_quality.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(statistics=STUDY.statistics.only("bootstrap", "confidence")),
        code=code("translation_quality"),
        seed=STUDY.seed,
        langs=lambda wildcards: list(every_translation(wildcards).values()),
    message:
        "Count the translations of {wildcards.model}"
    script:
        "../scripts/translation_quality.py"
