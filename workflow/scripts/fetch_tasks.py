from isogloss.sources.lm_eval_data import fetch_tasks
from isogloss.stage import stage

with stage(snakemake):
    fetch_tasks(
        names=snakemake.params.names,
        source=snakemake.params.source,
        id_column=snakemake.params.id_column,
        output=snakemake.output[0],
    )
