from isogloss.models.checkpoints import locate
from isogloss.stage import provenance, stage
from isogloss.text.tokenise import tokenise

with stage(snakemake):
    lm, _ = locate(snakemake.input.checkpoint, "final")
    tokenise(
        documents=dict(zip(snakemake.params.languages, snakemake.input.documents, strict=True)),
        lm=lm,
        train=snakemake.output.train,
        evaluation=snakemake.output.evaluation,
        settings=snakemake.params.settings,
        training_tokens=snakemake.params.training_tokens,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
