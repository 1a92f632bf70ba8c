from isogloss.sources.parallel_text import fetch_parallel
from isogloss.stage import language_files, provenance, stage

with stage(snakemake):
    fetch_parallel(
        source=snakemake.params.source,
        names=snakemake.params.names,
        files=snakemake.params.source.files,
        id_column=snakemake.params.source.id_column,
        text_column=snakemake.params.source.text_column,
        document_column=snakemake.params.source.document_column,
        minimum_share=snakemake.params.source.minimum_share,
        spaces=snakemake.params.spaces,
        segments=language_files(snakemake.params.segments_folder, snakemake.params.names),
        documents=language_files(snakemake.params.documents_folder, snakemake.params.names),
        metadata=provenance(snakemake),
    )
