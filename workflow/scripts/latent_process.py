from isogloss.latent.process import latent_process
from isogloss.latent.transfer_layers import transfer_layers
from isogloss.stage import by_column, provenance, stage

with stage(snakemake):
    latent_process(
        **by_column(snakemake.params.scores, "scores", "tasks", "langs"),
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
    transfer_layers(
        **by_column(snakemake.params.scores, "scores", "tasks", "langs"),
        prompts=snakemake.params.prompts,
        output=snakemake.output.transfer_layers,
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
