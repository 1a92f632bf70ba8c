from isogloss.latent.projection import project
from isogloss.stage import by_column, provenance, stage

with stage(snakemake):
    project(
        **by_column(snakemake.params.states, "states", "tasks", "langs"),
        projection=snakemake.output[0],
        metadata=provenance(snakemake),
    )
