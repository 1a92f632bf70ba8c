from isogloss.sources.model import fetch_model
from isogloss.stage import stage

with stage(snakemake):
    fetch_model(
        source=snakemake.params.source,
        architecture=snakemake.params.architecture,
        output=snakemake.output[0],
    )
