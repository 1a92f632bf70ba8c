from isogloss.latent.transfer import transfer
from isogloss.stage import provenance, stage

with stage(snakemake):
    transfer(
        scores=snakemake.params.scores,
        tasks=snakemake.params.tasks,
        langs=snakemake.params.langs,
        prompts=snakemake.params.prompts,
        reference=snakemake.params.reference,
        answers=snakemake.output.answers,
        transfer=snakemake.output.transfer,
        transfer_summary=snakemake.output.transfer_summary,
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
