from isogloss.sources.documents import fetch_documents
from isogloss.stage import provenance, stage

with stage(snakemake):
    fetch_documents(
        source=snakemake.params.source,
        lang=snakemake.wildcards.lang,
        documents=snakemake.params.documents,
        output=snakemake.output[0],
        metadata=provenance(snakemake),
    )
