from isogloss.latent.score import score
from isogloss.stage import provenance, stage

with stage(snakemake):
    score(
        lm=snakemake.input.lm,
        adapter=None,
        questions=snakemake.input.questions,
        lang=snakemake.wildcards.lang,
        reference=snakemake.params.reference,
        task=snakemake.wildcards.task,
        prompt=snakemake.params.prompt,
        instruction=snakemake.params.instruction,
        layers=snakemake.params.layers,
        state_layers=snakemake.params.state_layers,
        final_norm=snakemake.params.final_norm,
        softcap=snakemake.params.softcap,
        scores=snakemake.output.scores,
        states=snakemake.output.states,
        token_budget=snakemake.resources.token_budget,
        dtype=snakemake.params.dtype,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
