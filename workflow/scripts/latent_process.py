from isogloss.latent.process import latent_process
from isogloss.stage import provenance, stage

with stage(snakemake):
    latent_process(
        scores=snakemake.params.scores,
        tasks=snakemake.params.tasks,
        langs=snakemake.params.langs,
        reference=snakemake.params.reference,
        aggregation=snakemake.params.aggregation,
        answers=snakemake.input.answers,
        transfer=snakemake.input.transfer,
        latent=snakemake.output.latent,
        latent_correlation=snakemake.output.latent_correlation,
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
