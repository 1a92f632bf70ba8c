# LoRA with the activation-alignment loss, and what it changes (paper A, sec. 2.6 and 3.3).
#   in:  language model, SAEs, phrases, translations, the base model's activations
#   out: a PEFT adapter a run, its loss terms, gain and retention


def runs_of(model):
    """The alignment runs of a model."""
    return list(RUNS) if "alignment" in STUDY.models[model].analyses else []


def block_of(layer, blocks):
    """The block that a layer is in."""
    return next(block for block in blocks if layer in range(int(block.split("-")[0]), int(block.split("-")[1]) + 1))


def target_block(wildcards):
    """The layer block that holds a run's target layer."""
    return block_of(RUNS[wildcards.run].target_layer, model_blocks(wildcards.model))


def run_translations(wildcards):
    """The translations that a run trains on; the reference's text is in the phrases."""
    block = target_block(wildcards)
    return [translation_table(wildcards.model, block, lang) for lang in RUNS[wildcards.run].languages]


def run_recorded(wildcards):
    """The reference's recorded activations, where a run takes them from the phrase alone."""
    if STUDY.alignment.recorded == "corpus":
        return []
    return list(activation_tables(wildcards.model, "base", [REFERENCE], [target_block(wildcards)]))


rule align:
    input:
        lm="results/{model}/lm",
        sae=lambda wildcards: sae_folders(wildcards.model, [RUNS[wildcards.run].target_layer]),
        phrases=lambda wildcards: phrase_tables(wildcards.model, [RUNS[wildcards.run].target_layer]),
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
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
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


def gain_base(wildcards):
    """The base model's tables in the languages that any run is measured in, each with its language."""
    measured = {lang for run in runs_of(wildcards.model) for lang in adapter_languages(run)}
    return activation_tables(wildcards.model, "base", measured)


def gain_adapted(wildcards):
    """The adapters' tables, each with its run and language."""
    return {
        path: (run, lang)
        for run in runs_of(wildcards.model)
        for path, lang in activation_tables(wildcards.model, run, LANGUAGES).items()
    }


rule gain:
    input:
        base=in_folders(gain_base),
        adapted=in_folders(gain_adapted),
    output:
        alignment_gain="results/{model}/tables/alignment_gain.parquet",
        alignment_retention="results/{model}/tables/alignment_retention.parquet",
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
        base=gain_base,
        adapted=gain_adapted,
        target_layers={run: settings.target_layer for run, settings in RUNS.items()},
        held_out=STUDY.alignment.held_out,
        held_out_features=STUDY.alignment.held_out_features,
        minimum_phrases=STUDY.gap.minimum_phrases,
    message:
        "Compute gain and retention of the alignment of {wildcards.model}"
    script:
        "../scripts/gain.py"
