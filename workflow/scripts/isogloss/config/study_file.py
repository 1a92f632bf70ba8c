"""`python -m isogloss.config.study_file STUDY`: whether a file can be read, where Snakemake ends in a traceback."""

import sys
from collections.abc import Sequence
from typing import Any

from isogloss.config.files import read_file
from isogloss.errors import IsoglossError


def read_named(path: str) -> dict[str, Any]:
    """As `read_file`, of the file that `make` is given as STUDY; raises `IsoglossError` where that is empty, too."""
    if not path:
        raise IsoglossError("STUDY names no file; give STUDY=config/studies/NAME.yaml, say")
    return read_file(path)


def main(arguments: Sequence[str]) -> int:
    """Read the file; a mistake ends in its lines and exit status 1."""
    try:
        read_named(arguments[0])
    except IsoglossError as error:
        print(f"isogloss: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
