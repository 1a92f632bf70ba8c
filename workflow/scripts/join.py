from isogloss.joined.join import join
from isogloss.stage import provenance, stage

with stage(snakemake):
    join(
        tables=snakemake.params.tables,
        scores=snakemake.params.scores,
        languages=snakemake.params.languages,
        reference=snakemake.params.reference,
        joined=snakemake.output.joined,
        joined_correlations=snakemake.output.joined_correlations,
        joined_incremental=snakemake.output.joined_incremental,
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
