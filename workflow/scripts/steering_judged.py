from isogloss.latent.judged import steering_judged
from isogloss.stage import by_column, provenance, stage

with stage(snakemake):
    steering_judged(
        **by_column(snakemake.params.steered, "steered", "tasks", "langs"),
        **by_column(snakemake.params.random, "random", "random_tasks", "random_langs"),
        choice=snakemake.input.choice,
        output=snakemake.output[0],
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
