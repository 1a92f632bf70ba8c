from isogloss.latent.score import score
from isogloss.stage import language_files, provenance, stage

with stage(snakemake):
    score(
        lm=snakemake.input.lm,
        questions=snakemake.input.questions,
        reference=snakemake.params.reference,
        task=snakemake.wildcards.task,
        prompt=snakemake.params.prompt,
        instruction=snakemake.params.instruction,
        layers=snakemake.params.layers,
        state_layers=snakemake.params.state_layers,
        final_norm=snakemake.params.final_norm,
        softcap=snakemake.params.softcap,
        scores=language_files(snakemake.output.scores, snakemake.params.langs),
        states=language_files(snakemake.output.states, snakemake.params.langs, "safetensors"),
        token_budget=snakemake.resources.token_budget,
        dtype=snakemake.params.dtype,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
