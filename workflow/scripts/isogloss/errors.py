"""The one exception that a user is meant to read."""

import re
from collections.abc import Iterable
from pathlib import Path
from reprlib import Repr
from typing import Any

# What a terminal or a log would act on instead of showing it, or cannot hold: controls, turned directions, surrogates.
_UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_LONGEST, _HEAD, _TAIL = 1600, 1200, 300  # characters of a line: what is wrong stands first, how to mend it last


class IsoglossError(Exception):
    """Bad input or a failed run, in one line: what is wrong, where, and how to mend it.

    A stage that raises it ends with this line instead of a traceback (see `isogloss.stage`). What data and file names
    bring into it that cannot be seen is written as Python escapes it, and a line that they make very long is cut.
    """

    def __init__(self, message: str) -> None:
        lines = (line if len(line) <= _LONGEST else f"{line[:_HEAD]} … {line[-_TAIL:]}" for line in message.split("\n"))
        super().__init__(_UNSEEN.sub(lambda match: repr(match[0])[1:-1], "\n".join(lines)))


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 80  # characters
_SHORT.maxlevel = 2


def shown(value: Any) -> str:
    """A foreign value in a message: as `repr`, cut short, however long or deeply nested it is."""
    return _SHORT.repr(value)


def several(names: Iterable[str], most: int = 20) -> str:
    """Foreign names in a message, the first `most` of them: as they are where that can be read, else as `shown`."""
    every = list(names)
    first = [name if name.isprintable() and len(name) <= 80 else shown(name) for name in every[:most]]
    return ", ".join(first) + (f" and {len(every) - most} more" if len(every) > most else "")


def made_again(path: str | Path) -> str:
    """How to mend a damaged or missing output: without it, or the folder that its job made it in, it is made again."""
    folder = Path(path).parent
    if Path(folder, ".snakemake_timestamp").exists():
        return f"delete the folder {folder} and run snakemake again"
    return "delete it and run snakemake again" if Path(path).exists() else "run snakemake again to make it"
