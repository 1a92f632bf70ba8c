from isogloss.sae.encode import encode
from isogloss.stage import provenance, stage

with stage(snakemake):
    encode(
        lm=snakemake.input.lm,
        adapter=snakemake.input.get("adapter") or None,
        sae=snakemake.params.sae_folder,
        translations=snakemake.input.translations,
        output=snakemake.output[0],
        lang=snakemake.wildcards.lang,
        layers=snakemake.params.layers,
        token_budget=snakemake.resources.token_budget,
        dtype=snakemake.params.dtype,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
