"""What every stage script does around its work: log, seed, threads, and one-line errors."""

import errno
import hashlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from isogloss.determinism import make_deterministic
from isogloss.errors import IsoglossError, made_again
from isogloss.redaction import RedactedWriter, redact
from isogloss.running import check

logger = logging.getLogger("isogloss")

_LIMITS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "your disk quota is used up; free some space",
    errno.EFBIG: "a file became larger than this shell allows (ulimit -f); raise the limit",
}


@contextmanager
def stage(snakemake: Any) -> Iterator[Any]:
    """Run the body of a script: progress and errors go to the rule's log, user errors end in one line.

    Stops first if the stage's code was edited after the run began (`isogloss.running`), or a table that it reads was
    written by another program. Sets the thread count to the
    rule's `threads` and seeds Python (and torch, if the script has imported it) from `params.seed`, so that the same
    seed and thread count give the same bits. The process ends with the block. Neither log nor traceback shows a secret.
    """
    log_path = Path(str(snakemake.log[0]))
    log_path.parent.mkdir(parents=True, exist_ok=True)
    terminal = sys.stderr
    with RedactedWriter(log_path.open("wb"), encoding="utf-8", line_buffering=True) as log:
        sys.stderr = log
        sys.excepthook = _excepthook
        logging.basicConfig(stream=log, level=logging.INFO, format="%(asctime)s %(message)s", force=True)
        try:
            check(Path(sys.modules["__main__"].__file__ or "").stem, *snakemake.params.get("entries", ()))
            make_deterministic(int(snakemake.params.get("seed", 0)), snakemake.threads)
            _require_own(map(str, snakemake.input))
            yield snakemake
        except IsoglossError as error:
            _fail(f"{snakemake.rule}: {error}", log, terminal)
        except OSError as error:
            if error.errno not in _LIMITS:
                traceback.print_exc(file=log)
                raise
            _fail(f"{snakemake.rule}: {_LIMITS[error.errno]} and run snakemake again", log, terminal)
        except MemoryError as error:
            traceback.print_exc(file=log)
            _fail(
                f"{snakemake.rule}: no memory left ({error}); take a machine with more, raise its limit (ulimit -v), or"
                " lower compute.token_budget, and run snakemake again",
                log,
                terminal,
            )
        except BaseException:
            traceback.print_exc(file=log)
            raise
        finally:
            sys.stderr = terminal
    # All is written. Taking torch and transformers down in order would cost each job another second.
    sys.stdout.flush()
    terminal.flush()
    os._exit(0)


def _require_own(paths: Iterable[str]) -> None:
    """Refuse a table of `results` without our metadata: edited by hand, so that nothing says what it was made from.

    What a study gives as a source (its files are inputs of the jobs that fetch) lies elsewhere.
    """
    for path in map(Path, paths):
        if path.suffix == ".parquet" and not path.is_absolute() and "results" in path.parts and not path.is_dir():
            from isogloss.tables import table_metadata

            if not table_metadata(path):
                raise IsoglossError(
                    f"{path}: written by another program, so what it was made from is not known; {made_again(path)}"
                )


def _fail(line: str, log: Any, terminal: Any) -> None:
    print(f"isogloss: {line}", file=log)
    print(f"isogloss: {redact(line)}", file=terminal)
    sys.exit(1)


def _excepthook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    print(redact("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def language_files(folder: str, langs: Iterable[str], suffix: str = "parquet") -> dict[str, str]:
    """The file of each language in the folder of a job that takes several."""
    return {lang: f"{folder}/{lang}.{suffix}" for lang in langs}


def by_column(tables: Mapping[str, Sequence[str]], *names: str) -> dict[str, list[str]]:
    """Paths with what each is of (its data set and language, say) as lists by name, that of the paths first."""
    rows = [(path, *labels) for path, labels in tables.items()]
    return {name: [row[number] for row in rows] for number, name in enumerate(names)}


def provenance(snakemake: Any, **more: Any) -> dict[str, Any]:
    """The metadata that every table of this job carries.

    Study, seed and a digest of the whole configuration as it was when the job ran; the rule, its
    wildcards and the digest of its code; what it read that was fetched, by id, commit and licence; package
    versions; and `more`.
    """
    packages = ("torch", "transformers", "sae-lens", "peft", "lm-eval", "polars", "snakemake")
    return {
        "study": snakemake.config["study"],
        "seed": snakemake.config["seed"],
        "config": hashlib.sha256(json.dumps(snakemake.config, sort_keys=True).encode()).hexdigest()[:16],
        "rule": snakemake.rule,
        "wildcards": dict(snakemake.wildcards.items()),
        "code": snakemake.params.get("code", ""),
        "fetched": _fetched(map(str, snakemake.input)),
        "versions": {name: version(name) for name in packages},
        **more,
    }


def _fetched(inputs: Iterable[str]) -> dict[str, dict[str, str | None]]:
    """Id, commit and licence of each input folder that was fetched."""
    records = {path: Path(path, "fetched.json") for path in inputs}
    known = {path: json.loads(record.read_text()) for path, record in records.items() if record.is_file()}
    return {path: {key: record.get(key) for key in ("id", "revision", "licence")} for path, record in known.items()}
