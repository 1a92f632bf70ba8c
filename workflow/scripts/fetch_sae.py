from isogloss.sources.sae import fetch_sae
from isogloss.stage import stage

with stage(snakemake):
    fetch_sae(
        source=snakemake.params.source,
        release=snakemake.params.release,
        sae_id=snakemake.params.sae_id,
        layer=int(snakemake.wildcards.layer),
        kind=snakemake.params.kind,
        features=snakemake.params.features,
        d_model=snakemake.params.d_model,
        output=snakemake.output[0],
    )
