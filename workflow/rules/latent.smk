# How alike a model answers in different languages, which language its layers work in, and steering (paper B).
#   in:  language model, parallel four-choice questions
#   out: answers and their latent probabilities, hidden states, steering vectors, transfer, log ratios, sweeps


rule fetch_parallel_questions:
    input:
        latent_source_files,
    output:
        directory("results/latent/sources/{source}"),
    log:
        "results/logs/fetch_parallel_questions/{source}.log",
    wildcard_constraints:
        source="belebele|mmmlu|mmmlu-reference|hellaswag",
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("fetch_parallel_questions"),
        source=latent_source,
        languages=latent_source_languages,
    message:
        "Fetch the parallel questions of {wildcards.source}"
    script:
        "../scripts/fetch_parallel_questions.py"


rule parallel_questions:
    input:
        data=parallel_sources,
        reference_data=reference_sources,
    output:
        "results/{place}/questions/{task}.parquet",
    log:
        "results/{place}/logs/parallel_questions/{task}.log",
    benchmark:
        "results/{place}/usage/parallel_questions/{task}.tsv"
    wildcard_constraints:
        place="latent|world/latent",
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("parallel_questions"),
        seed=STUDY.seed,
        languages=lambda wildcards: STUDY.latent_languages(wildcards.task),
        reference=REFERENCE,
        questions=lambda wildcards: STUDY.latent.tasks[wildcards.task].questions,
        held_out=STUDY.latent.held_out,
    message:
        "Line up the questions of {wildcards.task} in all languages"
    script:
        "../scripts/parallel_questions.py"


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
        gpu=1,
        token_budget=STUDY.compute.token_budget,
    params:
        **lens_settings(),
        code=code("latent_score"),
        seed=STUDY.seed,
        langs=scored_languages,
        reference=REFERENCE,
        prompt=lambda wildcards: STUDY.latent.tasks[wildcards.task].prompt,
        layers=lambda wildcards: STUDY.probed_layers(wildcards.model),
        state_layers=lambda wildcards: STUDY.state_layers(wildcards.model),
        dtype=STUDY.compute.dtype,
    message:
        "Ask {wildcards.model} {wildcards.task} in {wildcards.langs}, every layer's lens on the answers"
    script:
        "../scripts/latent_score.py"


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
        **latent_names(),
        code=code("transfer"),
        scores=score_tables,
        seed=STUDY.seed,
        prompts=latent_prompts(),
        reference=REFERENCE,
        bootstrap=STUDY.statistics.bootstrap,
        confidence=STUDY.statistics.confidence,
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
    log:
        "results/{model}/logs/latent_process.log",
    benchmark:
        "results/{model}/usage/latent_process.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **latent_names(),
        code=code("latent_process"),
        scores=score_tables,
        seed=STUDY.seed,
        reference=REFERENCE,
        aggregation=STUDY.latent.log_ratio,
        correction=STUDY.statistics.correction,
        bootstrap=STUDY.statistics.bootstrap,
        confidence=STUDY.statistics.confidence,
    message:
        "Compute which language the layers of {wildcards.model} work in"
    script:
        "../scripts/latent_process.py"


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
        gpu=1,
        token_budget=STUDY.compute.token_budget,
    params:
        **steering_settings(),
        code=code("steer"),
        seed=STUDY.seed,
        langs=steered_languages,
        states=steering_states,
        controls=control_languages,
        shared=STUDY.latent.steering and STUDY.latent.steering.shared,
        reference=REFERENCE,
        prompt=lambda wildcards: STUDY.latent.tasks[wildcards.task].prompt,
        instruction=STUDY.latent.instruction,
        layers=lambda wildcards: STUDY.steered_layers(wildcards.model),
        dtype=STUDY.compute.dtype,
    message:
        "Steer {wildcards.model} towards the reference: {wildcards.task} in {wildcards.langs}"
    script:
        "../scripts/steer.py"


rule steering:
    input:
        steered=in_folders(steered_tables),
        scores=in_folders(score_tables),
    output:
        steering="results/{model}/tables/steering.parquet",
        steering_summary="results/{model}/tables/steering_summary.parquet",
    log:
        "results/{model}/logs/steering.log",
    benchmark:
        "results/{model}/usage/steering.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **latent_names(reference=False),
        code=code("steering"),
        steered=steered_tables,
        scores=scored_without_reference,
        reference_scores=latent_reference_scores,
        seed=STUDY.seed,
        prompts=latent_prompts(),
        bootstrap=STUDY.statistics.bootstrap,
        confidence=STUDY.statistics.confidence,
    message:
        "Compute what steering changes in {wildcards.model}"
    script:
        "../scripts/steering.py"


rule projection:
    input:
        in_folders(projected_states),
    output:
        "results/{model}/tables/projection.parquet",
    log:
        "results/{model}/logs/projection.log",
    benchmark:
        "results/{model}/usage/projection.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **latent_names(),
        code=code("projection"),
        states=projected_states,
    message:
        "Project the last-token states of {wildcards.model}"
    script:
        "../scripts/projection.py"


rule latent_by_teaching:
    input:
        scores=in_folders(score_tables),
        steered=in_folders(steered_tables),
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
        **latent_names(),
        code=code("latent_by_teaching"),
        seed=STUDY.seed,
        scores=score_tables,
        steered=steered_tables,
        steered_names=latent_names(reference=False),
        prompts=latent_prompts(),
        reference=REFERENCE,
        aggregation=STUDY.latent.log_ratio,
        bootstrap=STUDY.statistics.bootstrap,
        confidence=STUDY.statistics.confidence,
    message:
        "Compute transfer in {wildcards.model} by where facts were taught"
    script:
        "../scripts/latent_by_teaching.py"
