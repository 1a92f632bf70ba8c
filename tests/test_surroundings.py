"""Folders and settings in which no run can begin, each refused in a line."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from checkout import REPOSITORY, Checkout, read_study
from isogloss.errors import IsoglossError
from isogloss.surroundings import require_cores, require_records, require_writable

STUDY = REPOSITORY / "tests" / "studies" / "smallest.yaml"
NO_RECORDS = "in which Snakemake keeps what they were made from, has no records"


def options(*names: str) -> argparse.Namespace:
    return argparse.Namespace(**dict.fromkeys(names, True))


def table(folder: Path) -> Path:
    path = folder / "results" / "equal" / "tables" / "group_gap.parquet"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def snakemake(*arguments: str, folder: Path = REPOSITORY, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "results/world/facts.parquet", "--configfile", str(STUDY)]
    command += ["--quiet", "host", "reason", "rules", *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, timeout=120)


def refusal(run: subprocess.CompletedProcess[str]) -> str:
    """The one line with which a run is refused, between the places that Snakemake names."""
    assert run.returncode != 0
    said = run.stdout + run.stderr
    header, line, footer = said.strip().splitlines()[-3:]
    assert header.startswith("WorkflowError in file ")
    assert footer.startswith("  File ")
    assert said.count("File ") == 1
    return line


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`make` with a Snakemake that makes nothing and says what it was asked."""
    programs = folder / "environment" / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name, line in (("snakemake", 'echo "asked: $*"'), ("python", f'exec "{sys.executable}" "$@"')):
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    if not (folder / "workflow").exists():
        (folder / "workflow").symlink_to(REPOSITORY / "workflow")
    command = ["make", "-f", str(REPOSITORY / "Makefile"), "VENV=environment", "-o", "environment/.run", *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ | variables, capture_output=True, text=True)


def test_tables_without_the_records_of_what_they_were_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    require_records(options())
    table(tmp_path)
    with pytest.raises(IsoglossError, match=f"{NO_RECORDS}.*: copy .snakemake there .*, or run once with --forceall"):
        require_records(options("dryrun"))
    (tmp_path / ".snakemake" / "metadata").mkdir(parents=True)  # as a dry run leaves it
    with pytest.raises(IsoglossError, match=NO_RECORDS):
        require_records(options())
    for name in ("forceall", "touch", "unlock", "cleanup_metadata", "list_changes", "list_rules"):
        require_records(options(name))
    (tmp_path / ".snakemake" / "metadata" / "cmVzdWx0cw==").touch()
    require_records(options())


def test_snakemake_refuses_tables_without_records(tmp_path: Path):
    table(tmp_path)
    assert NO_RECORDS in refusal(snakemake("--dry-run", "--directory", str(tmp_path)))


@pytest.mark.workflow
def test_snakemake_takes_tables_without_records_where_all_is_made_anew(tmp_path: Path):
    table(tmp_path)
    assert snakemake("-nF", "--directory", str(tmp_path)).returncode == 0


@pytest.mark.workflow
def test_rules_in_a_folder_whose_name_snakemake_takes_for_a_wildcard(tmp_path: Path):
    checkout = Checkout(tmp_path / "a{b}", read_study(STUDY))
    line = refusal(snakemake("--dry-run", folder=checkout.folder))
    assert line.endswith("Snakemake cannot read rules in a folder with { or } in its name; rename it")


@pytest.mark.workflow
def test_python_without_docstrings():
    assert "unset PYTHONOPTIMIZE: transformers needs docstrings" in refusal(snakemake("-n", PYTHONOPTIMIZE="2"))


def test_results_that_are_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    require_writable(options())
    results = tmp_path / "results"
    results.touch()
    with pytest.raises(IsoglossError, match=r"results: a file stands where the folder must; rename it, .*--directory"):
        require_writable(options("dryrun"))
    results.unlink()
    results.symlink_to("elsewhere")
    with pytest.raises(IsoglossError, match=r"results: a link to elsewhere, which is not there; make .*--directory"):
        require_writable(options())
    require_writable(options("list_rules"))
    (tmp_path / "elsewhere").mkdir()
    require_writable(options())


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Root may write where permissions say that nobody may, so what the system answers is said here."""
    monkeypatch.chdir(tmp_path)
    for name in (".snakemake", "results"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(os, "access", lambda path, mode, name=name: path != Path(name))
        with pytest.raises(IsoglossError, match=f"{name}: the folder cannot be written to; .*--directory FOLDER"):
            require_writable(options())
    require_writable(options("dryrun"))


@pytest.mark.workflow
def test_snakemake_refuses_results_that_are_a_file(tmp_path: Path):
    (tmp_path / "results").touch()
    assert "a file stands where the folder must" in refusal(snakemake("--cores", "1", "--directory", str(tmp_path)))


def test_a_run_without_a_core():
    require_cores(options(), 1, None)
    require_cores(options("dryrun"), 0, None)
    for numbers in ((0, None), (1, 0)):
        with pytest.raises(IsoglossError, match="no job can start with --cores 0 or --jobs 0; give 1 or more"):
            require_cores(options(), *numbers)


@pytest.mark.workflow
@pytest.mark.parametrize("option", ["--cores", "--jobs"])
def test_snakemake_refuses_a_run_without_a_core(tmp_path: Path, option: str):
    assert "no job can start" in refusal(snakemake(option, "0", "--directory", str(tmp_path)))
    assert snakemake(option, "0", "--dry-run", "--directory", str(tmp_path)).returncode == 0


def test_make_refuses_a_run_without_a_core(tmp_path: Path):
    for target in ("demo", "planted"):
        run = make(tmp_path, target, "CORES=0")
        assert run.returncode != 0
        assert "asked" not in run.stdout
        assert "CORES=0: no job could start; give 1 or more.  Stop." in run.stderr


@pytest.mark.parametrize("target", ["demo", "report"])
def test_make_refuses_a_study_file_that_snakemake_could_not_read(tmp_path: Path, target: str):
    run = make(tmp_path, target, "STUDY=no where.yaml", "CORES=1")
    assert run.returncode != 0
    assert "asked" not in run.stdout
    assert run.stderr.startswith("isogloss: no where.yaml: no study file: No such file or directory; give a YAML")
    study = tmp_path / "a study.yaml"
    study.write_bytes(STUDY.read_bytes())
    run = make(tmp_path, target, f"STUDY={study}", "CORES=1")
    assert run.returncode == 0, run.stderr
    assert f"--configfile {study}" in run.stdout


@pytest.mark.skipif(not shutil.which("nproc"), reason="needs GNU nproc")
def test_make_takes_all_cores_whatever_openmp_is_told(tmp_path: Path):
    run = make(tmp_path, "demo", f"STUDY={STUDY}", OMP_NUM_THREADS="12345", OMP_THREAD_LIMIT="23456")
    assert run.returncode == 0, run.stderr
    assert f"asked: --cores {len(os.sched_getaffinity(0))} " in run.stdout


@pytest.mark.parametrize("target", ["planted", "real"])
def test_make_names_the_page_only_where_there_is_one(tmp_path: Path, target: str):
    run = make(tmp_path, target, f"{target.upper()}_ARGS=-n", "CORES=1")
    assert run.returncode == 0, run.stderr
    assert "asked: --cores 1" in run.stdout
    assert "summary.html" not in run.stdout
    page = tmp_path / target / "results" / "summary.html"
    page.parent.mkdir(parents=True)
    page.touch()
    assert f"\nopen {page}, the report on one page" in make(tmp_path, target, "CORES=1").stdout
