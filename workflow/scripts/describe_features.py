from isogloss.bilingual.features import describe_features
from isogloss.models.checkpoints import locate
from isogloss.stage import provenance, stage

with stage(snakemake):
    lm, step = locate(snakemake.input.checkpoint, snakemake.wildcards.checkpoint)
    embeddings, _ = locate(snakemake.input.embeddings, snakemake.params.embeddings_checkpoint)
    describe_features(
        lm=lm,
        embeddings=embeddings,
        sae=snakemake.params.sae_folder,
        evaluation=snakemake.input.evaluation,
        features=snakemake.output.features,
        examples=snakemake.output.examples,
        step=step,
        layers=snakemake.params.layers,
        languages=snakemake.params.languages,
        settings=snakemake.params.settings,
        compute=snakemake.params.compute,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
