from isogloss.sources.exports import fetch_exports
from isogloss.stage import stage

with stage(snakemake):
    fetch_exports(
        url=snakemake.params.neuronpedia["url"],
        folder=snakemake.params.neuronpedia["folder"],
        model=snakemake.params.neuronpedia["model"],
        source=snakemake.params.source,
        output=snakemake.output[0],
        downloads=snakemake.params.downloads,
    )
