from isogloss.latent.projection import project
from isogloss.stage import provenance, stage

with stage(snakemake):
    project(
        states=snakemake.params.states,
        tasks=snakemake.params.tasks,
        langs=snakemake.params.langs,
        projection=snakemake.output[0],
        metadata=provenance(snakemake),
    )
