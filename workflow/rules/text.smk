# Text: documents of a language, and segments that are translations of each other.
#   in:  the toy world, files of the Hub or of a folder, a parallel corpus
#   out: a table of documents a language, a table of segments a language

from isogloss.config.folders import files_of
from isogloss.languages import language, spacing

DOCUMENTS = {"world": f"{WORLD}/documents", "files": "results/documents", "corpus": "results/parallel/documents"}
SEGMENTS = {"world": f"{WORLD}/segments", "corpus": "results/parallel/segments"}


def local_files(folder, *patterns):
    """The files of a local source that fit the globs: all of its own, without one. Nothing for what is fetched."""
    try:
        return files_of(folder, *patterns or ["*"])
    except IsoglossError as error:
        raise WorkflowError(str(error))


def flores_codes(languages):
    """The FLORES-200 code of each language, by which Belebele's files are named."""
    return {lang: language(lang).flores for lang in languages}


def document_tables(languages, provider=STUDY.documents_provider):
    """The documents of some languages; nothing where there are none."""
    return [f"{DOCUMENTS[provider]}/{lang}.parquet" for lang in languages if provider]


def segment_table(lang, provider=STUDY.parallel_provider):
    """The parallel segments of a language; nothing where documents have none."""
    return f"{SEGMENTS[provider]}/{lang}.parquet" if provider in SEGMENTS else []


def segment_tables(languages, provider=STUDY.parallel_provider):
    """The parallel segments of some languages."""
    return [segment_table(lang, provider) for lang in languages if provider in SEGMENTS]


def segment_space(lang, provider=STUDY.parallel_provider):
    """What stands between segments of a language; the toy world tells all of its languages with spaces."""
    return " " if provider == "world" else spacing(lang)


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
        lambda wildcards: local_files(document_source(wildcards).folder, document_source(wildcards).files),
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


def parallel_names():
    """What stands for the languages in the names of the parallel corpus' files and columns."""
    languages = list(dict.fromkeys([*LANGUAGES, *STUDY.bilingual_languages]))
    return {
        lang: {"lang": lang, "code": lang.split("-")[0], "flores": flores}
        for lang, flores in flores_codes(languages).items()
    }


def parallel_files():
    """The files of a local parallel corpus."""
    if STUDY.parallel_provider != "corpus" or not STUDY.parallel.folder:
        return []
    parts = set()
    for names in parallel_names().values():
        pattern = STUDY.parallel.files
        for key, name in names.items():
            pattern = pattern.replace(f"{{{key}}}", name or "*")
        parts.add(Path(pattern).parent)
    return local_files(STUDY.parallel.folder, *(f"{part}/*" for part in parts))


rule fetch_parallel:
    input:
        parallel_files(),
    output:
        segments=expand("results/parallel/segments/{lang}.parquet", lang=parallel_names()),
        documents=expand("results/parallel/documents/{lang}.parquet", lang=parallel_names()),
    log:
        "results/logs/fetch_parallel.log",
    localrule: True
    conda:
        "../../envs/isogloss.yaml"
    params:
        **sections(source=STUDY.parallel if STUDY.parallel_provider == "corpus" else None),
        code=code("fetch_parallel"),
        names=parallel_names(),
        spaces={lang: spacing(lang) for lang in parallel_names()},
        segments_folder=lambda wildcards, output: str(Path(output.segments[0]).parent),
        documents_folder=lambda wildcards, output: str(Path(output.documents[0]).parent),
    message:
        "Fetch the parallel corpus in {params.names}"
    script:
        "../scripts/fetch_parallel.py"
