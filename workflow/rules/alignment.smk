# LoRA with the activation-alignment loss, and what it changes (paper A, sec. 2.6 and 3.3).
#   in:  language model, SAEs, phrases, translations, the base model's activations
#   out: a PEFT adapter a run, its loss terms, gain and retention


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
        token_budget=STUDY.compute.token_budget,
        resume_every=STUDY.alignment.resume_every,
    params:
        **alignment_settings(),
        code=code("align"),
        seed=STUDY.seed,
        sae_folder="results/{model}/sae",
        state_folder="results/{model}/.alignment/{run}",
        model_name="{model}",
        reference_activations=run_recorded,
        languages=lambda wildcards: RUNS[wildcards.run].languages,
        target_layer=lambda wildcards: RUNS[wildcards.run].target_layer,
        tuned_layers=lambda wildcards: RUNS[wildcards.run].tuned_layers,
        dtype=STUDY.compute.dtype,
    message:
        "Align {wildcards.model} ({wildcards.run})"
    script:
        "../scripts/align.py"


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
        bootstrap=STUDY.statistics.bootstrap,
        confidence=STUDY.statistics.confidence,
    message:
        "Compute gain and retention of the alignment of {wildcards.model}"
    script:
        "../scripts/gain.py"
