"""What a stage refuses before its work, and errors of its surroundings that end it in one line."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from checkout import REPOSITORY
from isogloss.tables import write_table

STAGE = """
import errno, sys, types
sys.path.insert(0, sys.argv[1])
import isogloss.stage
isogloss.stage.check = lambda *_: None
tables = ["results/table.parquet", "given.parquet", "results/folder"]
snakemake = types.SimpleNamespace(log=["log.txt"], params={}, threads=1, rule="gap", input=tables)
with isogloss.stage.stage(snakemake):
    print("at work")
    BODY
"""


def run(folder: Path, body: str = "pass") -> "subprocess.CompletedProcess[str]":
    (folder / "script.py").write_text(STAGE.replace("BODY", body))
    command = [sys.executable, "script.py", str(REPOSITORY / "workflow/scripts")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of ours; beside `results`, one that a study gives as its source."""
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "given.parquet")
    write_table(tmp_path / "results" / "table.parquet", pl.DataFrame({"x": [1]}), {"study": "mini"})
    return tmp_path / "results" / "table.parquet"


def test_a_table_of_ours_is_read(table: Path):
    done = run(table.parent.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "at work\n", "")


def test_a_table_that_was_edited_by_hand_is_refused(table: Path):
    pl.read_parquet(table).write_parquet(table)
    done = run(table.parent.parent)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "isogloss: gap: results/table.parquet: written by another program, so what it was made from is not known;"
        " delete it and run snakemake again\n"
    )


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("raise OSError(errno.ENOSPC, '')", "the disk is full; free some space and run snakemake again"),
        ("raise OSError(errno.EFBIG, '')", "a file became larger than this shell allows (ulimit -f); raise the limit"),
        ("import numpy; numpy.empty(1 << 50)", "no memory left (Unable to allocate 8.00 PiB for an array"),
    ],
)
def test_limits_of_the_machine_are_one_line(table: Path, body: str, line: str):
    done = run(table.parent.parent, body)
    assert done.returncode == 1
    assert done.stderr.startswith(f"isogloss: gap: {line}")
    assert len(done.stderr.splitlines()) == 1
