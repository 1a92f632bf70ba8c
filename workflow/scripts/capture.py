from isogloss.residuals.capture import capture
from isogloss.stage import language_files, provenance, stage

with stage(snakemake):
    capture(
        lm=snakemake.input.lm,
        adapter=snakemake.input.get("adapter") or None,
        translations=snakemake.params.translations,
        outputs=language_files(snakemake.output[0], snakemake.params.translations),
        layers=snakemake.params.layers,
        feature_stride=snakemake.params.feature_stride,
        compute=snakemake.params.compute,
        metadata=provenance(snakemake),
    )
