from isogloss.disparity.gain import measure_gain
from isogloss.stage import provenance, stage

with stage(snakemake):
    base, adapted = snakemake.params.base, snakemake.params.adapted
    measure_gain(
        base=list(base),
        base_langs=list(base.values()),
        adapted=list(adapted),
        adapted_runs=[run for run, _ in adapted.values()],
        adapted_langs=[lang for _, lang in adapted.values()],
        alignment_gain=snakemake.output.alignment_gain,
        target_layers=snakemake.params.target_layers,
        reference=snakemake.params.reference,
        held_out=snakemake.params.held_out,
        minimum_phrases=snakemake.params.minimum_phrases,
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
