from isogloss.report.tables.html import html_table
from isogloss.stage import stage

with stage(snakemake):
    html_table(
        table=snakemake.input[0],
        output=snakemake.output[0],
        drawing=snakemake.params.entries[0],
        heading=snakemake.params.heading,
        model=snakemake.wildcards.get("model", "comparison"),
        title=snakemake.params.title,
        confidence=snakemake.params.confidence,
        toy=snakemake.params.toy,
    )
