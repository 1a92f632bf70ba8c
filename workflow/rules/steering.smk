# Steering towards the reference language (paper B), and what it and transfer have to do with what was taught.
#   in:  language model, parallel questions, hidden states of those held out
#   out: steering vectors, sweeps, what they change beside random directions


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


def of_world(tables):
    """Those of a toy model's tables whose questions are the toy world's."""
    return lambda wildcards: {
        path: (task, lang) for path, (task, lang) in tables(wildcards).items() if STUDY.of_world(wildcards.model, task)
    }


world_scores, world_steered = of_world(score_tables), of_world(steered_tables)


rule latent_by_teaching:
    input:
        scores=in_folders(world_scores),
        steered=in_folders(world_steered),
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
        scores=world_scores,
        steered=world_steered,
        prompts=PROMPTS,
        reference=REFERENCE,
        aggregation=STUDY.latent.log_ratio,
    message:
        "Compute transfer in {wildcards.model} by where facts were taught"
    script:
        "../scripts/latent_by_teaching.py"
