from isogloss.sources.translator import fetch_multilingual
from isogloss.stage import stage

with stage(snakemake):
    fetch_multilingual(
        source=snakemake.params.source,
        backend=snakemake.params.backend,
        engine=snakemake.params.engine,
        compute_type=snakemake.params.compute_type,
        output=snakemake.output[0],
    )
