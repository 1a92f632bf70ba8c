from isogloss.joined.compare_models import compare_models
from isogloss.stage import provenance, stage

with stage(snakemake):
    compare_models(
        tables=snakemake.params.tables,
        folders=snakemake.params.folders,
        models=snakemake.output.models,
        sizes=snakemake.output.sizes,
        size_regression=snakemake.output.size_regression,
        statistics=snakemake.params.statistics,
        metadata=provenance(snakemake),
    )
