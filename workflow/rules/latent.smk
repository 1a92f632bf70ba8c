# How alike a model answers in different languages, which language its layers work in, and steering (paper B).
#   in:  language model, parallel four-choice questions
#   out: answers and their latent probabilities, hidden states, steering vectors, transfer, log ratios, sweeps

from isogloss.config.latent import REFERENCE as OF_REFERENCE
from isogloss.languages import word_spacing

PROMPTS = {task: settings.prompt for task, settings in STUDY.latent.tasks.items()}
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


def steered_languages(wildcards):
    """The languages that a steer job takes."""
    languages = latent_task_languages(wildcards.task, reference=False)
    return language_blocks(languages)[wildcards.langs]


def control_languages(wildcards):
    """The language whose vector is the control, by language that is steered: the next; none without a third."""
    others = latent_task_languages(wildcards.task, reference=False)
    if not STUDY.latent.steering.other or len(others) < 2:
        return {}
    return {lang: others[(others.index(lang) + 1) % len(others)] for lang in steered_languages(wildcards)}


def steering_states(wildcards):
    """The states that steering vectors of a job are made of, by language."""
    needed = {REFERENCE, *steered_languages(wildcards), *control_languages(wildcards).values()}
    return {
        lang: path
        for path, (task, lang) in state_files(wildcards).items()
        if task == wildcards.task and (STUDY.latent.steering.shared or lang in needed)
    }


def steer_outputs():
    """What a sweep writes; answers only if some are generated."""
    steering = STUDY.latent.steering
    kinds = ["steered", "vectors"]
    if steering and steering.generation:
        kinds.append("generated")
    folder = "results/{{model}}/latent/{}/{{task}}/{{langs}}"
    return {kind: directory(folder.format(kind)) for kind in kinds}


rule steer:
    input:
        lm="results/{model}/lm",
        questions=parallel_questions,
        states=in_folders(lambda wildcards: steering_states(wildcards).values()),
    output:
        **steer_outputs(),
    log:
        "results/{model}/logs/steer/{task}/{langs}.log",
    benchmark:
        "results/{model}/usage/steer/{task}/{langs}.tsv"
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
    params:
        **sections(
            settings=STUDY.latent.steering
            and STUDY.latent.steering.without("layers", "other", "directions", "directions_questions"),
            compute=STUDY.compute,
        ),
        code=code("steer"),
        seed=STUDY.seed,
        langs=steered_languages,
        states=steering_states,
        controls=control_languages,
        reference=REFERENCE,
        prompt=lambda wildcards: PROMPTS[wildcards.task],
        layout=lambda wildcards: STUDY.latent.tasks[wildcards.task].data,
        spaces=answer_spaces,
        instruction=STUDY.latent.instruction,
        layers=lambda wildcards: STUDY.steered_layers(wildcards.model),
    message:
        "Steer {wildcards.model} towards the reference: {wildcards.task} in {wildcards.langs}"
    script:
        "../scripts/steer.py"


def steered_tables(wildcards):
    """The sweeps, each table with its data set and language; nothing if nothing steers."""
    return latent_files(wildcards.model, "steered", reference=False) if STUDY.latent.steering else {}


rule steering:
    input:
        steered=in_folders(steered_tables),
        scores=in_folders(score_tables),
    output:
        steering="results/{model}/tables/steering.parquet",
        steering_summary="results/{model}/tables/steering_summary.parquet",
        choice="results/{model}/latent/steering_choice.parquet",
    log:
        "results/{model}/logs/steering.log",
    benchmark:
        "results/{model}/usage/steering.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(statistics=STUDY.statistics.only("bootstrap", "confidence")),
        code=code("steering"),
        steered=steered_tables,
        scores=score_tables,
        reference=REFERENCE,
        seed=STUDY.seed,
        prompts=PROMPTS,
        tried=STUDY.latent.steering and STUDY.latent.steering.directions_questions,
    message:
        "Compute what steering changes in {wildcards.model}"
    script:
        "../scripts/steering.py"


def own_vectors(wildcards):
    """The vectors of the languages that a steer_random job takes, by language."""
    return {
        lang: path
        for path, (task, lang) in latent_files(
            wildcards.model, "vectors", reference=False, suffix="safetensors"
        ).items()
        if task == wildcards.task and lang in steered_languages(wildcards)
    }


rule steer_random:
    input:
        lm="results/{model}/lm",
        questions=parallel_questions,
        vectors=in_folders(lambda wildcards: own_vectors(wildcards).values()),
        choice=rules.steering.output.choice,
    output:
        directory("results/{model}/latent/steered_random/{task}/{langs}"),
    log:
        "results/{model}/logs/steer_random/{task}/{langs}.log",
    benchmark:
        "results/{model}/usage/steer_random/{task}/{langs}.tsv"
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
    params:
        **sections(compute=STUDY.compute),
        code=code("steer_random"),
        seed=STUDY.seed,
        langs=steered_languages,
        vectors=own_vectors,
        directions=STUDY.latent.steering and STUDY.latent.steering.directions,
        reference=REFERENCE,
        prompt=lambda wildcards: PROMPTS[wildcards.task],
        layout=lambda wildcards: STUDY.latent.tasks[wildcards.task].data,
        spaces=answer_spaces,
        instruction=STUDY.latent.instruction,
    message:
        "Steer {wildcards.model} in random directions: {wildcards.task} in {wildcards.langs}"
    script:
        "../scripts/steer_random.py"


def random_tables(wildcards):
    """What random directions give, each table with its data set and language; nothing if none are tried."""
    tried = STUDY.latent.steering and STUDY.latent.steering.directions
    return latent_files(wildcards.model, "steered_random", reference=False) if tried else {}


rule steering_judged:
    input:
        steered=in_folders(steered_tables),
        random=in_folders(random_tables),
        choice=rules.steering.output.choice,
    output:
        "results/{model}/tables/steering_judged.parquet",
    log:
        "results/{model}/logs/steering_judged.log",
    benchmark:
        "results/{model}/usage/steering_judged.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(statistics=STUDY.statistics.only("bootstrap", "confidence")),
        code=code("steering_judged"),
        steered=steered_tables,
        random=random_tables,
        seed=STUDY.seed,
    message:
        "Judge the steering of {wildcards.model} on questions that did not choose it"
    script:
        "../scripts/steering_judged.py"


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


def told(tables):
    """Those of a toy model's tables whose questions are the toy world's."""
    return lambda wildcards: {
        path: (task, lang) for path, (task, lang) in tables(wildcards).items() if STUDY.of_world(wildcards.model, task)
    }


told_scores, told_steered = told(score_tables), told(steered_tables)


rule latent_by_teaching:
    input:
        scores=in_folders(told_scores),
        steered=in_folders(told_steered),
        facts=f"{WORLD}/facts.parquet",
    output:
        "results/{model}/tables/latent_by_teaching.parquet",
    log:
        "results/{model}/logs/latent_by_teaching.log",
    benchmark:
        "results/{model}/usage/latent_by_teaching.tsv"
    wildcard_constraints:
        model=one_of(TOYS),
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(statistics=STUDY.statistics.only("bootstrap", "confidence")),
        code=code("latent_by_teaching"),
        seed=STUDY.seed,
        scores=told_scores,
        steered=told_steered,
        prompts=PROMPTS,
        reference=REFERENCE,
        aggregation=STUDY.latent.log_ratio,
    message:
        "Compute transfer in {wildcards.model} by where facts were taught"
    script:
        "../scripts/latent_by_teaching.py"
