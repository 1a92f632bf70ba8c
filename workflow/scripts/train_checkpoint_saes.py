from isogloss.models.checkpoints import locate
from isogloss.sae.checkpoint_saes import train_checkpoint_saes
from isogloss.stage import provenance, stage

with stage(snakemake):
    lm, step = locate(snakemake.input.checkpoint, snakemake.wildcards.checkpoint)
    train_checkpoint_saes(
        lm=lm,
        tokens=snakemake.input.train,
        evaluation=snakemake.input.evaluation,
        sae=snakemake.output.sae,
        quality=snakemake.output.quality,
        step=step,
        layers=snakemake.params.layers,
        recipe=snakemake.params.sae,
        learning_rates=snakemake.input.get("learning_rates") or None,
        bilingual=snakemake.params.bilingual,
        compute=snakemake.params.compute,
        seed=snakemake.params.seed,
        state_folder=snakemake.params.state_folder,
        metadata=provenance(snakemake),
    )
