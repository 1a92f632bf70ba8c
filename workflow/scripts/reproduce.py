from isogloss.phrases.reproduction import reproduce
from isogloss.stage import provenance, stage

with stage(snakemake):
    reproduce(
        lm=snakemake.input.lm,
        sae=snakemake.params.sae_folder,
        records=list(snakemake.input.records),
        output=snakemake.output[0],
        layers=snakemake.params.layers,
        check=snakemake.params.check,
        compute=snakemake.params.compute,
        metadata=provenance(snakemake),
    )
