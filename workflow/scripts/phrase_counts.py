from isogloss.phrases.counts import collect_counts
from isogloss.stage import provenance, stage

with stage(snakemake):
    collect_counts(
        counts=list(snakemake.input.counts),
        reproduced=list(snakemake.input.reproduced),
        phrase_counts=snakemake.output.phrase_counts,
        reproduction=snakemake.output.reproduction,
        metadata=provenance(snakemake),
    )
