from isogloss.latent.steer import steer
from isogloss.stage import provenance, stage

with stage(snakemake):
    steer(
        lm=snakemake.input.lm,
        questions=snakemake.input.questions,
        lang=snakemake.wildcards.lang,
        reference=snakemake.params.reference,
        task=snakemake.wildcards.task,
        prompt=snakemake.params.prompt,
        instruction=snakemake.params.instruction,
        states=snakemake.input.states,
        reference_states=snakemake.input.reference_states,
        other_states=snakemake.input.get("other_states") or None,
        every_states=snakemake.input.get("every_states") or [],
        random=snakemake.params.random,
        layers=snakemake.params.layers,
        gammas=snakemake.params.gammas,
        steered=snakemake.output.steered,
        vectors=snakemake.output.vectors,
        token_budget=snakemake.resources.token_budget,
        dtype=snakemake.params.dtype,
        seed=snakemake.params.seed,
        generation=snakemake.params.generation,
        generated=snakemake.output.get("generated"),
        metadata=provenance(snakemake),
    )
