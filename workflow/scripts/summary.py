from isogloss.report.page.summary import summary
from isogloss.stage import stage

with stage(snakemake):
    summary(
        tables=list(snakemake.input.tables),
        figures=list(snakemake.input.figures),
        settings=snakemake.params.settings,
        output=snakemake.output.page,
        landing=snakemake.output.landing,
    )
