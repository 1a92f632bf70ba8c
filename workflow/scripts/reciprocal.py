from isogloss.disparity.reciprocal import measure_reciprocal
from isogloss.stage import provenance, stage

with stage(snakemake):
    measure_reciprocal(
        codes=list(snakemake.params.codes),
        langs=list(snakemake.params.codes.values()),
        reciprocal_gap=snakemake.output.reciprocal_gap,
        reciprocal_gap_summary=snakemake.output.reciprocal_gap_summary,
        reference=snakemake.params.reference,
        per_feature=snakemake.params.per_feature,
        threshold=snakemake.params.threshold,
        minimum_phrases=snakemake.params.minimum_phrases,
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
