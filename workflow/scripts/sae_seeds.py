from isogloss.bilingual.sae_seeds import sae_seeds
from isogloss.stage import provenance, stage

with stage(snakemake):
    sae_seeds(
        saes=dict(zip(snakemake.params.seeds, snakemake.input.saes, strict=True)),
        features=dict(zip(snakemake.params.seeds, snakemake.input.features, strict=True)),
        table=snakemake.output[0],
        layer=snakemake.params.layer,
        languages=snakemake.params.languages,
        minimum_activations=snakemake.params.minimum_activations,
        statistics=snakemake.params.statistics,
        metadata=provenance(snakemake),
    )
