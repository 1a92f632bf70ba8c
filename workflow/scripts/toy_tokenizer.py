"""Train the toy model's tokenizer."""

from isogloss.sources.world.tokenizer import train_tokenizer
from isogloss.stage import stage

with stage(snakemake):
    train_tokenizer(
        documents=dict(zip(snakemake.params.languages, snakemake.input.documents, strict=True)),
        vocabulary=snakemake.params.vocabulary,
        context=snakemake.params.context,
        output=snakemake.output[0],
    )
