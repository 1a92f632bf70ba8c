# Text: documents of a language, and segments that are translations of each other.
#   in:  the toy world, files of the Hub or of a folder, a parallel corpus
#   out: a table of documents a language, a table of segments a language

DOCUMENTS = {"world": f"{WORLD}/documents", "files": "results/documents", "corpus": "results/parallel/documents"}
SEGMENTS = {"world": f"{WORLD}/segments", "corpus": "results/parallel/segments"}


def document_tables(languages, provider=STUDY.documents_provider):
    """The documents of some languages; nothing where there are none."""
    return [f"{DOCUMENTS[provider]}/{lang}.parquet" for lang in languages if provider]


def segment_table(lang, provider=STUDY.parallel_provider):
    """The parallel segments of a language; nothing where documents have none."""
    return f"{SEGMENTS[provider]}/{lang}.parquet" if provider in SEGMENTS else []


def segment_tables(languages, provider=STUDY.parallel_provider):
    """The parallel segments of some languages."""
    return [segment_table(lang, provider) for lang in languages if provider in SEGMENTS]


def document_source(wildcards):
    """Where documents of a language are."""
    return STUDY.documents[wildcards.lang]


def documents_needed():
    """How many documents of each language are kept: enough for every model, a third of them too short."""
    tokens = max((model.sae.tokens for model in STUDY.models.values() if model.sae), default=0)
    a_document = STUDY.bilingual.tokens_per_document - 1
    a_language = (tokens + STUDY.bilingual.evaluation_tokens) / len(STUDY.bilingual_languages)
    return int(1.5 * a_language / a_document) + 100


rule fetch_documents:
    input:
        lambda wildcards: folder_files(document_source(wildcards).folder),
    output:
        "results/documents/{lang}.parquet",
    log:
        "results/logs/fetch_documents/{lang}.log",
    wildcard_constraints:
        lang=one_of(STUDY.document_languages("files") if STUDY.documents_provider == "files" else []),
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(source=document_source),
        code=code("fetch_documents"),
        documents=documents_needed(),
    message:
        "Fetch documents in {wildcards.lang}"
    script:
        "../scripts/fetch_documents.py"
