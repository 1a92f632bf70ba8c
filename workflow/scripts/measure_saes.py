from isogloss.models.checkpoints import locate
from isogloss.sae.measure import measure_saes
from isogloss.stage import provenance, stage

with stage(snakemake):
    lm, step = locate(snakemake.input.checkpoint, snakemake.wildcards.checkpoint)
    measure_saes(
        lm=lm,
        evaluation=snakemake.input.evaluation,
        sae=snakemake.params.sae_folder,
        quality=snakemake.output.quality,
        step=step,
        layers=snakemake.params.layers,
        compute=snakemake.params.compute,
        metadata=provenance(snakemake),
    )
