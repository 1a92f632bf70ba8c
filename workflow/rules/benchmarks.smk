# What the model can do in each language (paper A, sec. 2.3), and whether the gap predicts it.
#   in:  language model, adapter, benchmark data in the upstream schemas
#   out: log-probabilities of every question, accuracy with paired tests, correlation with the gap
from isogloss.config.measures import OKAPI


def task_settings(wildcards, key):
    """One setting of each of a block's tasks."""
    tasks = wildcards.tasks.split("+")
    return {task: getattr(STUDY.benchmarks.tasks[task], key) for task in tasks}


def benchmark_languages(adapter, tasks):
    """The languages in which an adapter is benchmarked on a block of tasks: those that one of them has."""
    chosen = None if adapter == "base" else RUNS[adapter].benchmark
    has = {lang for task in tasks.split("+") for lang in STUDY.benchmark_languages(task)}
    return [lang for lang in (LANGUAGES if chosen is None else chosen) if lang in has]


def common_languages(wildcards):
    """The languages that have each of a block's tasks; Okapi's tasks ask the questions that they share."""
    return {
        task: (
            STUDY.world.languages
            if STUDY.benchmark_of_world(wildcards.model, task) and STUDY.benchmarks.tasks[task].languages is None
            else STUDY.benchmark_languages(task)
        )
        for task in wildcards.tasks.split("+")
    }


def question_folders(wildcards):
    """The folder of each of a block's tasks: the world's or fetched, in the layout upstream, or made of lm-eval's."""

    def folder(task):
        if task not in OKAPI:
            return f"results/benchmarks/lm_eval/{task}"
        of_world = STUDY.benchmark_of_world(wildcards.model, task)
        return f"{WORLD}/benchmarks/m_{task}" if of_world else f"results/benchmarks/m_{task}"

    return {task: folder(task) for task in wildcards.tasks.split("+")}


def question_files(wildcards):
    """The questions of a block's tasks as inputs."""
    folders = question_folders(wildcards)
    of_world = [task for task in folders if STUDY.benchmark_of_world(wildcards.model, task)]
    fetched = [folders[task] for task in folders if task not in of_world]
    return world_benchmarks(STUDY.world.languages, of_world) + fetched


rule benchmark:
    input:
        lm="results/{model}/lm",
        adapter=adapter_folder,
        data=question_files,
    output:
        directory("results/{model}/benchmarks/{adapter}/{tasks}/{langs}"),
    log:
        "results/{model}/logs/benchmark/{adapter}/{tasks}/{langs}.log",
    benchmark:
        "results/{model}/usage/benchmark/{adapter}/{tasks}/{langs}.tsv"
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
    params:
        **sections(compute=STUDY.compute),
        code=code("benchmark"),
        seed=STUDY.seed,
        folders=question_folders,
        langs=lambda wildcards: language_blocks(benchmark_languages(wildcards.adapter, wildcards.tasks))[
            wildcards.langs
        ],
        shots=lambda wildcards: task_settings(wildcards, "shots"),
        questions=lambda wildcards: task_settings(wildcards, "questions"),
        task_languages=common_languages,
    message:
        "Benchmark {wildcards.model} ({wildcards.adapter}) in {wildcards.langs}: {wildcards.tasks}"
    script:
        "../scripts/benchmark.py"


def task_blocks(model):
    """The groups of tasks that a model's benchmark jobs take, as `a+b+c`."""
    tasks = [task for task in STUDY.benchmarks.tasks if task in (STUDY.models[model].tasks or STUDY.benchmarks.tasks)]
    return ["+".join(block) for block in chunks(tasks, STUDY.compute.tasks_per_job)]


def benchmark_tables(wildcards):
    """The benchmark jobs' tables of a model, each with its adapter and language."""
    folder = f"results/{wildcards.model}/benchmarks"
    return {
        path: (adapter, Path(path).stem)
        for adapter in ("base", *runs_of(wildcards.model))
        for tasks in task_blocks(wildcards.model)
        for path in language_files(f"{folder}/{adapter}/{tasks}", benchmark_languages(adapter, tasks))
    }


rule accuracy:
    input:
        answers=in_folders(benchmark_tables),
        facts=lambda wildcards: f"{WORLD}/facts.parquet" if wildcards.model in TOYS else [],
    output:
        "results/{model}/tables/accuracy.parquet",
    log:
        "results/{model}/logs/accuracy.log",
    benchmark:
        "results/{model}/usage/accuracy.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(statistics=STUDY.statistics.only("confidence", "correction")),
        code=code("accuracy"),
        seed=STUDY.seed,
        answers=benchmark_tables,
        metrics={task: settings.metric for task, settings in STUDY.benchmarks.tasks.items()},
        left_out={
            task: [lang for lang in LANGUAGES if lang not in STUDY.benchmark_languages(task)]
            for task in STUDY.benchmarks.tasks
        },
    message:
        "Compute the accuracies of {wildcards.model}"
    script:
        "../scripts/accuracy.py"


rule accuracy_by_teaching:
    input:
        answers=in_folders(benchmark_tables),
        facts=f"{WORLD}/facts.parquet",
    output:
        "results/{model}/tables/accuracy_by_teaching.parquet",
    log:
        "results/{model}/logs/accuracy_by_teaching.log",
    benchmark:
        "results/{model}/usage/accuracy_by_teaching.tsv"
    wildcard_constraints:
        model=one_of(TOYS),
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("accuracy_by_teaching"),
        answers=benchmark_tables,
        metrics={task: settings.metric for task, settings in STUDY.benchmarks.tasks.items()},
        about_facts=OKAPI,
        confidence=STUDY.statistics.confidence,
    message:
        "Compute the accuracies of {wildcards.model} by where facts were taught"
    script:
        "../scripts/accuracy_by_teaching.py"


rule correlation:
    input:
        language_gap_summary=rules.gap.output.language_gap_summary,
        accuracy=rules.accuracy.output[0],
    output:
        gap_accuracy_correlation="results/{model}/tables/gap_accuracy_correlation.parquet",
        gap_accuracy="results/{model}/tables/gap_accuracy.parquet",
    log:
        "results/{model}/logs/correlation.log",
    benchmark:
        "results/{model}/usage/correlation.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(statistics=STUDY.statistics.only("confidence", "correction")),
        code=code("correlation"),
        seed=STUDY.seed,
        reference=REFERENCE,
    message:
        "Correlate gap and accuracy of {wildcards.model} over languages"
    script:
        "../scripts/correlation.py"
