from isogloss.benchmarks.accuracy import measure_by_teaching
from isogloss.stage import provenance, stage

with stage(snakemake):
    answers = snakemake.params.answers
    measure_by_teaching(
        answers=list(answers),
        adapters=[adapter for adapter, _ in answers.values()],
        langs=[lang for _, lang in answers.values()],
        facts=snakemake.input.facts,
        accuracy_by_teaching=snakemake.output[0],
        metrics=snakemake.params.metrics,
        about_facts=snakemake.params.about_facts,
        confidence=snakemake.params.confidence,
        metadata=provenance(snakemake),
    )
