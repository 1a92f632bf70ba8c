from isogloss.bilingual.intervention import intervene
from isogloss.models.checkpoints import locate
from isogloss.stage import provenance, stage

with stage(snakemake):
    lm, step = locate(snakemake.input.checkpoint, snakemake.params.checkpoint)
    full, _ = locate(snakemake.input.full, snakemake.params.full_checkpoint)
    translations = snakemake.params.get("translations")
    if translations:
        segments = dict(zip(snakemake.params.languages, snakemake.input.segments, strict=True))
        settings = {key: translations[key] for key in ("shots", "sentences", "new_tokens")}
        translations = {"segments": segments, "names": snakemake.params.language_names, **settings}
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
        classes=snakemake.params.classes,
        alphas=snakemake.params.alphas,
        n_features=snakemake.params.n_features,
        repeats=snakemake.params.repeats,
        bias=snakemake.params.bias,
        rescale=snakemake.params.rescale,
        documents=snakemake.params.documents,
        translations=translations,
        bootstrap=snakemake.params.bootstrap,
        confidence=snakemake.params.confidence,
        token_budget=snakemake.resources.token_budget,
        dtype=snakemake.params.dtype,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
        hypotheses=snakemake.output.get("hypotheses"),
    )
