from isogloss.phrases.reproduction import reproduce
from isogloss.stage import provenance, stage

with stage(snakemake):
    reproduce(
        lm=snakemake.input.lm,
        sae=snakemake.params.sae_folder,
        records=list(snakemake.input.records),
        output=snakemake.output[0],
        layers=snakemake.params.layers,
        correlation=snakemake.params.correlation,
        same_peak=snakemake.params.same_peak,
        token_budget=snakemake.resources.token_budget,
        dtype=snakemake.params.dtype,
        metadata=provenance(snakemake),
    )
