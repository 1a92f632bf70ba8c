# What of the classes of features comes again in SAEs of other seeds: the middle layer of the finished model (paper C).
#   in:  the finished model, its tokens, the study's own SAE of the layer and what is known of its features
#   out: an SAE for each further seed, shares of mixed features, and how many features come again in another SAE


wildcard_constraints:
    sae_seed=r"\d+",


use rule train_checkpoint_saes as train_seed_saes with:
    output:
        sae=directory("results/{model}/bilingual/{checkpoint}/{block}/seed_{sae_seed}/sae"),
        quality="results/{model}/bilingual/{checkpoint}/{block}/seed_{sae_seed}/sae_quality.parquet",
    log:
        "results/{model}/logs/train_seed_saes/{checkpoint}/{block}/seed_{sae_seed}.log",
    benchmark:
        "results/{model}/usage/train_seed_saes/{checkpoint}/{block}/seed_{sae_seed}.tsv"
    params:
        seed=lambda wildcards: int(wildcards.sae_seed),
        state_folder="results/{model}/bilingual/{checkpoint}/{block}/seed_{sae_seed}/.training",
    message:
        "Train an SAE of {wildcards.model} with seed {wildcards.sae_seed}"


use rule describe_features as describe_seed_features with:
    input:
        checkpoint=checkpoint_folder,
        embeddings=lambda wildcards: checkpoint_inputs(*embeddings_checkpoint(wildcards)),
        sae=rules.train_seed_saes.output.sae,
        evaluation=rules.tokenise.output.evaluation,
    output:
        features="results/{model}/bilingual/{checkpoint}/{block}/seed_{sae_seed}/features.parquet",
        examples="results/{model}/bilingual/{checkpoint}/{block}/seed_{sae_seed}/examples.parquet",
    log:
        "results/{model}/logs/describe_seed_features/{checkpoint}/{block}/seed_{sae_seed}.log",
    benchmark:
        "results/{model}/usage/describe_seed_features/{checkpoint}/{block}/seed_{sae_seed}.tsv"
    params:
        # Classes alone are read of these: neither nulls of the concept metrics nor examples.
        **sections(settings=DESCRIBED.model_copy(update={"permutations": 1, "examples_per_class": 0})),
        sae_folder=lambda wildcards, input: input.sae,
    message:
        "Describe the features of {wildcards.model}, seed {wildcards.sae_seed}"


def of_each_seed(name):
    """An input function: the SAEs of the finished model's middle layer, or tables about them, the study's own first."""

    def files(wildcards):
        model, layer = wildcards.model, middle(layers_of(wildcards))
        folder = f"results/{model}/bilingual/{checkpoints(model)[-1]}/{layer}-{layer}"
        others = [f"{folder}/seed_{seed}/{name}" for seed in STUDY.bilingual.sae_seeds]
        return [finished_block(model, layer, name), *others]

    return files


rule sae_seeds:
    input:
        saes=of_each_seed("sae"),
        features=of_each_seed("features.parquet"),
    output:
        "results/{model}/tables/sae_seeds.parquet",
    log:
        "results/{model}/logs/sae_seeds.log",
    benchmark:
        "results/{model}/usage/sae_seeds.tsv"
    conda:
        "../../envs/isogloss.yaml"
    params:
        # The intervals of shares are Wilson's: nothing is resampled.
        **sections(statistics=STUDY.statistics.only("confidence").model_copy(update={"bootstrap": 0})),
        code=code("sae_seeds"),
        seeds=[STUDY.seed, *STUDY.bilingual.sae_seeds],
        layer=lambda wildcards: middle(layers_of(wildcards)),
        languages=STUDY.bilingual_languages,
        minimum_activations=STUDY.bilingual.minimum_activations,
    message:
        "Compare SAEs of {wildcards.model} that differ in the seed"
    script:
        "../scripts/sae_seeds.py"
