from isogloss.sources.questions import fetch_questions
from isogloss.stage import stage

with stage(snakemake):
    fetch_questions(
        source=snakemake.params.source,
        task=snakemake.params.task,
        languages=snakemake.params.languages,
        output=snakemake.output[0],
    )
