from isogloss.report.page.overview import overview
from isogloss.stage import stage

with stage(snakemake):
    overview(
        tables=list(snakemake.input.tables),
        figures=list(snakemake.input.figures),
        settings=snakemake.params.settings,
        output=snakemake.output[0],
    )
