"""Nodes whose file system shows files late, and nodes whose clock is wrong: nothing fails and nothing runs twice."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from slurm_cluster import Cluster, Job, wait
from slurm_study import MODEL, Study

pytestmark = pytest.mark.slurm

TABLE = f"results/{MODEL}/tables/similarity.parquet"
LATE = "Waiting at most 10 seconds for missing files"


@pytest.fixture
def residuals(finished: Study) -> Path:
    """Where `capture` leaves what `similarity` reads, a folder a language."""
    return finished.results / "residuals" / "base"


@contextmanager
def apart(cluster: Cluster, view: Path, folder: Path) -> Iterator[None]:
    """The first node, alone at work, sees and writes `view` where the others have `folder`."""

    def restart(seeing: tuple[Path, Path] | None) -> None:
        cluster.kill_daemon(node)
        cluster.start_daemon(node, seeing=seeing)
        wait(lambda: cluster.state(node).startswith("idle"), f"{node} is back")

    node, *others = cluster.nodes
    with cluster.held(*others):
        restart((view, folder))
        try:
            yield
        finally:
            restart(None)


def publish(source: Path, target: Path) -> None:
    """Show a folder elsewhere, whole and at once."""
    shutil.copytree(source, target.with_name(f"{target.name}.late"))
    target.with_name(f"{target.name}.late").rename(target)


def since(cluster: Cluster, number: int) -> list[tuple[str, str]]:
    return [(job.rule, job.state) for job in cluster.jobs() if job.number > number]


def test_what_a_node_wrote_and_the_login_node_sees_late_is_waited_for(
    finished: Study, cluster: Cluster, residuals: Path, tmp_path: Path
) -> None:
    before, last = pl.read_parquet(residuals / "hi" / "hi.parquet"), cluster.last()
    shutil.rmtree(residuals / "hi")
    with apart(cluster, tmp_path, residuals):
        begun = finished.submit(str((residuals / "hi").relative_to(finished.folder)))
        wait(lambda: LATE in finished.said(), "snakemake misses the output", running=begun)
        assert since(cluster, last) == [("capture", "COMPLETED")]
        assert not (residuals / "hi").exists()
        publish(tmp_path / "hi", residuals / "hi")
        finished.end(begun)
    assert since(cluster, last) == [("capture", "COMPLETED")]
    assert pl.read_parquet(residuals / "hi" / "hi.parquet").equals(before)


def test_what_a_node_reads_and_sees_late_is_waited_for(
    finished: Study, cluster: Cluster, residuals: Path, tmp_path: Path
) -> None:
    table, last = finished.folder / TABLE, cluster.last()
    before = pl.read_parquet(table)
    table.unlink()
    for lang in ("en", "es"):
        publish(residuals / lang, tmp_path / lang)
    with apart(cluster, tmp_path, residuals):
        begun = finished.submit(TABLE)

        def log_says_late() -> bool:
            logs = (finished.folder / ".snakemake" / "slurm_logs" / "rule_similarity").rglob("*.log")
            return any(int(log.stem) > last and LATE in log.read_text(encoding="utf-8") for log in logs)

        wait(log_says_late, "the job misses its input", running=begun)
        publish(residuals / "hi", tmp_path / "hi")
        finished.end(begun)
    assert since(cluster, last) == [("similarity", "COMPLETED")]
    assert pl.read_parquet(table).equals(before)


@pytest.mark.parametrize("seconds", [240, -240])
def test_a_node_whose_clock_is_wrong_by_minutes_makes_nothing_run_again(
    finished: Study, cluster: Cluster, residuals: Path, seconds: int
) -> None:
    """As where files take their times from the node that writes them; munge lets no node in that is out by more."""
    table, last = finished.folder / TABLE, cluster.last()
    before = pl.read_parquet(table)
    table.unlink()
    shutil.rmtree(residuals / "hi")
    begun = finished.submit(TABLE)

    def captured() -> Job | None:
        return next((job for job in cluster.jobs() if job.number > last and job.state != "PENDING"), None)

    hit = wait(captured, "the capture runs", running=begun)
    os.kill(begun.pid, signal.SIGSTOP)  # it must not look at the files before they have the node's times
    try:
        wait(lambda: cluster.job(hit.number).state == "COMPLETED", "the capture ends")
        moment = time.time() + seconds
        for path in (*(residuals / "hi").iterdir(), residuals / "hi"):
            os.utime(path, (moment, moment))
    finally:
        os.kill(begun.pid, signal.SIGCONT)
    finished.end(begun)
    assert since(cluster, last) == [("capture", "COMPLETED"), ("similarity", "COMPLETED")]
    assert pl.read_parquet(table).equals(before)
    assert "Nothing to be done" in finished.end(finished.submit(TABLE))
