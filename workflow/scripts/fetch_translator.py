from isogloss.sources.translator import fetch_translator
from isogloss.stage import stage

with stage(snakemake):
    pair = (snakemake.params.phrases, snakemake.wildcards.lang)
    source_lang, target_lang = pair if snakemake.wildcards.direction == "to" else reversed(pair)
    fetch_translator(
        source=snakemake.params.source,
        target=snakemake.params.target,
        engine=snakemake.params.engine,
        compute_type=snakemake.params.compute_type,
        source_lang=source_lang,
        target_lang=target_lang,
        output=snakemake.output[0],
    )
