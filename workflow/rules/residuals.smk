# Residual streams of phrases, and how alike they are across languages (paper A, sec. 2.2).
#   in:  language model, adapter, translations
#   out: mean-pooled residuals a language, similarity tables


def captured_translations(wildcards):
    """The phrases that a capture job reads: of each of its languages, a table a block of layers."""
    return {
        lang: [translation_table(wildcards.model, block, lang) for block in model_blocks(wildcards.model)]
        for lang in language_blocks(LANGUAGES)[wildcards.langs]
    }


rule capture:
    input:
        lm="results/{model}/lm",
        adapter=adapter_folder,
        reproduced=ancient(model_reproduced),
        translations=lambda wildcards: sum(captured_translations(wildcards).values(), []),
    output:
        directory("results/{model}/residuals/{adapter}/{langs}"),
    log:
        "results/{model}/logs/capture/{adapter}/{langs}.log",
    benchmark:
        "results/{model}/usage/capture/{adapter}/{langs}.tsv"
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
    params:
        **sections(compute=STUDY.compute),
        code=code("capture"),
        translations=captured_translations,
        layers=layers_of,
        feature_stride=STUDY.similarity.feature_stride,
    message:
        "Capture mean-pooled residuals of {wildcards.model} ({wildcards.adapter}) in {wildcards.langs}"
    script:
        "../scripts/capture.py"


def residual_tables(wildcards):
    """The base model's residuals in every language."""
    return language_files(f"results/{wildcards.model}/residuals/base", LANGUAGES)


rule similarity:
    input:
        residuals=in_folders(residual_tables),
        phrases=model_phrases,
    output:
        similarity="results/{model}/tables/similarity.parquet",
        similarity_pairs="results/{model}/tables/similarity_pairs.parquet",
    log:
        "results/{model}/logs/similarity.log",
    benchmark:
        "results/{model}/usage/similarity.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(statistics=STUDY.statistics.only("bootstrap", "confidence")),
        code=code("similarity"),
        seed=STUDY.seed,
        residuals=residual_tables,
        langs=LANGUAGES,
        reference=REFERENCE,
        candidates=STUDY.similarity.candidates,
    message:
        "Compare the residuals of {wildcards.model} across languages"
    script:
        "../scripts/similarity.py"
