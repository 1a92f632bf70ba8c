# Which SAE features belong to one language and which to several, over training (paper C).
#   in:  checkpoints of a language model, documents of two or more languages
#   out: token tables, one SAE a checkpoint and layer, every feature classed, injections into an unfinished model

from isogloss.config.base import middle
from isogloss.languages import language

INTERVENTION = STUDY.bilingual.intervention
TRANSLATIONS = INTERVENTION and INTERVENTION.translations
COMET = TRANSLATIONS and TRANSLATIONS.comet


def checkpoint_source(wildcards):
    """Where a pretrained model's checkpoint is."""
    step = int(wildcards.checkpoint.removeprefix("step"))
    return model_of(wildcards).checkpoints[step]


use rule fetch_model as fetch_checkpoint with:
    input:
        lambda wildcards: local_files(checkpoint_source(wildcards).folder),
    output:
        directory("results/{model}/checkpoints/{checkpoint}"),
    log:
        "results/{model}/logs/fetch_checkpoint/{checkpoint}.log",
    params:
        **sections(source=checkpoint_source),
    message:
        "Fetch the checkpoint {wildcards.checkpoint} of {wildcards.model}"


def checkpoints(model):
    """The checkpoints of a model, in order; the last is the finished model."""
    return STUDY.models[model].checkpoint_list


def checkpoint_inputs(model, checkpoint):
    """A checkpoint as input: its folder where it is fetched, all of them where the model is trained here."""
    return f"results/{model}/{STUDY.models[model].checkpoint_path(checkpoint)}"


def finished_checkpoint(wildcards):
    """The finished model."""
    return checkpoint_inputs(wildcards.model, checkpoints(wildcards.model)[-1])


rule tokenise:
    input:
        checkpoint=finished_checkpoint,
        documents=document_tables(STUDY.bilingual_languages),
    output:
        train="results/{model}/bilingual/tokens/train.parquet",
        evaluation="results/{model}/bilingual/tokens/evaluation.parquet",
    log:
        "results/{model}/logs/tokenise.log",
    benchmark:
        "results/{model}/usage/tokenise.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(settings=STUDY.bilingual.only("tokens_per_document", "minimum_tokens", "evaluation_tokens")),
        code=code("tokenise"),
        seed=STUDY.seed,
        languages=STUDY.bilingual_languages,
        training_tokens=lambda wildcards: getattr(model_of(wildcards).sae, "tokens", 0),
    message:
        "Tokenise the documents for {wildcards.model}"
    script:
        "../scripts/tokenise.py"


rule search_learning_rate:
    input:
        checkpoint=finished_checkpoint,
        train=rules.tokenise.output.train,
        evaluation=rules.tokenise.output.evaluation,
    output:
        "results/{model}/tables/learning_rates.parquet",
    log:
        "results/{model}/logs/search_learning_rate.log",
    benchmark:
        "results/{model}/usage/search_learning_rate.tsv"
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
    params:
        **sections(sae=model_setting("sae"), compute=STUDY.compute),
        code=code("search_learning_rate"),
        seed=STUDY.seed,
        checkpoint=lambda wildcards: checkpoints(wildcards.model)[-1],
        layer=lambda wildcards: middle(layers_of(wildcards)),
        rates=STUDY.bilingual.learning_rates,
    message:
        "Search the learning rate of the SAEs of {wildcards.model}"
    script:
        "../scripts/search_learning_rate.py"


def checkpoint_folder(wildcards):
    """The wildcards' checkpoint."""
    return checkpoint_inputs(wildcards.model, wildcards.checkpoint)


rule train_checkpoint_saes:
    input:
        checkpoint=checkpoint_folder,
        train=rules.tokenise.output.train,
        evaluation=rules.tokenise.output.evaluation,
        learning_rates=rules.search_learning_rate.output[0] if STUDY.bilingual.learning_rates else [],
    output:
        sae=directory("results/{model}/bilingual/{checkpoint}/{block}/sae"),
        quality="results/{model}/bilingual/{checkpoint}/{block}/sae_quality.parquet",
    log:
        "results/{model}/logs/train_checkpoint_saes/{checkpoint}/{block}.log",
    benchmark:
        "results/{model}/usage/train_checkpoint_saes/{checkpoint}/{block}.tsv"
    wildcard_constraints:
        model=one_of(name for name, model in STUDY.models.items() if model.sae),
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
    params:
        **sections(
            sae=model_setting("sae"),
            bilingual=STUDY.bilingual.only("resume_every"),
            compute=STUDY.compute,
        ),
        code=code("train_checkpoint_saes"),
        seed=STUDY.seed,
        layers=block_layers,
        state_folder="results/{model}/bilingual/{checkpoint}/{block}/.training",
    message:
        "Train the SAEs of {wildcards.model} at {wildcards.checkpoint}, layers {wildcards.block}, from one forward"
    script:
        "../scripts/train_checkpoint_saes.py"


def checkpoint_saes(wildcards):
    """The SAEs of a checkpoint's block as inputs: those trained on it, or published ones of the finished model."""
    if model_of(wildcards).sae:
        return checkpoint_sae_folder(wildcards)
    return block_saes(wildcards)


def checkpoint_sae_folder(wildcards):
    """The folder that holds the SAEs of a checkpoint's block, a subfolder a layer."""
    if model_of(wildcards).sae:
        return f"results/{wildcards.model}/bilingual/{wildcards.checkpoint}/{wildcards.block}/sae"
    return f"results/{wildcards.model}/sae"


rule measure_saes:
    input:
        checkpoint=checkpoint_folder,
        sae=checkpoint_saes,
        evaluation=rules.tokenise.output.evaluation,
    output:
        quality="results/{model}/bilingual/{checkpoint}/{block}/sae_quality.parquet",
    log:
        "results/{model}/logs/measure_saes/{checkpoint}/{block}.log",
    benchmark:
        "results/{model}/usage/measure_saes/{checkpoint}/{block}.tsv"
    wildcard_constraints:
        model=one_of(name for name, model in STUDY.models.items() if not model.sae),
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
    params:
        **sections(compute=STUDY.compute),
        code=code("measure_saes"),
        sae_folder=checkpoint_sae_folder,
        layers=block_layers,
    message:
        "Measure the published SAEs of {wildcards.model}, layers {wildcards.block}"
    script:
        "../scripts/measure_saes.py"


def embeddings_checkpoint(wildcards):
    """The finished model, as its name and its checkpoint's, whose input embeddings cluster tokens."""
    model = STUDY.bilingual.embeddings or wildcards.model
    return model, checkpoints(model)[-1]


DESCRIBED = STUDY.bilingual.only(
    "threshold",
    "pattern_threshold",
    "similarity",
    "similarity_quantile",
    "permutations",
    "clustering",
    "single_token",
    "examples_per_class",
)


rule describe_features:
    input:
        checkpoint=checkpoint_folder,
        embeddings=lambda wildcards: checkpoint_inputs(*embeddings_checkpoint(wildcards)),
        sae=checkpoint_saes,
        evaluation=rules.tokenise.output.evaluation,
    output:
        features="results/{model}/bilingual/{checkpoint}/{block}/features.parquet",
        examples="results/{model}/bilingual/{checkpoint}/{block}/examples.parquet",
    log:
        "results/{model}/logs/describe_features/{checkpoint}/{block}.log",
    benchmark:
        "results/{model}/usage/describe_features/{checkpoint}/{block}.tsv"
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
    params:
        **sections(
            settings=DESCRIBED,
            compute=STUDY.compute,
        ),
        code=code("describe_features"),
        seed=STUDY.seed,
        languages=STUDY.bilingual_languages,
        embeddings_checkpoint=lambda wildcards: embeddings_checkpoint(wildcards)[1],
        sae_folder=checkpoint_sae_folder,
        layers=block_layers,
    message:
        "Describe the features of {wildcards.model} at {wildcards.checkpoint}, layers {wildcards.block}"
    script:
        "../scripts/describe_features.py"


def bilingual_blocks(model):
    """The layer blocks whose SAEs are trained together."""
    return blocks(STUDY.models[model].layer_list, STUDY.bilingual.layers_per_job)


def checkpoint_tables(model, name):
    """A table of every checkpoint and block of layers."""
    return [
        f"results/{model}/bilingual/{checkpoint}/{block}/{name}.parquet"
        for checkpoint in checkpoints(model)
        for block in bilingual_blocks(model)
    ]


rule selectivity:
    input:
        features=lambda wildcards: checkpoint_tables(wildcards.model, "features"),
        examples=lambda wildcards: checkpoint_tables(wildcards.model, "examples"),
        quality=lambda wildcards: checkpoint_tables(wildcards.model, "sae_quality"),
    output:
        features="results/{model}/tables/features.parquet",
        selectivity="results/{model}/tables/selectivity.parquet",
        minimum="results/{model}/tables/selectivity_by_minimum.parquet",
        examples="results/{model}/tables/examples.parquet",
        sae_training="results/{model}/tables/sae_training.parquet",
    log:
        "results/{model}/logs/selectivity.log",
    benchmark:
        "results/{model}/usage/selectivity.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(statistics=STUDY.statistics.only("bootstrap", "confidence")),
        code=code("selectivity"),
        minimum_activations=STUDY.bilingual.minimum_activations,
        seed=STUDY.seed,
        languages=STUDY.bilingual_languages,
    message:
        "Count the features of {wildcards.model} by class"
    script:
        "../scripts/selectivity.py"


def finished_block(model, layer, name):
    """The SAEs of the finished model's block that has a layer, or a table about them."""
    block = block_of(layer, bilingual_blocks(model))
    return f"results/{model}/bilingual/{checkpoints(model)[-1]}/{block}/{name}"


def injected(wildcards, name):
    """The SAE whose features are injected, or a table about it."""
    return finished_block(wildcards.model, STUDY.intervention_place(wildcards.model)[1], name)


def intervention_outputs():
    """What an injection writes: final tables, or tables and translations that COMET completes."""
    names = ["intervention", "intervention_summary"]
    if not COMET:
        return {name: f"results/{{model}}/tables/{name}.parquet" for name in names}
    names.append("hypotheses")
    return {name: f"results/{{model}}/bilingual/{name}.parquet" for name in names}


rule intervene:
    input:
        checkpoint=lambda wildcards: checkpoint_inputs(wildcards.model, STUDY.intervention_place(wildcards.model)[0]),
        full=finished_checkpoint,
        sae=lambda wildcards: injected(wildcards, "sae"),
        features=lambda wildcards: injected(wildcards, "features.parquet"),
        evaluation=rules.tokenise.output.evaluation,
        segments=(
            [
                path if not TRANSLATIONS.folder else f"{TRANSLATIONS.folder}/{Path(path).name}"
                for path in segment_tables(STUDY.bilingual_languages)
            ]
            if TRANSLATIONS
            else []
        ),
    output:
        **intervention_outputs(),
    log:
        "results/{model}/logs/intervene.log",
    benchmark:
        "results/{model}/usage/intervene.tsv"
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
    params:
        **sections(
            # Where is a model's affair, and COMET comes after it.
            settings=INTERVENTION
            and INTERVENTION.without("step", "layer").model_copy(
                update={"translations": TRANSLATIONS and TRANSLATIONS.without("comet")}
            ),
            statistics=STUDY.statistics.only("bootstrap", "confidence"),
            compute=STUDY.compute,
        ),
        code=code("intervene"),
        seed=STUDY.seed,
        checkpoint=lambda wildcards: STUDY.intervention_place(wildcards.model)[0],
        full_checkpoint=lambda wildcards: checkpoints(wildcards.model)[-1],
        layer=lambda wildcards: STUDY.intervention_place(wildcards.model)[1],
        languages=STUDY.bilingual_languages,
        language_names={lang: language(lang).name for lang in STUDY.bilingual_languages if TRANSLATIONS},
    message:
        "Inject features of the finished {wildcards.model} into an unfinished one"
    script:
        "../scripts/intervene.py"


if COMET:

    rule score_comet:
        input:
            **intervention_outputs(),
            model=local_files(COMET, "*", "checkpoints/*"),
        output:
            intervention="results/{model}/tables/intervention.parquet",
            intervention_summary="results/{model}/tables/intervention_summary.parquet",
        log:
            "results/{model}/logs/score_comet.log",
        benchmark:
            "results/{model}/usage/score_comet.tsv"
        conda:
            "../../envs/comet.yaml"
        resources:
            gpu=1,
        params:
            code=code("score_comet"),
            comet=COMET,
        message:
            "Score the translations of {wildcards.model} with COMET"
        script:
            "../scripts/score_comet.py"
