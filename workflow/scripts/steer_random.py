from isogloss.latent.steer_random import steer_random
from isogloss.stage import language_files, provenance, stage

with stage(snakemake):
    steer_random(
        lm=snakemake.input.lm,
        questions=snakemake.input.questions,
        reference=snakemake.params.reference,
        task=snakemake.wildcards.task,
        prompt=snakemake.params.prompt,
        layout=snakemake.params.layout,
        instruction=snakemake.params.instruction,
        spaces=snakemake.params.spaces,
        vectors=snakemake.params.vectors,
        choice=snakemake.input.choice,
        directions=snakemake.params.directions,
        steered=language_files(snakemake.output[0], snakemake.params.langs),
        compute=snakemake.params.compute,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
