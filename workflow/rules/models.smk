# Toy language models, and SAEs that are trained here.
#   in:  the world's documents and the shares of languages; any language model and documents
#   out: tokenizer, language model, checkpoints (Hugging Face folders); one SAE a layer (SAELens format), quality tables


rule toy_tokenizer:
    input:
        documents=rules.toy_world.output.documents,
    output:
        directory("results/{model}/tokenizer"),
    log:
        "results/{model}/logs/toy_tokenizer.log",
    benchmark:
        "results/{model}/usage/toy_tokenizer.tsv"
    wildcard_constraints:
        model=one_of(TOYS),
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("toy_tokenizer"),
        languages=STUDY.world.languages,
        vocabulary=model_setting("architecture.vocabulary"),
        context=model_setting("architecture.context"),
    message:
        "Train the tokenizer of {wildcards.model} on all languages alike"
    script:
        "../scripts/toy_tokenizer.py"


rule train_toy:
    input:
        documents=rules.toy_world.output.documents,
        bilingual=rules.toy_world.output.bilingual,
        tokenizer=rules.toy_tokenizer.output[0],
    output:
        lm=directory("results/{model}/lm"),
        checkpoints=directory("results/{model}/checkpoints"),
        table="results/{model}/tables/training.parquet",
    log:
        "results/{model}/logs/train_toy.log",
    benchmark:
        "results/{model}/usage/train_toy.tsv"
    wildcard_constraints:
        model=one_of(TOYS),
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(
            architecture=model_setting("architecture"),
            training=model_setting("training"),
        ),
        code=code("train_toy"),
        seed=lambda wildcards: STUDY.seed_of(wildcards.model),
        languages=STUDY.world.languages,
        shares=model_setting("shares"),
        bilingual=STUDY.world.bilingual,
        kept_steps=model_setting("kept_steps"),
        state_folder="results/{model}/.training",
    message:
        "Train the language model {wildcards.model}"
    script:
        "../scripts/train_toy.py"


TRAINED_SAES = [model for model in STUDY.models if STUDY.trains_saes(model)]


def sae_languages(wildcards):
    """The languages whose documents SAEs are trained on."""
    shares = STUDY.sae_shares(wildcards.model)
    return [lang for lang in STUDY.document_languages(STUDY.documents_provider) if lang in shares]


rule train_sae:
    input:
        lm="results/{model}/lm",
        documents=lambda wildcards: document_tables(sae_languages(wildcards)),
    output:
        sae=directory("results/{model}/sae"),
        quality="results/{model}/tables/sae_quality.parquet",
    log:
        "results/{model}/logs/train_sae.log",
    benchmark:
        "results/{model}/usage/train_sae.tsv"
    wildcard_constraints:
        model=one_of(TRAINED_SAES),
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
    params:
        **sections(sae=model_setting("sae"), compute=STUDY.compute),
        code=code("train_sae"),
        seed=lambda wildcards: STUDY.seed_of(wildcards.model),
        languages=sae_languages,
        shares=lambda wildcards: STUDY.sae_shares(wildcards.model),
        layers=layers_of,
    message:
        "Train the SAEs of {wildcards.model}: all layers from one forward"
    script:
        "../scripts/train_sae.py"


def sae_folders(model, layers):
    """The SAEs of some layers as inputs: a folder each where they are fetched, one for all where they train together."""
    if model in TRAINED_SAES:
        return [f"results/{model}/sae"]
    return [f"results/{model}/sae/layer_{layer}" for layer in layers]


def block_saes(wildcards):
    """The SAEs of a block."""
    return sae_folders(wildcards.model, block_layers(wildcards))
