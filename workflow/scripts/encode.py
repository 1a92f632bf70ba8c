from isogloss.sae.encode import encode
from isogloss.stage import language_files, provenance, stage

with stage(snakemake):
    encode(
        lm=snakemake.input.lm,
        adapter=snakemake.input.get("adapter") or None,
        sae=snakemake.params.sae_folder,
        translations=dict(zip(snakemake.params.langs, snakemake.input.translations, strict=True)),
        outputs=language_files(snakemake.output[0], snakemake.params.langs),
        layers=snakemake.params.layers,
        compute=snakemake.params.compute,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
