# How alike a model answers in different languages, and which language its layers work in (paper B).
#   in:  language model, parallel questions
#   out: answers and their latent probabilities, hidden states, transfer, log ratios, projection

from isogloss.languages import word_spacing

PROMPTS = {task: settings.prompt for task, settings in STUDY.latent.tasks.items()}


def latent_task_languages(task, reference=True):
    """The languages of a data set of paper B, with or without the reference."""
    languages = STUDY.latent_languages(task)
    return [lang for lang in languages if reference or lang != REFERENCE]


def answer_spaces(wildcards):
    """What stands before an answer, by language; the toy world tells all of its languages with spaces."""
    of_world = STUDY.of_world(wildcards.model, wildcards.task)
    return {lang: " " if of_world else word_spacing(lang) for lang in latent_task_languages(wildcards.task)}


def scored_languages(wildcards):
    """The languages that a latent_score job takes."""
    return language_blocks(latent_task_languages(wildcards.task))[wildcards.langs]


rule latent_score:
    input:
        lm="results/{model}/lm",
        questions=parallel_questions,
    output:
        scores=directory("results/{model}/latent/scores/{task}/{langs}"),
        states=directory("results/{model}/latent/states/{task}/{langs}"),
    log:
        "results/{model}/logs/latent_score/{task}/{langs}.log",
    benchmark:
        "results/{model}/usage/latent_score/{task}/{langs}.tsv"
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
    params:
        **sections(
            settings=STUDY.latent.only("instruction", "final_norm", "softcap"),
            compute=STUDY.compute,
        ),
        code=code("latent_score"),
        seed=STUDY.seed,
        langs=scored_languages,
        reference=REFERENCE,
        prompt=lambda wildcards: PROMPTS[wildcards.task],
        layout=lambda wildcards: STUDY.latent.tasks[wildcards.task].data,
        spaces=answer_spaces,
        layers=lambda wildcards: STUDY.probed_layers(wildcards.model),
        state_layers=lambda wildcards: STUDY.state_layers(wildcards.model),
    message:
        "Ask {wildcards.model} {wildcards.task} in {wildcards.langs}, every layer's lens on the answers"
    script:
        "../scripts/latent_score.py"


def latent_files(model, kind, reference=True, suffix="parquet"):
    """The files of a kind in all languages, with or without the reference, each with its data set and language."""
    return {
        path: (task, Path(path).stem)
        for task in STUDY.latent.tasks
        for path in language_files(
            f"results/{model}/latent/{kind}/{task}", latent_task_languages(task, reference), suffix
        )
    }


def score_tables(wildcards):
    """The scores, each table with its data set and language."""
    return latent_files(wildcards.model, "scores")


rule transfer:
    input:
        scores=in_folders(score_tables),
    output:
        answers="results/{model}/tables/answers.parquet",
        transfer="results/{model}/tables/transfer.parquet",
        transfer_summary="results/{model}/tables/transfer_summary.parquet",
    log:
        "results/{model}/logs/transfer.log",
    benchmark:
        "results/{model}/usage/transfer.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(statistics=STUDY.statistics.only("bootstrap", "confidence")),
        code=code("transfer"),
        scores=score_tables,
        seed=STUDY.seed,
        prompts=PROMPTS,
        reference=REFERENCE,
    message:
        "Compute the consistency of {wildcards.model} and transfer between all pairs of languages"
    script:
        "../scripts/transfer.py"


rule latent_process:
    input:
        scores=in_folders(score_tables),
        answers=rules.transfer.output.answers,
        transfer=rules.transfer.output.transfer,
    output:
        latent="results/{model}/tables/latent.parquet",
        latent_correlation="results/{model}/tables/latent_correlation.parquet",
        transfer_layers="results/{model}/tables/transfer_layers.parquet",
    log:
        "results/{model}/logs/latent_process.log",
    benchmark:
        "results/{model}/usage/latent_process.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(statistics=STUDY.statistics),
        code=code("latent_process"),
        scores=score_tables,
        seed=STUDY.seed,
        prompts=PROMPTS,
        reference=REFERENCE,
        aggregation=STUDY.latent.log_ratio,
    message:
        "Compute which language the layers of {wildcards.model} work in"
    script:
        "../scripts/latent_process.py"


def state_files(wildcards):
    """The hidden states of the held-out questions, each file with its data set and language."""
    return latent_files(wildcards.model, "states", suffix="safetensors")


rule projection:
    input:
        in_folders(state_files),
    output:
        "results/{model}/tables/projection.parquet",
    log:
        "results/{model}/logs/projection.log",
    benchmark:
        "results/{model}/usage/projection.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("projection"),
        states=state_files,
    message:
        "Project the last-token states of {wildcards.model}"
    script:
        "../scripts/projection.py"
