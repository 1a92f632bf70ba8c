from isogloss.sources.exports import fetch_exports
from isogloss.stage import stage

with stage(snakemake):
    fetch_exports(
        neuronpedia=snakemake.params.neuronpedia,
        source=snakemake.params.source,
        output=snakemake.output[0],
        downloads=snakemake.params.downloads,
    )
