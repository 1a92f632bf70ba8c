from isogloss.latent.teaching import by_teaching
from isogloss.stage import by_column, provenance, stage

with stage(snakemake):
    by_teaching(
        **by_column(snakemake.params.scores, "scores", "tasks", "langs"),
        reference=snakemake.params.reference,
        prompts=snakemake.params.prompts,
        **by_column(snakemake.params.steered, "steered", "steered_tasks", "steered_langs"),
        facts=snakemake.input.facts,
        aggregation=snakemake.params.aggregation,
        output=snakemake.output[0],
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
