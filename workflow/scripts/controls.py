from isogloss.disparity.gap_controls import measure_controls
from isogloss.stage import provenance, stage

with stage(snakemake):
    measure_controls(
        activations=list(snakemake.params.activations),
        langs=list(snakemake.params.activations.values()),
        activation_controls=snakemake.output[0],
        reference=snakemake.params.reference,
        minimum_phrases=snakemake.params.minimum_phrases,
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
