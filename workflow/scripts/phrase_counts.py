from isogloss.stage import provenance, stage
from isogloss.text.phrase_counts import collect_counts

with stage(snakemake):
    collect_counts(
        counts=list(snakemake.input.counts),
        reproduced=list(snakemake.input.reproduced),
        phrase_counts=snakemake.output.phrase_counts,
        reproduction=snakemake.output.reproduction,
        metadata=provenance(snakemake),
    )
