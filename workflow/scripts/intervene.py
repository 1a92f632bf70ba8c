from isogloss.bilingual.intervention import intervene
from isogloss.models.checkpoints import locate
from isogloss.stage import provenance, stage

with stage(snakemake):
    lm, step = locate(snakemake.input.checkpoint, snakemake.params.checkpoint)
    full, _ = locate(snakemake.input.full, snakemake.params.full_checkpoint)
    intervene(
        lm=lm,
        full=full,
        sae=snakemake.input.sae,
        features=[snakemake.input.features],
        evaluation=snakemake.input.evaluation,
        output=snakemake.output.intervention,
        summary=snakemake.output.intervention_summary,
        step=step,
        layer=snakemake.params.layer,
        languages=snakemake.params.languages,
        settings=snakemake.params.settings,
        segments=dict(zip(snakemake.params.languages, snakemake.input.segments, strict=False)),  # or none
        names=snakemake.params.language_names,
        statistics=snakemake.params.statistics,
        compute=snakemake.params.compute,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
        hypotheses=snakemake.output.get("hypotheses"),
    )
