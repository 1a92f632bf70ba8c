from isogloss.sae.codes import write_codes
from isogloss.stage import language_files, provenance, stage

with stage(snakemake):
    write_codes(
        lm=snakemake.input.lm,
        sae=snakemake.params.sae_folder,
        tables=snakemake.params.tables,
        kind=snakemake.params.kind,
        outputs=language_files(snakemake.output[0], snakemake.params.langs),
        reference=snakemake.params.reference,
        layers=snakemake.params.layers,
        texts=snakemake.params.texts,
        feature_stride=snakemake.params.feature_stride,
        compute=snakemake.params.compute,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
