from isogloss.sources.translator import fetch_translator
from isogloss.stage import stage

with stage(snakemake):
    fetch_translator(
        source=snakemake.params.source,
        target=snakemake.params.target,
        engine=snakemake.params.engine,
        compute_type=snakemake.params.compute_type,
        lang=snakemake.wildcards.lang,
        reference=snakemake.params.reference,
        direction=snakemake.wildcards.direction,
        output=snakemake.output[0],
    )
