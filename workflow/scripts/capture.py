from isogloss.residuals.capture import capture
from isogloss.stage import provenance, stage

with stage(snakemake):
    capture(
        lm=snakemake.input.lm,
        adapter=snakemake.input.get("adapter") or None,
        translations=list(snakemake.input.translations),
        output=snakemake.output[0],
        lang=snakemake.wildcards.lang,
        layers=snakemake.params.layers,
        feature_stride=snakemake.params.feature_stride,
        token_budget=snakemake.resources.token_budget,
        dtype=snakemake.params.dtype,
        metadata=provenance(snakemake),
    )
