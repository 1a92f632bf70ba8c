"""The one exception that a user is meant to read."""

from pathlib import Path


class IsoglossError(Exception):
    """Bad input or a failed run, in one line: what is wrong, where, and how to mend it.

    A stage that raises it ends with this line instead of a traceback (see `isogloss.stage`).
    """


def made_again(path: str | Path) -> str:
    """How to mend a damaged or missing output: without it, or the folder that its job made it in, it is made again."""
    folder = Path(path).parent
    if Path(folder, ".snakemake_timestamp").exists():
        return f"delete the folder {folder} and run snakemake again"
    return "delete it and run snakemake again" if Path(path).exists() else "run snakemake again to make it"
