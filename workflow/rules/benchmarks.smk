# What the model can do in each language (paper A, sec. 2.3), and whether the gap predicts it.
#   in:  language model, adapter, benchmark data in the upstream schemas
#   out: log-probabilities of every question, accuracy with paired tests, correlation with the gap


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
        gpu=1,
        token_budget=STUDY.compute.token_budget,
    params:
        code=code("benchmark"),
        seed=STUDY.seed,
        folders=question_folders,
        langs=benchmarked_languages,
        shots=lambda wildcards: task_settings(wildcards, "shots"),
        questions=lambda wildcards: task_settings(wildcards, "questions"),
        common_languages=question_languages,
        dtype=STUDY.compute.dtype,
    message:
        "Benchmark {wildcards.model} ({wildcards.adapter}) in {wildcards.langs}: {wildcards.tasks}"
    script:
        "../scripts/benchmark.py"


rule accuracy:
    input:
        answers=in_folders(lambda wildcards: benchmark_tables(wildcards.model)),
        facts=world_facts,
    output:
        "results/{model}/tables/accuracy.parquet",
    log:
        "results/{model}/logs/accuracy.log",
    benchmark:
        "results/{model}/usage/accuracy.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("accuracy"),
        seed=STUDY.seed,
        answers=lambda wildcards: list(benchmark_tables(wildcards.model)),
        adapters=benchmark_adapters,
        langs=benchmark_table_languages,
        metrics={
            task: settings.metric for task, settings in STUDY.benchmarks.tasks.items()
        },
        confidence=STUDY.statistics.confidence,
        correction=STUDY.statistics.correction,
    message:
        "Compute the accuracies of {wildcards.model}"
    script:
        "../scripts/accuracy.py"


rule accuracy_by_teaching:
    input:
        answers=in_folders(lambda wildcards: benchmark_tables(wildcards.model)),
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
        answers=lambda wildcards: list(benchmark_tables(wildcards.model)),
        adapters=benchmark_adapters,
        langs=benchmark_table_languages,
        metrics={
            task: settings.metric for task, settings in STUDY.benchmarks.tasks.items()
        },
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
        code=code("correlation"),
        reference=REFERENCE,
        confidence=STUDY.statistics.confidence,
        correction=STUDY.statistics.correction,
    message:
        "Correlate gap and accuracy of {wildcards.model} over languages"
    script:
        "../scripts/correlation.py"
