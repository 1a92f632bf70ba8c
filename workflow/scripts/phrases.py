from isogloss.phrases.search import find_phrases
from isogloss.stage import provenance, stage

with stage(snakemake):
    find_phrases(
        lm=snakemake.input.lm,
        sae=snakemake.params.sae_folder,
        documents=snakemake.input.documents,
        segments=snakemake.input.segments or None,
        space=snakemake.params.space,
        phrases=snakemake.output.phrases,
        counts=snakemake.output.counts,
        layers=snakemake.params.layers,
        settings=snakemake.params.settings,
        compute=snakemake.params.compute,
        metadata=provenance(snakemake),
    )
