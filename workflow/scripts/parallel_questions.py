from pathlib import Path

from isogloss.sources.parallel_questions import parallel_questions
from isogloss.stage import provenance, stage

with stage(snakemake):
    given = snakemake.input.data
    data = given if isinstance(given, str) else Path(given[0]).parents[2]  # m_TASK/data/LANG/SPLIT.jsonl
    parallel_questions(
        task=snakemake.wildcards.task,
        layout=snakemake.params.layout,
        data=str(data),
        reference_data=snakemake.input.get("reference_data") or None,
        languages=snakemake.params.languages,
        reference=snakemake.params.reference,
        questions=snakemake.params.questions,
        held_out=snakemake.params.held_out,
        seed=snakemake.params.seed,
        output=snakemake.output[0],
        metadata=provenance(snakemake),
    )
