from isogloss.latent.score import score
from isogloss.stage import language_files, provenance, stage

with stage(snakemake):
    score(
        lm=snakemake.input.lm,
        questions=snakemake.input.questions,
        reference=snakemake.params.reference,
        task=snakemake.wildcards.task,
        prompt=snakemake.params.prompt,
        layout=snakemake.params.layout,
        spaces=snakemake.params.spaces,
        settings=snakemake.params.settings,
        layers=snakemake.params.layers,
        state_layers=snakemake.params.state_layers,
        scores=language_files(snakemake.output.scores, snakemake.params.langs),
        states=language_files(snakemake.output.states, snakemake.params.langs, "safetensors"),
        compute=snakemake.params.compute,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
