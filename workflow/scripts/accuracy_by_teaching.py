from isogloss.benchmarks.accuracy import measure_by_teaching
from isogloss.stage import provenance, stage

with stage(snakemake):
    measure_by_teaching(
        answers=snakemake.params.answers,
        adapters=snakemake.params.adapters,
        langs=snakemake.params.langs,
        facts=snakemake.input.facts,
        accuracy_by_teaching=snakemake.output[0],
        metrics=snakemake.params.metrics,
        confidence=snakemake.params.confidence,
        metadata=provenance(snakemake),
    )
