# Whether the features that fire for one language carry it, and only it: ablation at one layer.
#   in:  language model, the SAE of the layer, parallel segments
#   out: which features are of a language, the loss of every language without them, and without random ones


rule ablate:
    input:
        lm="results/{model}/lm",
        sae=lambda wildcards: sae_folders(wildcards.model, [STUDY.ablated_layer(wildcards.model)]),
        reproduced=lambda wildcards: ancient(model_reproduced(wildcards)) if model_of(wildcards).reads_phrases else [],
        segments=segment_tables(LANGUAGES),
    output:
        language_features="results/{model}/tables/language_features.parquet",
        ablation="results/{model}/tables/ablation.parquet",
        ablation_summary="results/{model}/tables/ablation_summary.parquet",
    log:
        "results/{model}/logs/ablate.log",
    benchmark:
        "results/{model}/usage/ablate.tsv"
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=STUDY.compute.gpus_per_job,
        nodes=1,
    params:
        **sections(
            settings=STUDY.causal.without("layer"),  # a model's affair
            statistics=STUDY.statistics.only("bootstrap", "confidence"),
            compute=STUDY.compute,
        ),
        code=code("ablate"),
        seed=STUDY.seed,
        sae_folder="results/{model}/sae",
        languages=LANGUAGES,
        reference=REFERENCE,
        layer=lambda wildcards: STUDY.ablated_layer(wildcards.model),
    message:
        "Ablate the features of each language in {wildcards.model}"
    script:
        "../scripts/ablate.py"
