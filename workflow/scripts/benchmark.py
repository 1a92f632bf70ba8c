from isogloss.benchmarks.run import benchmark
from isogloss.stage import provenance, stage

with stage(snakemake):
    benchmark(
        lm=snakemake.input.lm,
        adapter=snakemake.input.get("adapter") or None,
        data=snakemake.params.folders,
        output=snakemake.output[0],
        lang=snakemake.wildcards.lang,
        common_languages=snakemake.params.common_languages,
        shots=snakemake.params.shots,
        questions=snakemake.params.questions,
        seed=snakemake.params.seed,
        token_budget=snakemake.resources.token_budget,
        dtype=snakemake.params.dtype,
        metadata=provenance(snakemake),
    )
