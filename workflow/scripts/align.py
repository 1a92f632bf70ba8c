from isogloss.disparity.align import align
from isogloss.stage import provenance, stage

with stage(snakemake):
    align(
        lm=snakemake.input.lm,
        sae=f"{snakemake.params.sae_folder}/layer_{snakemake.params.run.target_layer}",
        phrases=list(snakemake.input.phrases),
        translations=list(snakemake.input.translations),
        reference_activations=next(iter(snakemake.params.reference_activations), None),
        adapter=snakemake.output.adapter,
        losses=snakemake.output.losses,
        state_folder=snakemake.params.state_folder,
        model_name=snakemake.params.model_name,
        settings=snakemake.params.alignment,
        run=snakemake.params.run,
        compute=snakemake.params.compute,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
