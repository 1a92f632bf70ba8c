"""Train the toy model, with checkpoints."""

from isogloss.sources.world.training import train_toy
from isogloss.stage import provenance, stage

with stage(snakemake):
    train_toy(
        documents=dict(zip(snakemake.params.languages, snakemake.input.documents, strict=True)),
        bilingual_documents=snakemake.input.bilingual,
        bilingual=snakemake.params.bilingual,
        tokenizer=snakemake.input.tokenizer,
        shares=snakemake.params.shares,
        architecture=snakemake.params.architecture,
        training=snakemake.params.training,
        kept_steps=snakemake.params.kept_steps,
        seed=snakemake.params.seed,
        output=snakemake.output.lm,
        checkpoints=snakemake.output.checkpoints,
        table=snakemake.output.table,
        state_folder=snakemake.params.state_folder,
        metadata=provenance(snakemake),
    )
