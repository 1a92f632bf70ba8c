from isogloss.benchmarks.accuracy import measure_accuracy
from isogloss.stage import provenance, stage

with stage(snakemake):
    measure_accuracy(
        answers=snakemake.input.answers,
        adapters=snakemake.params.adapters,
        langs=snakemake.params.langs,
        facts=snakemake.input.get("facts"),
        accuracy=snakemake.output.accuracy,
        accuracy_by_teaching=snakemake.output.get("accuracy_by_teaching"),
        metrics=snakemake.params.metrics,
        confidence=snakemake.params.confidence,
        correction=snakemake.params.correction,
        metadata=provenance(snakemake),
    )
