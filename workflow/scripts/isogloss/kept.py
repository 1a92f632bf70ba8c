"""What was looked up once, in a file of Snakemake's own folder, for the other processes that read the Snakefile."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(".snakemake")


def read_kept(path: Path) -> dict[str, Any]:
    """What was kept in `path`; nothing if that is not there or cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def keep(path: Path, values: Mapping[str, Any]) -> None:
    """Keep `values` in `path`, which appears whole; nothing in a folder that only others may write to."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(exist_ok=True)
        aside.write_text(json.dumps(values), encoding="utf-8")
        aside.replace(path)
    except OSError:
        return
