from isogloss.disparity.correlation import correlate_gap_with_accuracy
from isogloss.stage import provenance, stage

with stage(snakemake):
    correlate_gap_with_accuracy(
        language_gap_summary=snakemake.input.language_gap_summary,
        accuracy=snakemake.input.accuracy,
        gap_accuracy_correlation=snakemake.output.gap_accuracy_correlation,
        gap_accuracy=snakemake.output.gap_accuracy,
        reference=snakemake.params.reference,
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
