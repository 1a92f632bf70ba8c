from isogloss.phrases.exported import export_phrases
from isogloss.sae.autoencoder import sae_width
from isogloss.stage import provenance, stage

with stage(snakemake):
    export_phrases(
        exports=snakemake.input.exports,
        lm=snakemake.input.lm,
        phrases=snakemake.output.phrases,
        records=snakemake.output.records,
        counts=snakemake.output.counts,
        layer=int(snakemake.wildcards.layer),
        features=snakemake.params.features or sae_width(snakemake.input.sae),
        settings=snakemake.params.settings,
        checked_records=snakemake.params.checked_records,
        metadata=provenance(snakemake),
    )
