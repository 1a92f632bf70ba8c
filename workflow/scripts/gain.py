from isogloss.disparity.gain import measure_gain
from isogloss.disparity.holdout import HoldOut
from isogloss.stage import provenance, stage

with stage(snakemake):
    params = snakemake.params
    base, adapted = params.base, params.adapted
    measure_gain(
        base=list(base),
        base_langs=list(base.values()),
        adapted=list(adapted),
        adapted_runs=[run for run, _ in adapted.values()],
        adapted_langs=[lang for _, lang in adapted.values()],
        alignment_gain=snakemake.output.alignment_gain,
        alignment_retention=snakemake.output.alignment_retention,
        target_layers=params.target_layers,
        reference=params.reference,
        hold_out=HoldOut(params.held_out, params.held_out_features, params.seed),
        minimum_phrases=params.minimum_phrases,
        statistics=params.statistics,
        seed=params.seed,
        metadata=provenance(snakemake),
    )
