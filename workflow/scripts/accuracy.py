from isogloss.benchmarks.accuracy import measure_accuracy
from isogloss.stage import provenance, stage

with stage(snakemake):
    measure_accuracy(
        answers=snakemake.params.answers,
        adapters=snakemake.params.adapters,
        langs=snakemake.params.langs,
        facts=snakemake.input.get("facts") or None,
        accuracy=snakemake.output[0],
        metrics=snakemake.params.metrics,
        statistics=snakemake.params.statistics,
        metadata=provenance(snakemake),
    )
