from isogloss.report.figures.draw import figure
from isogloss.stage import stage

with stage(snakemake):
    figure(
        tables=list(snakemake.input),
        output=snakemake.output[0],
        drawing=snakemake.params.entries[0],
        model=snakemake.wildcards.get("model", ""),
        settings=snakemake.params.settings,
    )
