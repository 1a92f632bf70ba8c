"""A study whose processes die at random moments ends with the tables of one that was left alone."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from checkout import REPOSITORY, Checkout
from compare_results import compare
from isogloss.errors import IsoglossError
from isogloss.tables import atomic_path, write_table
from killing import LONGEST, STUDIES, Killer, costs, small_study, targets

KILLS = 10  # a slice
SLICES = [pytest.param("small", 0, marks=pytest.mark.workflow)]
SLICES += [pytest.param("small", seed, marks=pytest.mark.long) for seed in range(1, 6)]
SLICES += [pytest.param("two", seed, marks=pytest.mark.long) for seed in range(6, 10)]  # two jobs at a time
SLICES += [pytest.param("papers-b-and-c", 10, marks=pytest.mark.long)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Checkout]:
    """Studies by name, each run once without disturbance."""

    @cache
    def finish(name: str) -> Checkout:
        checkout = Checkout(tmp_path_factory.mktemp("undisturbed") / "isogloss", STUDIES[name]())
        checkout.finish(*targets(checkout.config))
        return checkout

    return finish


@pytest.fixture(scope="module")
def undisturbed(finished: Callable[[str], Checkout]) -> Checkout:
    return finished("small")


def names(results: Path) -> set[str]:
    """The files of a study but what says how long jobs took, and hidden ones."""
    paths = [path.relative_to(results) for path in results.rglob("*") if path.is_file()]
    hidden = {path for path in paths if any(part.startswith(".") for part in path.parts)}
    return {str(path) for path in paths if path not in hidden and not {"logs", "usage"} & set(path.parts)}


@pytest.mark.parametrize(("name", "seed"), SLICES)
def test_a_study_that_is_killed_again_and_again_ends_with_the_same_bits(
    finished: Callable[[str], Checkout], tmp_path: Path, name: str, seed: int
):
    whole = finished(name).folder / "results"
    killed = Checkout(tmp_path / "isogloss", STUDIES[name]())
    arguments = ["--resources", "gpu=2", "--", *targets(killed.config)]
    tally = Killer(killed, seed=seed, longest=LONGEST[name], arguments=arguments).kill_until(KILLS, whole)
    print("\n".join(costs(tally)))
    assert len(tally.kills) == KILLS
    assert not tally.half
    assert not tally.differences
    assert names(killed.folder / "results") == names(whole)
    assert not tally.again  # a kill costs the jobs that it hits and no other
    assert tally.unfinished <= 2 * KILLS  # two run at a time


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A checkout whose results stand on a disk of 300 kB."""
    results = tmp_path / "isogloss" / "results"
    results.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", results], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        yield results
    finally:
        subprocess.run(["umount", "--lazy", results], check=True)


@pytest.mark.long
def test_a_disk_that_is_full_and_made_larger(undisturbed: Checkout, small_disk: Path):
    checkout = Checkout(small_disk.parent, small_study())
    run = checkout.snakemake("--keep-going", *targets(checkout.config))
    assert run.returncode != 0
    lines = [line for line in run.stderr.splitlines() if line.startswith("isogloss: ")]
    assert lines
    assert all("the disk is full" in line for line in lines), lines
    subprocess.run(["mount", "-o", "remount,size=1g", small_disk], check=True)
    checkout.finish("--rerun-incomplete", *targets(checkout.config))
    assert not compare(undisturbed.folder / "results", small_disk)


@pytest.mark.long
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_study_that_is_asked_to_stop_goes_on_later(undisturbed: Checkout, tmp_path: Path, end: signal.Signals):
    checkout = Checkout(tmp_path / "isogloss", small_study())
    said = tmp_path / "said.txt"
    with said.open("wb") as output:
        process = checkout.start(*targets(checkout.config), output=output)
    world = checkout.folder / "results" / "world" / "facts.parquet"
    while process.poll() is None and not world.exists():
        time.sleep(0.1)
    process.send_signal(end)
    assert process.wait() != 0
    assert "Traceback" not in said.read_text(encoding="utf-8")
    checkout.finish("--rerun-incomplete", *targets(checkout.config))  # it is not locked
    assert not compare(undisturbed.folder / "results", checkout.folder / "results")


@pytest.mark.long
def test_a_table_that_was_cut_off_is_named_and_made_again(undisturbed: Checkout, tmp_path: Path):
    folder = tmp_path / "isogloss"
    checkout = Checkout(folder, small_study())
    for name in ("results", ".snakemake"):
        shutil.copytree(undisturbed.folder / name, folder / name, symlinks=True)
    damaged = folder / "results" / "equal" / "translations" / "0-1" / "hi.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    line = checkout.complaint(*targets(checkout.config))
    assert "hi.parquet: not a complete Parquet file" in line
    damaged.unlink()  # as the line says
    checkout.finish(*targets(checkout.config))  # whose tables stand and are right, whatever they were made of
    checkout.finish("results/equal/translations/0-1/hi.parquet", *targets(checkout.config))
    assert not compare(undisturbed.folder / "results", folder / "results")


WRITER = """
import os, signal, sys
import polars as pl, pyarrow as pa
from isogloss.tables import TableWriter
with TableWriter(sys.argv[1], pa.schema({"number": pa.int64()})) as writer:
    for _ in range(3):
        writer.write({"number": pa.array(range(1000))})
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_aside_is_removed_by_the_next(tmp_path: Path):
    path = tmp_path / "table.parquet"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "workflow" / "scripts")}
    killed = subprocess.run([sys.executable, "-c", WRITER, str(path)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [aside.suffix for aside in tmp_path.iterdir()] == [".partial"]
    write_table(path, pl.DataFrame({"number": [1]}))
    assert list(tmp_path.iterdir()) == [path]


def test_of_two_runs_that_write_one_file_the_later_has_it(tmp_path: Path):
    """A job that a killed snakemake left behind ends while its successor writes."""
    path = tmp_path / "table.txt"
    with atomic_path(path) as aside:
        aside.write_text("whole")
    orphan, successor = atomic_path(path), atomic_path(path)
    orphan.__enter__().write_text("the orphan's")
    aside = successor.__enter__()
    aside.write_text("half")
    with pytest.raises(IsoglossError, match=r"table.txt: another run in this folder began to write it"):
        orphan.__exit__(None, None, None)
    assert path.read_text() == "whole"
    aside.write_text("the successor's")
    successor.__exit__(None, None, None)
    assert path.read_text() == "the successor's"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.workflow
def test_the_lock_of_a_study_elsewhere_is_taken_away(tmp_path: Path):
    """What a killed `snakemake --directory FOLDER` leaves, which has no Snakefile of its own."""
    locks = tmp_path / "a study" / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/world/facts.parquet\n", encoding="utf-8")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", str(REPOSITORY / "slurm" / "recover.sh"), "a study"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(tmp_path.rglob("*.lock"))
