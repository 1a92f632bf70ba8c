"""Parallel segments: what a translation memory knows of a language."""

from isogloss.errors import IsoglossError
from isogloss.tables import iter_table


def read_segments(path: str) -> dict[str, str]:
    """The texts of a language's parallel segments by id.

    Raises `IsoglossError` for an id that is there twice.
    """
    memory: dict[str, str] = {}
    for frame in iter_table(path, columns=["segment", "text"]):
        for segment, text in frame.iter_rows():
            if segment in memory:
                raise IsoglossError(f"{path}: segment {segment!r} is there twice; a segment has one text a language")
            memory[segment] = text
    return memory
