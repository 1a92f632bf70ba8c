from isogloss.report.figures.draw import figure
from isogloss.stage import stage

with stage(snakemake):
    figure(
        tables=list(snakemake.input),
        output=snakemake.output[0],
        picture=snakemake.output.picture,
        drawing=snakemake.params.entries[0],
        title=snakemake.params.title,
        takeaway=snakemake.params.takeaway,
        model=snakemake.wildcards.get("model", ""),
        settings=snakemake.params.settings,
    )
