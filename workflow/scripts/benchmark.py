from isogloss.benchmarks.run import benchmark
from isogloss.stage import language_files, provenance, stage

with stage(snakemake):
    benchmark(
        lm=snakemake.input.lm,
        adapter=snakemake.input.get("adapter") or None,
        data=snakemake.params.folders,
        outputs=language_files(snakemake.output[0], snakemake.params.langs),
        languages=snakemake.params.task_languages,
        shots=snakemake.params.shots,
        questions=snakemake.params.questions,
        compute=snakemake.params.compute,
        seed=snakemake.params.seed,
        metadata=provenance(snakemake),
    )
