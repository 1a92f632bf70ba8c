from isogloss.latent.steering import steering
from isogloss.stage import provenance, stage

with stage(snakemake):
    steering(
        steered=snakemake.params.steered,
        tasks=snakemake.params.tasks,
        langs=snakemake.params.langs,
        scores=snakemake.params.scores,
        reference_scores=dict(zip(snakemake.params.prompts, snakemake.params.reference_scores, strict=True)),
        prompts=snakemake.params.prompts,
        steering=snakemake.output.steering,
        steering_summary=snakemake.output.steering_summary,
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
