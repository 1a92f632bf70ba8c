"""Write the toy world: facts, documents, parallel segments and benchmarks."""

from isogloss.sources.world.world import build_world
from isogloss.stage import provenance, stage

with stage(snakemake):
    build_world(
        folder=snakemake.params.folder,
        languages=snakemake.params.languages,
        reference=snakemake.params.reference,
        territories=snakemake.params.territories,
        english_only=snakemake.params.english_only,
        untaught=snakemake.params.untaught,
        test_share=snakemake.params.test_share,
        repeats=snakemake.params.repeats,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
