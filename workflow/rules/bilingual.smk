# Which SAE features belong to one language and which to several, over training (paper C).
#   in:  checkpoints of a language model, documents of two or more languages
#   out: token tables, one SAE a checkpoint and layer, every feature classed, injections into an unfinished model

from isogloss.languages import language_table


rule fetch_checkpoint:
    input:
        lambda wildcards: local_files(checkpoint_source(wildcards)["folder"]),
    output:
        directory("results/{model}/checkpoints/{checkpoint}"),
    log:
        "results/{model}/logs/fetch_checkpoint/{checkpoint}.log",
    wildcard_constraints:
        model=one_of(PRETRAINED),
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("fetch_model"),
        source=checkpoint_source,
        architecture=model_setting("architecture"),
    message:
        "Fetch the checkpoint {wildcards.checkpoint} of {wildcards.model}"
    script:
        "../scripts/fetch_model.py"


rule fetch_documents:
    input:
        lambda wildcards: local_files(document_source(wildcards)["folder"]),
    output:
        "results/documents/{lang}.parquet",
    log:
        "results/logs/fetch_documents/{lang}.log",
    wildcard_constraints:
        lang=one_of(STUDY.bilingual.documents),
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("fetch_documents"),
        source=document_source,
        documents=documents_needed(),
    message:
        "Fetch documents in {wildcards.lang}"
    script:
        "../scripts/fetch_documents.py"


rule tokenise:
    input:
        checkpoint=finished_checkpoint,
        documents=bilingual_documents,
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
        code=code("tokenise"),
        seed=STUDY.seed,
        languages=STUDY.bilingual_languages,
        tokens_per_document=STUDY.bilingual.tokens_per_document,
        minimum_tokens=STUDY.bilingual.minimum_tokens,
        training_tokens=model_setting("sae.tokens"),
        evaluation_tokens=STUDY.bilingual.evaluation_tokens,
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
        gpu=1,
        token_budget=STUDY.compute.token_budget,
    params:
        code=code("search_learning_rate"),
        seed=STUDY.seed,
        checkpoint=lambda wildcards: checkpoints(wildcards.model)[-1],
        layer=lambda wildcards: middle(layers_of(wildcards)),
        rates=STUDY.bilingual.learning_rates,
        sae=model_setting("sae"),
        dtype=STUDY.compute.dtype,
    message:
        "Search the learning rate of the SAEs of {wildcards.model}"
    script:
        "../scripts/search_learning_rate.py"


rule train_checkpoint_saes:
    input:
        checkpoint=checkpoint_folder,
        train=rules.tokenise.output.train,
        evaluation=rules.tokenise.output.evaluation,
        learning_rates=searched_rates,
    output:
        sae=directory("results/{model}/bilingual/{checkpoint}/{block}/sae"),
        quality="results/{model}/bilingual/{checkpoint}/{block}/sae_quality.parquet",
    log:
        "results/{model}/logs/train_checkpoint_saes/{checkpoint}/{block}.log",
    benchmark:
        "results/{model}/usage/train_checkpoint_saes/{checkpoint}/{block}.tsv"
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=1,
        token_budget=STUDY.compute.token_budget,
        resume_every=STUDY.bilingual.resume_every,
    params:
        code=code("train_checkpoint_saes"),
        seed=STUDY.seed,
        layers=block_layers,
        sae=model_setting("sae"),
        dtype=STUDY.compute.dtype,
        state_folder="results/{model}/bilingual/{checkpoint}/{block}/.training",
    message:
        "Train the SAEs of {wildcards.model} at {wildcards.checkpoint}, layers {wildcards.block}, from one forward"
    script:
        "../scripts/train_checkpoint_saes.py"


rule describe_features:
    input:
        checkpoint=checkpoint_folder,
        embeddings=embeddings_checkpoint,
        sae=rules.train_checkpoint_saes.output.sae,
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
        gpu=1,
        token_budget=STUDY.compute.token_budget,
    params:
        **feature_settings(),
        code=code("describe_features"),
        seed=STUDY.seed,
        languages=STUDY.bilingual_languages,
        embeddings_checkpoint=lambda wildcards: checkpoints(
            embeddings_model(wildcards.model)
        )[-1],
        layers=block_layers,
        dtype=STUDY.compute.dtype,
    message:
        "Describe the features of {wildcards.model} at {wildcards.checkpoint}, layers {wildcards.block}"
    script:
        "../scripts/describe_features.py"


rule selectivity:
    input:
        features=lambda wildcards: checkpoint_tables(wildcards.model, "features"),
        examples=lambda wildcards: checkpoint_tables(wildcards.model, "examples"),
        quality=lambda wildcards: checkpoint_tables(wildcards.model, "sae_quality"),
    output:
        features="results/{model}/tables/features.parquet",
        selectivity="results/{model}/tables/selectivity.parquet",
        examples="results/{model}/tables/examples.parquet",
        sae_training="results/{model}/tables/sae_training.parquet",
    log:
        "results/{model}/logs/selectivity.log",
    benchmark:
        "results/{model}/usage/selectivity.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("selectivity"),
        seed=STUDY.seed,
        languages=STUDY.bilingual_languages,
        bootstrap=STUDY.statistics.bootstrap,
        confidence=STUDY.statistics.confidence,
    message:
        "Count the features of {wildcards.model} by class"
    script:
        "../scripts/selectivity.py"


def prompt_names():
    """What prompts call the languages that are translated between; nothing without translations."""
    intervention = STUDY.bilingual.intervention
    if intervention is None or intervention.translations is None:
        return {}
    return {lang: language_table()[lang].name for lang in STUDY.bilingual_languages}


rule intervene:
    input:
        checkpoint=lambda wildcards: checkpoint_inputs(
            wildcards.model, STUDY.intervention_place(wildcards.model)[0]
        ),
        full=finished_checkpoint,
        sae=lambda wildcards: f"results/{wildcards.model}/bilingual/{intervention_block(wildcards)}/sae",
        features=lambda wildcards: f"results/{wildcards.model}/bilingual/{intervention_block(wildcards)}/features.parquet",
        evaluation=rules.tokenise.output.evaluation,
        segments=translation_segments,
    output:
        **intervention_outputs(),
    log:
        "results/{model}/logs/intervene.log",
    benchmark:
        "results/{model}/usage/intervene.tsv"
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=1,
        token_budget=STUDY.compute.token_budget,
    params:
        **intervention_settings(),
        code=code("intervene"),
        seed=STUDY.seed,
        checkpoint=lambda wildcards: STUDY.intervention_place(wildcards.model)[0],
        full_checkpoint=lambda wildcards: checkpoints(wildcards.model)[-1],
        layer=lambda wildcards: STUDY.intervention_place(wildcards.model)[1],
        languages=STUDY.bilingual_languages,
        language_names=prompt_names(),
        dtype=STUDY.compute.dtype,
        bootstrap=STUDY.statistics.bootstrap,
        confidence=STUDY.statistics.confidence,
    message:
        "Inject features of the finished {wildcards.model} into an unfinished one"
    script:
        "../scripts/intervene.py"


if comet_model():

    rule score_comet:
        input:
            **intervention_outputs(),
            model=[
                *local_files(comet_model()),
                *local_files(comet_model(), "checkpoints"),
            ],
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
            comet=comet_model(),
        message:
            "Score the translations of {wildcards.model} with COMET"
        script:
            "../scripts/score_comet.py"
