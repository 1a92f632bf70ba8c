from isogloss.sources.saes.fetch import fetch_sae
from isogloss.stage import stage

with stage(snakemake):
    fetch_sae(
        saes=snakemake.params.saes,
        sae_id=snakemake.params.sae_id,
        layer=int(snakemake.wildcards.layer),
        d_model=snakemake.params.d_model,
        model=snakemake.params.model_id,
        output=snakemake.output[0],
    )
