from isogloss.sae.train import train_saes
from isogloss.stage import provenance, stage

with stage(snakemake):
    train_saes(
        lm=snakemake.input.lm,
        documents=dict(zip(snakemake.params.languages, snakemake.input.documents, strict=True)),
        sae=snakemake.output.sae,
        quality=snakemake.output.quality,
        layers=snakemake.params.layers,
        shares=snakemake.params.shares,
        recipe=snakemake.params.sae,
        compute=snakemake.params.compute,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
