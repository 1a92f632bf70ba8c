from isogloss.latent.steer import steer
from isogloss.stage import language_files, provenance, stage

with stage(snakemake):
    langs = snakemake.params.langs
    steer(
        lm=snakemake.input.lm,
        questions=snakemake.input.questions,
        reference=snakemake.params.reference,
        task=snakemake.wildcards.task,
        prompt=snakemake.params.prompt,
        instruction=snakemake.params.instruction,
        states=snakemake.params.states,
        controls=snakemake.params.controls,
        shared=snakemake.params.shared,
        random=snakemake.params.random,
        layers=snakemake.params.layers,
        gammas=snakemake.params.gammas,
        steered=language_files(snakemake.output.steered, langs),
        vectors=language_files(snakemake.output.vectors, langs, "safetensors"),
        token_budget=snakemake.resources.token_budget,
        dtype=snakemake.params.dtype,
        seed=snakemake.params.seed,
        generation=snakemake.params.generation,
        generated=language_files(snakemake.output.generated, langs) if snakemake.params.generation else {},
        metadata=provenance(snakemake),
    )
