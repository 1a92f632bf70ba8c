"""The code and the study that a run started with: a job that would run other code stops before it writes under the old
digest, and a study file that is edited meanwhile, or while jobs wait for a cluster, is the next run's.

The process that plans a run keeps the digests of all stages in its environment, which its jobs inherit, on a cluster
too. Without it an edit while a study runs would be computed with, and be taken for the code of the start once it is
reverted. Digests are kept in Snakemake's own folder, since every process that reads the Snakefile asks for all.
"""

import atexit
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from isogloss.errors import IsoglossError
from isogloss.kept import FOLDER, keep, read_kept
from isogloss.provenance import PACKAGE, code_digest
from isogloss.resources import RESOURCES, SCRIPTS

_VARIABLE = "ISOGLOSS_CODE"
_STUDY = "ISOGLOSS_STUDY"  # the digest of a study, which is in Snakemake's folder under it
_digests: dict[str, str] = {}


def kept_digest(script: str, *entries: str) -> str:
    """`code_digest`, as the last process found it if no file has changed since."""
    known, key = _known(), " ".join([script, *entries])
    if key not in known:
        known[key] = code_digest(script, *entries)
    return known[key]


def record(script: str, *entries: str) -> str:
    """`kept_digest`, kept for the jobs of this process."""
    digest = kept_digest(script, *entries)
    _digests[" ".join([script, *entries])] = digest
    os.environ[_VARIABLE] = json.dumps({"state": _state(), "digests": _digests})
    return digest


def check(script: str, *entries: str) -> None:
    """Raise `IsoglossError` if the stage's code is not what the run started with; says nothing outside of a run."""
    kept = json.loads(os.environ.get(_VARIABLE, "{}"))
    before = kept.get("digests", {}).get(" ".join([script, *entries]))
    if before is None or kept["state"] == _state() or before == code_digest(script, *entries):
        return
    raise IsoglossError(
        "the code of this stage was edited after the run began, so nothing was computed; when the edit is done, run"
        " snakemake again"
    )


def keep_study(config: Mapping[str, Any]) -> None:
    """Keep the configuration that this run is planned by for its jobs."""
    digest = _study_digest(config)
    keep(_study_path(digest), config)
    os.environ[_STUDY] = digest


def kept_study(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration that the run began with, whatever its files say now; `config`, these, outside of a run.

    Raises `IsoglossError` if the files have changed and what they were is gone.
    """
    digest = os.environ.get(_STUDY)
    if digest is None or digest == _study_digest(config):
        return config
    if kept := read_kept(_study_path(digest)):
        return kept
    raise IsoglossError(
        f"the study was edited after the run began, and {_study_path(digest)}, where it was kept, cannot be read; run"
        " snakemake again"
    )


def _study_digest(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, default=str).encode()).hexdigest()[:16]


def _study_path(digest: str) -> Path:
    return FOLDER / f"isogloss.study.{digest}.json"


@cache
def _known() -> dict[str, str]:
    """The digests that are kept, if they are of the present code; new ones join them when the process ends."""
    path = (FOLDER / f"isogloss.{sys.implementation.cache_tag}.json").absolute()
    kept = read_kept(path)
    known = kept["digests"] if kept.get("state") == _state() else {}
    atexit.register(_keep, path, _state(), known, len(known))
    return known


def _keep(path: Path, state: str, known: dict[str, str], before: int) -> None:
    if len(known) != before:
        keep(path, {"state": state, "digests": known})


@cache
def _state() -> str:
    """Paths, sizes and times of all that digests are made of: where none has changed, no digest has."""
    files = sorted(path for folder in (PACKAGE, RESOURCES) for path in folder.rglob("*.[pty]*") if path.is_file())
    files += sorted(SCRIPTS.glob("*.py"))
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files if not _compiled(path)]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:16]


def _compiled(path: Path) -> bool:
    return path.parent.name == "__pycache__"
