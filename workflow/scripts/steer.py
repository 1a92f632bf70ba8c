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
        layout=snakemake.params.layout,
        spaces=snakemake.params.spaces,
        instruction=snakemake.params.instruction,
        states=snakemake.params.states,
        controls=snakemake.params.controls,
        settings=snakemake.params.settings,
        layers=snakemake.params.layers,
        steered=language_files(snakemake.output.steered, langs),
        vectors=language_files(snakemake.output.vectors, langs, "safetensors"),
        compute=snakemake.params.compute,
        seed=snakemake.params.seed,
        generated=language_files(snakemake.output.generated, langs) if snakemake.params.settings.generation else {},
        metadata=provenance(snakemake),
    )
