"""Whether a run can begin where it is: what Snakemake would end in a traceback over, wait for ever or pass over."""

import argparse
import inspect
import os
from pathlib import Path

from isogloss.errors import IsoglossError
from isogloss.kept import FOLDER

RESULTS = Path("results")

# Options with which Snakemake makes no result.
_READS_RULES = ("lint", "list_rules", "list_target_rules", "print_compilation")
_READS_RESULTS = (
    *("dag", "rulegraph", "filegraph", "d3dag", "report", "summary", "detailed_summary", "archive", "containerize"),
    *("list_changes", "list_input_changes", "list_params_changes", "list_untracked", "list_conda_envs"),
    *("unlock", "cleanup_metadata", "cleanup_shadow", "delete_all_output", "delete_temp_output"),
    *("conda_cleanup_envs", "conda_create_envs_only", "container_cleanup_images", "generate_unit_tests"),
)


def asked() -> argparse.Namespace | None:
    """The options of Snakemake's command line; None where another program calls it.

    Snakemake 9.27 hands them to the workflow only once the rules are read, so they are those of its caller.
    """
    frame = inspect.currentframe()
    while frame and frame.f_code.co_name != "args_to_api":
        frame = frame.f_back
    return frame.f_locals["args"] if frame else None


def require_surroundings(cores: int | None, jobs: int | None) -> None:
    """Raise `IsoglossError` as the checks below, for what Snakemake is asked to do; not where that is not known."""
    if (options := asked()) is None:
        return
    require_cores(options, cores, jobs)
    require_writable(options)
    require_records(options)


def require_cores(options: argparse.Namespace, cores: int | None, jobs: int | None) -> None:
    """Raise `IsoglossError` if no job could ever start; None is no limit."""
    if 0 in (cores, jobs) and not _any(options, "dryrun", *_READS_RULES, *_READS_RESULTS):
        raise IsoglossError("no job can start with --cores 0 or --jobs 0; give 1 or more")


def require_writable(options: argparse.Namespace) -> None:
    """Raise `IsoglossError` if the working folder or its `results` cannot be written to."""
    if _any(options, *_READS_RULES):
        return
    elsewhere = "or have results elsewhere with --directory FOLDER"
    if RESULTS.is_symlink() and not RESULTS.exists():
        raise IsoglossError(
            f"{RESULTS.absolute()}: a link to {RESULTS.readlink()}, which is not there; make that folder, {elsewhere}"
        )
    if RESULTS.exists() and not RESULTS.is_dir():
        raise IsoglossError(f"{RESULTS.absolute()}: a file stands where the folder must; rename it, {elsewhere}")
    for folder in (FOLDER,) if _any(options, "dryrun", *_READS_RESULTS) else (FOLDER, RESULTS):
        existing = folder if folder.exists() else Path()
        if not os.access(existing, os.W_OK | os.X_OK):
            raise IsoglossError(f"{existing.absolute()}: the folder cannot be written to; change that, {elsewhere}")


def require_records(options: argparse.Namespace) -> None:
    """Raise `IsoglossError` if there are tables and no records of what they were made from.

    Without these Snakemake takes them for those of any study. Not where all is made anew or nothing is.
    """
    if _any(options, "forceall", "touch", "drop_metadata", *_READS_RULES, *_READS_RESULTS):
        return
    records = (path for path in (FOLDER / "metadata").rglob("*") if path.is_file())
    if any(RESULTS.glob("*/tables/*.parquet")) and not any(records) and not (FOLDER / "metadata.db").exists():
        raise IsoglossError(
            f"{RESULTS.absolute()} has tables, but {FOLDER} beside it, in which Snakemake keeps what they were made"
            f" from, has no records, so a changed study would not be noticed: copy {FOLDER} there from where they were"
            f" made, or delete {RESULTS}, or run once with --forceall"
        )


def _any(options: argparse.Namespace, *names: str) -> bool:
    return any(getattr(options, name, None) for name in names)
