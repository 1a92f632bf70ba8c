from isogloss.bilingual.features import describe_features
from isogloss.models.checkpoints import locate
from isogloss.stage import provenance, stage

with stage(snakemake):
    lm, step = locate(snakemake.input.checkpoint, snakemake.wildcards.checkpoint)
    embeddings, _ = locate(snakemake.input.embeddings, snakemake.params.embeddings_checkpoint)
    describe_features(
        lm=lm,
        embeddings=embeddings,
        sae=snakemake.input.sae,
        evaluation=snakemake.input.evaluation,
        features=snakemake.output.features,
        examples=snakemake.output.examples,
        step=step,
        layers=snakemake.params.layers,
        languages=snakemake.params.languages,
        threshold=snakemake.params.threshold,
        pattern_threshold=snakemake.params.pattern_threshold,
        similarity=snakemake.params.similarity,
        clustering=snakemake.params.clustering,
        single_token=snakemake.params.single_token,
        examples_per_class=snakemake.params.examples_per_class,
        token_budget=snakemake.resources.token_budget,
        dtype=snakemake.params.dtype,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
