"""Where text comes from: documents of a language, and segments that are translations of each other."""

from typing import Literal

from pydantic import Field

from isogloss.config.pretrained import Source


class DocumentSource(Source):
    """Documents of a language: Parquet or JSON Lines (.jsonl, .jsonl.gz, .jsonl.zst) files of a data set or folder."""

    files: str = Field(default="*", description="which files of it, as a glob, data/train-*.parquet say")
    column: str = Field(default="text", description="column or key that holds a document's text")


class ParallelText(Source):
    """A parallel corpus: the same segments in every language, by an id that they have in common."""

    files: str = Field(default="{lang}.parquet", description="which file has a language")
    id_column: str = Field(default="id", description="column or key that holds a segment's id")
    text_column: str = Field(default="text", description="column or key that holds its text")


Documents = Literal["world"] | dict[str, DocumentSource]
Parallel = Literal["world"] | ParallelText
