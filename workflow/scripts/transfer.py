from isogloss.latent.transfer import transfer
from isogloss.stage import by_column, provenance, stage

with stage(snakemake):
    transfer(
        **by_column(snakemake.params.scores, "scores", "tasks", "langs"),
        prompts=snakemake.params.prompts,
        reference=snakemake.params.reference,
        answers=snakemake.output.answers,
        transfer=snakemake.output.transfer,
        transfer_summary=snakemake.output.transfer_summary,
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
