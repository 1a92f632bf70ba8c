from isogloss.disparity.gap import measure_gap
from isogloss.stage import provenance, stage

with stage(snakemake):
    measure_gap(
        activations=snakemake.params.activations,
        langs=snakemake.params.langs,
        language_gap=snakemake.output.language_gap,
        group_gap=snakemake.output.group_gap,
        group_activation=snakemake.output.group_activation,
        language_gap_summary=snakemake.output.language_gap_summary,
        reference=snakemake.params.reference,
        high_resource=snakemake.params.high_resource,
        medium_low_resource=snakemake.params.medium_low_resource,
        minimum_phrases=snakemake.params.minimum_phrases,
        bootstrap=snakemake.params.bootstrap,
        confidence=snakemake.params.confidence,
        correction=snakemake.params.correction,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
