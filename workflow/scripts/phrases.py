from isogloss.phrases.search import find_phrases
from isogloss.stage import provenance, stage

with stage(snakemake):
    find_phrases(
        lm=snakemake.input.lm,
        sae=snakemake.input.sae,
        documents=snakemake.input.documents,
        segments=snakemake.input.segments,
        phrases=snakemake.output.phrases,
        counts=snakemake.output.counts,
        layers=snakemake.params.layers,
        threshold=snakemake.params.threshold,
        window=snakemake.params.window,
        feature_stride=snakemake.params.feature_stride,
        per_feature=snakemake.params.per_feature,
        corpus_tokens=snakemake.params.corpus_tokens,
        token_budget=snakemake.resources.token_budget,
        dtype=snakemake.params.dtype,
        metadata=provenance(snakemake),
    )
