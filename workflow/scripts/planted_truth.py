from isogloss.joined.planted_truth import measure_planted_truth
from isogloss.stage import provenance, stage

with stage(snakemake):
    measure_planted_truth(
        tables=snakemake.params.tables,
        pairs=snakemake.params.pairs,
        shares=snakemake.params.shares,
        reference=snakemake.params.reference,
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        planted_truth=snakemake.output.planted_truth,
        planted_truth_points=snakemake.output.planted_truth_points,
        metadata=provenance(snakemake) | {"without_control": snakemake.params.without_control},
    )
