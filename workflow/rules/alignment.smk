# LoRA with the activation-alignment loss, and what it changes (paper A, sec. 2.6 and 3.3).
#   in:  language model, SAEs, phrases, translations, the base model's activations
#   out: a PEFT adapter a run, its loss terms, gain and retention


def target_block(wildcards):
    """The layer block that holds a run's target layer."""
    target = RUNS[wildcards.run].target_layer
    limits = [
        (block, *map(int, block.split("-"))) for block in model_blocks(wildcards.model)
    ]
    return next(block for block, first, last in limits if first <= target <= last)


def target_sae(wildcards):
    """The SAE that a run reads."""
    return sae_folders(wildcards.model, [RUNS[wildcards.run].target_layer])


def target_phrases(wildcards):
    """The phrases that a run trains on."""
    return phrase_tables(wildcards.model, [RUNS[wildcards.run].target_layer])


def run_translations(wildcards):
    """The translations that a run trains on; the reference's text is in the phrases."""
    return [
        f"results/{wildcards.model}/translations/{target_block(wildcards)}/{lang}.parquet"
        for lang in RUNS[wildcards.run].languages
    ]


def run_recorded(wildcards):
    """The reference's recorded activations, where a run takes them from the phrase alone."""
    if STUDY.alignment.recorded == "corpus":
        return []
    block = target_block(wildcards)
    return list(activation_tables(wildcards.model, "base", [REFERENCE], [block]))


rule align:
    input:
        lm="results/{model}/lm",
        sae=target_sae,
        phrases=target_phrases,
        translations=run_translations,
        reference_activations=in_folders(run_recorded),
    output:
        adapter=directory("results/{model}/adapters/{run}"),
        losses="results/{model}/alignment/{run}.parquet",
    log:
        "results/{model}/logs/align/{run}.log",
    benchmark:
        "results/{model}/usage/align/{run}.tsv"
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=1,
    params:
        **sections(
            alignment=STUDY.alignment.without("runs"),
            run=lambda wildcards: RUNS[wildcards.run].without("benchmark"),
            compute=STUDY.compute,
        ),
        code=code("align"),
        seed=STUDY.seed,
        sae_folder="results/{model}/sae",
        state_folder="results/{model}/.alignment/{run}",
        model_name="{model}",
        reference_activations=run_recorded,
    message:
        "Align {wildcards.model} ({wildcards.run})"
    script:
        "../scripts/align.py"


def gain_base(model):
    """The base model's tables in the languages that any run is measured in, each with its language."""
    measured = [
        lang
        for lang in LANGUAGES
        if any(lang in run_languages(run) for run in runs_of(model))
    ]
    return activation_tables(model, "base", measured)


def gain_adapted(model):
    """The adapters' tables, each with its run and language."""
    return {
        path: (run, lang)
        for run in runs_of(model)
        for path, lang in activation_tables(model, run, run_languages(run)).items()
    }


rule gain:
    input:
        base=in_folders(lambda wildcards: gain_base(wildcards.model)),
        adapted=in_folders(lambda wildcards: gain_adapted(wildcards.model)),
    output:
        alignment_gain="results/{model}/tables/alignment_gain.parquet",
    log:
        "results/{model}/logs/gain.log",
    benchmark:
        "results/{model}/usage/gain.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(statistics=STUDY.statistics.only("bootstrap", "confidence")),
        code=code("gain"),
        seed=STUDY.seed,
        reference=REFERENCE,
        base=lambda wildcards: list(gain_base(wildcards.model)),
        base_langs=lambda wildcards: list(gain_base(wildcards.model).values()),
        adapted=lambda wildcards: list(gain_adapted(wildcards.model)),
        adapted_runs=lambda wildcards: [
            run for run, _ in gain_adapted(wildcards.model).values()
        ],
        adapted_langs=lambda wildcards: [
            lang for _, lang in gain_adapted(wildcards.model).values()
        ],
        target_layers={run: settings.target_layer for run, settings in RUNS.items()},
        held_out=STUDY.alignment.held_out,
        minimum_phrases=STUDY.gap.minimum_phrases,
    message:
        "Compute gain and retention of the alignment of {wildcards.model}"
    script:
        "../scripts/gain.py"
