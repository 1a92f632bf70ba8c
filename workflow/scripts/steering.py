from isogloss.latent.steering import steering
from isogloss.stage import by_column, provenance, stage

with stage(snakemake):
    scores, reference = snakemake.params.scores, snakemake.params.reference
    steering(
        **by_column(snakemake.params.steered, "steered", "tasks", "langs"),
        scores=[path for path, (_, lang) in scores.items() if lang != reference],
        reference_scores={task: path for path, (task, lang) in scores.items() if lang == reference},
        prompts=snakemake.params.prompts,
        steering=snakemake.output.steering,
        steering_summary=snakemake.output.steering_summary,
        choice=snakemake.output.choice,
        tried=snakemake.params.tried,
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
