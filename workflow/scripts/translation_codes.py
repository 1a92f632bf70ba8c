from isogloss.sources.language_codes import write_codes
from isogloss.stage import stage

with stage(snakemake):
    write_codes(
        translator=snakemake.input[0],
        backend=snakemake.params.backend,
        source_lang=snakemake.params.source_lang,
        lang=snakemake.wildcards.lang,
        codes=snakemake.params.codes,
        flores=snakemake.params.flores,
        output=snakemake.output[0],
    )
