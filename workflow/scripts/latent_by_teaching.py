from isogloss.latent.teaching import by_teaching
from isogloss.stage import provenance, stage

with stage(snakemake):
    steered = snakemake.params.steered
    by_teaching(
        scores=snakemake.params.scores,
        tasks=snakemake.params.tasks,
        langs=snakemake.params.langs,
        reference=snakemake.params.reference,
        prompts=snakemake.params.prompts,
        steered=steered,
        steered_tasks=snakemake.params.steered_names["tasks"] if steered else [],
        steered_langs=snakemake.params.steered_names["langs"] if steered else [],
        facts=snakemake.input.facts,
        aggregation=snakemake.params.aggregation,
        output=snakemake.output[0],
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
