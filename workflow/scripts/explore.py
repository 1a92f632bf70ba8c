from isogloss.explorer.explore import explore
from isogloss.stage import provenance, stage

with stage(snakemake):
    explore(
        lm=snakemake.input.lm,
        sae=snakemake.params.sae_folder,
        activations=snakemake.params.activations,
        codes=snakemake.params.codes,
        translations=snakemake.params.translations,
        pool_tables=snakemake.params.pool,
        kind=snakemake.params.kind,
        features=snakemake.input.get("features") or None,
        examples=snakemake.input.get("examples") or None,
        own_saes=snakemake.params.own_saes,
        neuronpedia=snakemake.params.neuronpedia,
        explorer=snakemake.output.explorer,
        explorer_features=snakemake.output.explorer_features,
        reference=snakemake.params.reference,
        layers=snakemake.params.layers,
        texts=snakemake.params.texts,
        feature_stride=snakemake.params.feature_stride,
        minimum_phrases=snakemake.params.minimum_phrases,
        settings=snakemake.params.settings,
        statistics=snakemake.params.statistics,
        compute=snakemake.params.compute,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
