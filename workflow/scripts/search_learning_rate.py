from isogloss.models.checkpoints import locate
from isogloss.sae.learning_rate import search_learning_rate
from isogloss.stage import provenance, stage

with stage(snakemake):
    lm, step = locate(snakemake.input.checkpoint, snakemake.params.checkpoint)
    search_learning_rate(
        lm=lm,
        tokens=snakemake.input.train,
        evaluation=snakemake.input.evaluation,
        learning_rates=snakemake.output[0],
        step=step,
        layer=snakemake.params.layer,
        rates=snakemake.params.rates,
        recipe=snakemake.params.sae,
        compute=snakemake.params.compute,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
