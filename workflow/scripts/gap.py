from isogloss.disparity.gap import measure_gap
from isogloss.stage import provenance, stage

with stage(snakemake):
    measure_gap(
        activations=list(snakemake.params.activations),
        langs=list(snakemake.params.activations.values()),
        language_gap=snakemake.output.language_gap,
        group_gap=snakemake.output.group_gap,
        group_activation=snakemake.output.group_activation,
        language_gap_summary=snakemake.output.language_gap_summary,
        languages=snakemake.params.languages,
        minimum_phrases=snakemake.params.minimum_phrases,
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
