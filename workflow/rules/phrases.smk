# Phrases that make SAE features fire, and their translations.
#   in:  language model, SAEs, reference-language documents and parallel segments
#   out: phrases of the reference language, one table of translations a language


rule phrases:
    input:
        lm=rules.train_toy.output.lm,
        sae=rules.train_sae.output.sae,
        documents=f"{WORLD}/documents/{REFERENCE}.parquet",
        segments=f"{WORLD}/segments/{REFERENCE}.parquet",
    output:
        phrases="results/{model}/phrases.parquet",
        counts="results/{model}/tables/phrase_counts.parquet",
    log:
        "results/{model}/logs/phrases.log",
    benchmark:
        "results/{model}/usage/phrases.tsv"
    conda:
        "../../envs/isogloss.yaml"
    resources:
        gpu=1,
        token_budget=STUDY.compute.token_budget,
    params:
        **config["phrases"],
        code=code("isogloss.text.phrases"),
        layers=layers_of,
        dtype=STUDY.compute.dtype,
    message:
        "Find the phrases that make the features of {wildcards.model} fire"
    script:
        "../scripts/phrases.py"


rule translate:
    input:
        phrases=rules.phrases.output.phrases,
        segments=f"{WORLD}/segments/{{lang}}.parquet",
    output:
        "results/{model}/translations/{lang}.parquet",
    log:
        "results/{model}/logs/translate/{lang}.log",
    benchmark:
        "results/{model}/usage/translate/{lang}.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        code=code("isogloss.text.translation"),
        backend=STUDY.translation.backend,
    message:
        "Translate the phrases of {wildcards.model} into {wildcards.lang}"
    script:
        "../scripts/translate.py"
