from isogloss.residuals.similarity import measure_similarity
from isogloss.stage import provenance, stage

with stage(snakemake):
    measure_similarity(
        residuals=snakemake.params.residuals,
        langs=snakemake.params.langs,
        phrases=list(snakemake.input.phrases),
        similarity=snakemake.output.similarity,
        similarity_pairs=snakemake.output.similarity_pairs,
        reference=snakemake.params.reference,
        candidates=snakemake.params.candidates,
        statistics=snakemake.params.statistics,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
