from isogloss.disparity.group_inference import infer_over_languages
from isogloss.stage import provenance, stage

with stage(snakemake):
    infer_over_languages(
        tables=list(snakemake.input),
        group_inference=snakemake.output[0],
        languages=snakemake.params.languages,
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
