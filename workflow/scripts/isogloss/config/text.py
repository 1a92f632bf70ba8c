"""Where text comes from: documents of a language, and segments that are translations of each other."""

from typing import Annotated, Literal

from pydantic import Field

from isogloss.config.base import Glob, Language
from isogloss.config.pretrained import Source


class DocumentSource(Source):
    """Documents of a language: Parquet, JSON Lines, CSV or TSV files (.gz, .zst too) of a data set or folder."""

    files: Glob = Field(default="*", description="which files of it, as a glob, data/train-*.parquet say")
    column: str = Field(default="text", description="column or key that holds a document's text")


class ParallelText(Source):
    """A parallel corpus: the same segments, sentences say, in every language, by an id that they have in common."""

    files: Glob = Field(
        default="{lang}.*",
        description="files of a language, as a glob: Parquet, JSON Lines, TSV or CSV with a header, or plain text, a"
        " segment a line; {lang} stands for the language as the study calls it, {code} for its code without a script,"
        " {flores} for its FLORES-200 code",
    )
    id_column: str | None = Field(
        default="id", description="column or key of a segment's id; null: segments are numbered, as in plain text"
    )
    text_column: str = Field(
        default="text", description="column or key of its text; with {lang}, {code} or {flores} a column a language"
    )
    document_column: str | None = Field(
        default=None,
        description="column or key of what segments are a part of; those in a row that share it make a document,"
        " spaced as the language is."
        " absent: a document a segment",
    )
    minimum_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5, description="share of each language's segments that all languages must have in common"
    )


Documents = Literal["world"] | dict[Language, DocumentSource]
Parallel = Literal["world"] | ParallelText
