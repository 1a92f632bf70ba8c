from isogloss.bilingual.selectivity import aggregate
from isogloss.stage import provenance, stage

with stage(snakemake):
    aggregate(
        features=snakemake.input.features,
        examples=snakemake.input.examples,
        quality=snakemake.input.quality,
        features_table=snakemake.output.features,
        selectivity=snakemake.output.selectivity,
        selectivity_by_minimum=snakemake.output.minimum,
        examples_table=snakemake.output.examples,
        sae_training=snakemake.output.sae_training,
        languages=snakemake.params.languages,
        minimum_activations=snakemake.params.minimum_activations,
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
