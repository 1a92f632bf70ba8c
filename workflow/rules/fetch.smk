# What comes from elsewhere: models, SAEs, exported activations, translators, questions.
#   in:  repositories of the Hugging Face Hub at a revision, Neuronpedia's bucket, or local folders with the same files
#   out: folders of links to what was fetched, each with fetched.json: id, commit, sizes and checksums
# fetch_exports has no `code`: an edited module must not download gigabytes again.
# Local rules: they run where snakemake runs, since compute nodes often have no network.


def local_files(folder, inside=""):
    """The files of a local source: a change there runs its fetch again. Nothing for what comes from the network."""
    if not folder:
        return []
    return sorted(
        str(path) for path in Path(folder, inside).glob("*") if path.is_file()
    )


rule fetch_model:
    input:
        lambda wildcards: local_files(setting(wildcards, "source.folder")),
    output:
        directory("results/{model}/lm"),
    log:
        "results/{model}/logs/fetch_model.log",
    wildcard_constraints:
        model=one_of(PRETRAINED),
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("fetch_model"),
        source=model_setting("source"),
        architecture=model_setting("architecture"),
    message:
        "Fetch the language model {wildcards.model}"
    script:
        "../scripts/fetch_model.py"


def sae_id(wildcards):
    """The SAE of a layer, by its id."""
    return STUDY.models[wildcards.model].saes.ids[int(wildcards.layer)]


rule fetch_sae:
    input:
        lambda wildcards: local_files(
            (setting(wildcards, "saes.source") or {}).get("folder"), sae_id(wildcards)
        ),
    output:
        directory("results/{model}/sae/layer_{layer}"),
    log:
        "results/{model}/logs/fetch_sae/{layer}.log",
    wildcard_constraints:
        model=one_of(PRETRAINED),
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("fetch_sae"),
        source=model_setting("saes.source"),
        release=model_setting("saes.release"),
        sae_id=sae_id,
        kind=model_setting("saes.kind"),
        features=model_setting("saes.features"),
        d_model=model_setting("architecture.d_model"),
    message:
        "Fetch the SAE of {wildcards.model}, layer {wildcards.layer}"
    script:
        "../scripts/fetch_sae.py"


def export_source(wildcards):
    """Neuronpedia's name of a layer's SAE."""
    return STUDY.models[wildcards.model].neuronpedia.source.format(
        layer=wildcards.layer
    )


rule fetch_exports:
    input:
        lambda wildcards: local_files(
            setting(wildcards, "neuronpedia.folder"),
            f"{setting(wildcards, 'neuronpedia.model')}/{export_source(wildcards)}/activations",
        ),
    output:
        directory("results/{model}/neuronpedia/layer_{layer}"),
    log:
        "results/{model}/logs/fetch_exports/{layer}.log",
    wildcard_constraints:
        model=one_of(PRETRAINED),
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        neuronpedia=model_setting("neuronpedia"),
        source=export_source,
        downloads="results/{model}/.downloads/layer_{layer}",
    message:
        "Fetch the exported activations of {wildcards.model}, layer {wildcards.layer}"
    script:
        "../scripts/fetch_exports.py"


def translator(lang, direction):
    """The OPUS-MT model into a language, or back from it; None without one."""
    models = "models" if direction == "to" else "back_models"
    return config["translation"][models].get(lang)


def translator_target(lang, direction):
    """The language code that a translator's input begins with, if it needs one."""
    return (translator(lang, direction) or {}).get("target")


rule fetch_translator:
    input:
        lambda wildcards: local_files(
            translator(wildcards.lang, wildcards.direction)["source"]["folder"]
        ),
    output:
        directory("results/translators/{direction}/{lang}"),
    log:
        "results/logs/fetch_translator/{direction}/{lang}.log",
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("fetch_translator"),
        source=lambda wildcards: translator(wildcards.lang, wildcards.direction)[
            "source"
        ],
        target=lambda wildcards: translator_target(wildcards.lang, wildcards.direction),
        engine=STUDY.translation.engine,
        compute_type=STUDY.translation.compute_type,
        reference=REFERENCE,
    message:
        "Fetch the translator {wildcards.direction} {wildcards.lang}"
    script:
        "../scripts/fetch_translator.py"


rule fetch_questions:
    input:
        lambda wildcards: [
            path
            for lang in LANGUAGES
            for path in local_files(
                config["benchmarks"]["sources"][wildcards.task]["folder"],
                f"data/{lang}",
            )
        ],
    output:
        directory("results/benchmarks/m_{task}"),
    log:
        "results/logs/fetch_questions/{task}.log",
    wildcard_constraints:
        task=one_of(STUDY.benchmarks.sources),
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("fetch_questions"),
        source=lambda wildcards: config["benchmarks"]["sources"][wildcards.task],
        languages=LANGUAGES,
    message:
        "Fetch the questions of {wildcards.task}"
    script:
        "../scripts/fetch_questions.py"
