"""Write the toy world: facts, documents, parallel segments and benchmarks."""

from isogloss.sources.world.world import build_world
from isogloss.stage import provenance, stage

with stage(snakemake):
    build_world(
        folder=snakemake.params.folder,
        world=snakemake.params.world,
        reference=snakemake.params.reference,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
