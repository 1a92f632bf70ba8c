# Parallel four-choice questions (paper B): of the toy world, of Belebele, MMMLU and HellaSwag, or of a task of lm-eval.
#   in:  their data sets, local or on the Hub
#   out: results/{origin}/questions/{task}.parquet, each question in all languages

from isogloss.config.latent import REFERENCE as OF_REFERENCE

LAYOUTS = {
    **{task: settings.data for task, settings in STUDY.latent.tasks.items() if settings.data != "lm_eval"},
    **{
        f"{task}{OF_REFERENCE}": "mmmlu-reference"
        for task, settings in STUDY.latent.tasks.items()
        if settings.data == "mmmlu"
    },
}  # of the folders in results/latent/sources


def latent_source(wildcards):
    """Where the questions of a data set are fetched from."""
    task = STUDY.latent.tasks[wildcards.source.removesuffix(OF_REFERENCE)]
    return task.reference_source if wildcards.source.endswith(OF_REFERENCE) else task.source


def latent_source_languages(wildcards):
    """The languages that are fetched of a data set."""
    languages = STUDY.latent_languages(wildcards.source.removesuffix(OF_REFERENCE))
    if not LAYOUTS[wildcards.source].startswith("mmmlu"):
        return languages
    return [lang for lang in languages if (lang == REFERENCE) == wildcards.source.endswith(OF_REFERENCE)]


def latent_source_files(wildcards):
    """The files of a local data set: a change there runs its fetch again."""
    languages = latent_source_languages(wildcards)
    inside = {"belebele": ["data"], "mmmlu": ["test"], "mmmlu-reference": ["all"]}.get(
        LAYOUTS[wildcards.source], [f"data/{lang}" for lang in languages]
    )
    folder = latent_source(wildcards).folder
    return local_files(folder, *(f"{part}/*" for part in inside))


use rule fetch_questions as fetch_parallel_questions with:
    input:
        latent_source_files,
    output:
        directory("results/latent/sources/{source}"),
    log:
        "results/logs/fetch_parallel_questions/{source}.log",
    wildcard_constraints:
        source=one_of(LAYOUTS),
    params:
        **sections(source=latent_source),
        task=lambda wildcards: LAYOUTS[wildcards.source],
        languages=lambda wildcards: flores_codes(latent_source_languages(wildcards)),
    message:
        "Fetch the parallel questions of {wildcards.source}"


use rule fetch_tasks as fetch_parallel_tasks with:
    input:
        lambda wildcards: deep_files(STUDY.latent.tasks[wildcards.task].source),
    output:
        directory("results/latent/lm_eval/{task}"),
    log:
        "results/logs/fetch_parallel_tasks/{task}.log",
    wildcard_constraints:
        task=one_of(task for task, settings in STUDY.latent.tasks.items() if settings.data == "lm_eval"),
    params:
        **sections(source=lambda wildcards: STUDY.latent.tasks[wildcards.task].source),
        names=lambda wildcards: task_names(
            STUDY.latent.tasks[wildcards.task].lm_eval, STUDY.latent_languages(wildcards.task)
        ),
        id_column=lambda wildcards: STUDY.latent.tasks[wildcards.task].id_column,
    message:
        "Fetch the questions of {wildcards.task} as lm-eval asks them"


def parallel_sources(wildcards):
    """The data set that parallel questions are read from; the toy world's own, or one fetched."""
    data = STUDY.latent.tasks[wildcards.task].data
    if wildcards.origin != "latent":
        return world_benchmarks(STUDY.latent_languages(wildcards.task), [data])
    return f"results/latent/{'lm_eval' if data == 'lm_eval' else 'sources'}/{wildcards.task}"


def reference_source(wildcards):
    """English MMLU, which MMMLU lacks."""
    of_mmmlu = STUDY.latent.tasks[wildcards.task].data == "mmmlu"
    return f"results/latent/sources/{wildcards.task}{OF_REFERENCE}" if of_mmmlu else []


rule parallel_questions:
    input:
        data=parallel_sources,
        reference_data=reference_source,
    output:
        "results/{origin}/questions/{task}.parquet",
    log:
        "results/{origin}/logs/parallel_questions/{task}.log",
    benchmark:
        "results/{origin}/usage/parallel_questions/{task}.tsv"
    wildcard_constraints:
        origin="latent|world/latent",
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("parallel_questions"),
        seed=STUDY.seed,
        layout=lambda wildcards: STUDY.latent.tasks[wildcards.task].data,
        languages=lambda wildcards: flores_codes(STUDY.latent_languages(wildcards.task)),
        reference=REFERENCE,
        questions=lambda wildcards: STUDY.latent.tasks[wildcards.task].questions,
        held_out=STUDY.latent.held_out,
    message:
        "Line up the questions of {wildcards.task} in all languages"
    script:
        "../scripts/parallel_questions.py"


def parallel_questions(wildcards):
    """The table of parallel questions that a model is asked."""
    origin = f"{WORLD}/latent" if STUDY.of_world(wildcards.model, wildcards.task) else "results/latent"
    return f"{origin}/questions/{wildcards.task}.parquet"
