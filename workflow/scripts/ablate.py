from isogloss.causal.ablate import ablate
from isogloss.stage import provenance, stage

with stage(snakemake):
    ablate(
        lm=snakemake.input.lm,
        sae=snakemake.params.sae_folder,
        tables=dict(zip(snakemake.params.languages, snakemake.input.segments, strict=True)),
        language_features=snakemake.output.language_features,
        ablation=snakemake.output.ablation,
        ablation_summary=snakemake.output.ablation_summary,
        reference=snakemake.params.reference,
        layer=snakemake.params.layer,
        settings=snakemake.params.settings,
        statistics=snakemake.params.statistics,
        compute=snakemake.params.compute,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
