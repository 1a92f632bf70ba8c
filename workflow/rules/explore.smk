# The feature explorer of the report: chosen features in their texts, token by token.
#   in:  language model, SAEs; activations, codes and translations of the layers that are shown; paper C's tables, if any
#   out: the features with what is measured of them in each language, and their texts with an activation a token


def explored_layers(wildcards):
    """The layers whose features are shown."""
    return STUDY.explorer.shown(layers_of(wildcards))


def explored_blocks(wildcards):
    """The blocks of layers that hold them."""
    held = [block_of(layer, model_blocks(wildcards.model)) for layer in explored_layers(wildcards)]
    return list(dict.fromkeys(held))


def explored_activations(wildcards):
    """The base model's activations at these blocks, each table with its language."""
    return activation_tables(wildcards.model, "base", LANGUAGES, explored_blocks(wildcards))


def explored_codes(wildcards):
    """The codes at these blocks, each table with its language."""
    return {
        path: Path(path).stem
        for block in explored_blocks(wildcards)
        for path in language_files(f"results/{wildcards.model}/codes/{block}", LANGUAGES)
    }


def explored_translations(wildcards):
    """The phrases at these blocks, each table with its language."""
    blocks_shown = explored_blocks(wildcards)
    return {translation_table(wildcards.model, block, lang): lang for lang in LANGUAGES for block in blocks_shown}


def bilingual_table(name):
    """An input function: a table of paper C, where the model is asked for it."""
    return lambda wildcards: (
        f"results/{wildcards.model}/tables/{name}.parquet" if "bilingual" in model_of(wildcards).analyses else []
    )


def neuronpedia_page(wildcards):
    """MODEL/SOURCE on Neuronpedia as the study gives it, with {layer} to fill in."""
    named = getattr(model_of(wildcards), "neuronpedia", None)
    return named and f"{named.model}/{named.source}"


rule explore:
    input:
        lm="results/{model}/lm",
        sae=lambda wildcards: sae_folders(wildcards.model, explored_layers(wildcards)),
        activations=in_folders(explored_activations),
        codes=in_folders(explored_codes),
        translations=lambda wildcards: list(explored_translations(wildcards)),
        pool=lambda wildcards: sum(pooled_texts(wildcards).values(), []),
        features=bilingual_table("features"),
        examples=bilingual_table("examples"),
    output:
        explorer="results/{model}/tables/explorer.parquet",
        explorer_features="results/{model}/tables/explorer_features.parquet",
    log:
        "results/{model}/logs/explore.log",
    benchmark:
        "results/{model}/usage/explore.tsv"
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
    params:
        **sections(
            settings=STUDY.explorer.without("layers"),  # a model's affair
            statistics=STUDY.statistics.only("bootstrap", "confidence"),
            compute=STUDY.compute,
        ),
        code=code("explore"),
        seed=STUDY.seed,
        sae_folder="results/{model}/sae",
        activations=explored_activations,
        codes=explored_codes,
        translations=explored_translations,
        pool=pooled_texts,
        kind="segments" if PARALLEL else "phrases",
        own_saes=lambda wildcards: model_of(wildcards).sae is not None,
        neuronpedia=neuronpedia_page,
        reference=REFERENCE,
        layers=explored_layers,
        texts=STUDY.reciprocal.texts,
        feature_stride=STUDY.reciprocal.feature_stride or STUDY.phrases.feature_stride,
        minimum_phrases=STUDY.gap.minimum_phrases,
    message:
        "Show features of {wildcards.model} in their texts"
    script:
        "../scripts/explore.py"
