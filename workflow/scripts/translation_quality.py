from isogloss.phrases.translation_quality import measure_quality
from isogloss.stage import provenance, stage

with stage(snakemake):
    measure_quality(
        translations=list(snakemake.input.translations),
        langs=snakemake.params.langs,
        translation_quality=snakemake.output[0],
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
