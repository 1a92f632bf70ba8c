from isogloss.disparity.gain import measure_gain
from isogloss.stage import provenance, stage

with stage(snakemake):
    measure_gain(
        base=snakemake.params.base,
        base_langs=snakemake.params.base_langs,
        adapted=snakemake.params.adapted,
        adapted_runs=snakemake.params.adapted_runs,
        adapted_langs=snakemake.params.adapted_langs,
        alignment_gain=snakemake.output.alignment_gain,
        target_layers=snakemake.params.target_layers,
        reference=snakemake.params.reference,
        held_out=snakemake.params.held_out,
        minimum_phrases=snakemake.params.minimum_phrases,
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
