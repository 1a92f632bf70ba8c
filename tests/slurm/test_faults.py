"""The study of paper A on a real Slurm ends with the same numbers whatever dies.

Each fault is repeated ISOGLOSS_REPEAT times (once).
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from slurm_cluster import Cluster, Job, wait
from slurm_study import MODEL, Study

pytestmark = pytest.mark.slurm

RUN = "all-l20"  # the alignment run that faults hit


class Faults:
    """A run of the model jobs of the gap and the alignment, to be disturbed."""

    targets = tuple(f"results/{MODEL}/tables/{name}.parquet" for name in ("group_gap", "alignment_gain"))
    folders = ("activations", "adapters", "alignment")  # what these targets need from the model

    def __init__(self, study: Study) -> None:
        self.study = study
        self.cluster = study.cluster
        self.numbers = self.measured()

    def measured(self) -> dict[str, Any]:
        """Every number that the targets come from, by file."""
        results = self.study.results
        files = [path for folder in self.folders for path in sorted((results / folder).rglob("*"))]
        files += [self.study.folder / target for target in self.targets]
        read: dict[str, Callable[[Path], Any]] = {".parquet": pl.read_parquet, ".safetensors": load_file}
        return {str(path.relative_to(results)): read[path.suffix](path) for path in files if path.suffix in read}

    def begin(self, *more: str) -> subprocess.Popen[bytes]:
        for folder in (*self.folders, "logs/encode", "logs/align"):
            shutil.rmtree(self.study.results / folder, ignore_errors=True)  # a fault before may have left nothing
        for target in self.targets:
            (self.study.folder / target).unlink(missing_ok=True)
        return self.study.submit(*self.targets, *more)

    def at_work(self, sign: str, words: set[str], snakemake: subprocess.Popen[bytes]) -> Job:
        """The running job whose rule and wildcards are `words`, once there is a file that it writes at work."""

        def hit() -> Job | None:
            running = [job for job in self.cluster.jobs() if job.state == "RUNNING" and words <= set(job.words)]
            return running[0] if running and next(self.study.results.glob(sign), None) else None

        return wait(hit, f"{words} at work", running=snakemake)

    def encoding(self, snakemake: subprocess.Popen[bytes]) -> Job:
        return self.at_work("logs/encode/base/*/hi.log", {"encode", "base", "hi"}, snakemake)

    def aligning(self, snakemake: subprocess.Popen[bytes]) -> Job:
        """In the middle of it: a state to resume from has been saved."""
        return self.at_work(f".alignment/{RUN}/state.pt", {"align", RUN}, snakemake)

    def tries(self, hit: Job) -> list[Job]:
        return [job for job in self.cluster.jobs() if job.task == hit.task and job.number >= hit.number]

    def assert_same_numbers(self) -> None:
        after = self.measured()
        assert after.keys() == self.numbers.keys()
        for name, numbers in self.numbers.items():
            if isinstance(numbers, pl.DataFrame):
                assert after[name].equals(numbers), name
            else:
                assert after[name].keys() == numbers.keys()
                assert all(torch.equal(after[name][key], tensor) for key, tensor in numbers.items()), name
        assert not list(self.study.results.rglob("*.partial"))
        assert "Nothing to be done" in self.study.end(self.study.submit(*self.targets))


@pytest.fixture(scope="module")
def faults(finished: Study) -> Faults:
    return Faults(finished)


@pytest.fixture(params=range(int(os.environ.get("ISOGLOSS_REPEAT", "1"))))
def snakemake(request: pytest.FixtureRequest, faults: Faults) -> Iterator[subprocess.Popen[bytes]]:
    """A run that has begun; a test that fails leaves neither it nor its jobs behind."""
    begun = faults.begin()
    yield begun
    if begun.poll() is None:
        begun.kill()
        faults.study.recover()


def test_fault_a_cancelled_job_is_tried_again(
    faults: Faults, cluster: Cluster, snakemake: subprocess.Popen[bytes]
) -> None:
    hit = faults.encoding(snakemake)
    cluster.cancel(hit)
    faults.study.end(snakemake)
    assert [job.state for job in faults.tries(hit)] == ["CANCELLED", "COMPLETED"]
    faults.assert_same_numbers()


def test_fault_a_job_outlives_its_slurmd_and_is_run_again_if_the_node_is_silent_for_too_long(
    faults: Faults, cluster: Cluster, snakemake: subprocess.Popen[bytes]
) -> None:
    node = faults.encoding(snakemake).node
    cluster.kill_daemon(node)
    time.sleep(3)
    cluster.start_daemon(node)

    hit = faults.aligning(snakemake)
    cluster.freeze_jobs(hit.node)
    cluster.kill_daemon(hit.node)
    wait(lambda: cluster.state(hit.node).startswith("down"), "the node is given up", running=snakemake)
    wait(lambda: cluster.job(hit.number).restarts, "the job is queued again", running=snakemake)
    cluster.start_daemon(hit.node)
    faults.study.end(snakemake)
    assert [job.state for job in faults.tries(hit)] == ["COMPLETED"]
    # What Slurm was just starting on that node may have failed, which costs a try.
    last = {job.task: job.state for job in cluster.jobs() if job.number >= hit.number}
    assert set(last.values()) == {"COMPLETED"}
    faults.assert_same_numbers()


def test_fault_a_node_that_loses_power_costs_a_try_and_nothing_else(
    faults: Faults, cluster: Cluster, snakemake: subprocess.Popen[bytes]
) -> None:
    hit = faults.aligning(snakemake)
    cluster.power_loss(hit.node)
    wait(lambda: cluster.state(hit.node).startswith("down"), "the node is given up", running=snakemake)
    faults.study.end(snakemake)
    tries = faults.tries(hit)
    assert tries[-1].state == "COMPLETED"
    assert tries[-1].node != hit.node
    assert "resumed after step" in (faults.study.results / "logs" / "align" / f"{RUN}.log").read_text(encoding="utf-8")
    faults.assert_same_numbers()
    cluster.start_daemon(hit.node)
    wait(lambda: cluster.state(hit.node) == "idle", "the node is back")


def test_fault_after_a_killed_snakemake_recover_cancels_its_jobs_and_the_same_command_goes_on(
    faults: Faults, cluster: Cluster, snakemake: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    hit = faults.aligning(snakemake)
    cluster.freeze_jobs(hit.node)
    snakemake.kill()
    snakemake.wait()
    assert cluster.job(hit.number).state == "RUNNING"
    again = faults.study.submit(*faults.targets)
    assert again.wait() != 0
    assert "--unlock" in faults.study.said()

    foreign = cluster.submit("sleep 600", tmp_path)
    faults.study.recover()
    assert cluster.job(hit.number).state == "CANCELLED"
    assert {job.number for job in cluster.jobs() if job.state in ("RUNNING", "PENDING", "COMPLETING")} == {foreign}
    cluster.cancel(cluster.job(foreign))
    faults.study.end(faults.study.submit(*faults.targets))
    assert "resumed after step" in (faults.study.results / "logs" / "align" / f"{RUN}.log").read_text(encoding="utf-8")
    faults.assert_same_numbers()


def test_fault_recover_ends_what_a_killed_snakemake_left_at_work_here_and_in_slurm(
    faults: Faults, cluster: Cluster
) -> None:
    counts = f"results/{MODEL}/tables/phrase_counts.parquet"  # made on the login node
    path = faults.study.folder / counts
    path.unlink(missing_ok=True)
    script = f"{faults.study.folder}/.snakemake/scripts/.*phrase_counts.py"

    def here() -> list[int]:
        return [int(pid) for pid in subprocess.run(["pgrep", "-f", script], capture_output=True).stdout.split()]

    snakemake = faults.begin(counts)
    try:
        for process in wait(here, "the local job is at work", running=snakemake):
            os.kill(process, signal.SIGSTOP)  # so that it is not done before the other one begins
        hit = faults.encoding(snakemake)
        cluster.freeze_jobs(hit.node)
    finally:
        snakemake.kill()
    snakemake.wait()
    assert here()
    assert cluster.job(hit.number).state == "RUNNING"
    faults.study.recover()
    assert not here()
    assert not {job.state for job in cluster.jobs()} & {"RUNNING", "PENDING", "COMPLETING"}
    assert not path.exists()
    faults.study.end(faults.study.submit(*faults.targets, counts))
    assert pl.read_parquet(path).height > 0
    faults.assert_same_numbers()


def test_fault_a_controller_that_is_away_for_a_while_is_waited_for(
    faults: Faults, cluster: Cluster, snakemake: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    faults.aligning(snakemake)
    asked = tmp_path / "asked"
    faults.study.program("sacct", f"touch {asked}; exec {faults.study.folder}/slurm/no-accounting/sacct")
    cluster.stop_controller()
    try:
        wait(asked.exists, "snakemake asks sacct instead of squeue", running=snakemake)
    finally:
        cluster.start_controller()
    faults.study.end(snakemake)
    faults.assert_same_numbers()
