from isogloss.benchmarks.accuracy import measure_accuracy
from isogloss.stage import provenance, stage

with stage(snakemake):
    answers = snakemake.params.answers
    measure_accuracy(
        answers=list(answers),
        adapters=[adapter for adapter, _ in answers.values()],
        langs=[lang for _, lang in answers.values()],
        facts=snakemake.input.get("facts") or None,
        accuracy=snakemake.output[0],
        metrics=snakemake.params.metrics,
        left_out=snakemake.params.left_out,
        statistics=snakemake.params.statistics,
        metadata=provenance(snakemake),
    )
