from isogloss.stage import provenance, stage
from isogloss.text.translation import translate

with stage(snakemake):
    translate(
        phrases=snakemake.input.phrases,
        segments=snakemake.input.segments,
        output=snakemake.output[0],
        lang=snakemake.wildcards.lang,
        backend=snakemake.params.backend,
        metadata=provenance(snakemake),
    )
