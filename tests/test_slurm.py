"""The study of paper A on a real Slurm: what its jobs ask for, and that it ends with the same numbers whatever dies.

Installs Slurm on this machine (`slurm_cluster.install`). Each fault is repeated ISOGLOSS_REPEAT times (once).
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file

from slurm_cluster import Cluster, Job, install, most_at_once, wait, why_not
from standin_study import build, merged

pytestmark = pytest.mark.slurm

REPOSITORY = Path(__file__).parents[1]
STUDY = REPOSITORY / "config" / "studies" / "disparity-gemma-2-2b.yaml"
PROFILE = yaml.safe_load((REPOSITORY / "slurm" / "profile.yaml").read_text(encoding="utf-8"))
MODEL = "gemma-2-2b"
RUN = "all-l20"  # the alignment run that faults hit
GPU_RULES = {"reproduce", "translate", "capture", "encode", "codes", "align", "benchmark"}
CPU_RULES = {"exported_phrases", "translation_quality", "similarity", "gap", "controls", "reciprocal"}
CPU_RULES |= {"gain", "accuracy", "correlation"}
TABLES = (
    "similarity",
    "language_gap",
    "activation_controls",
    "reciprocal_gap",
    "translation_quality",
    "alignment_gain",
    "accuracy",
)
TABLES += ("gap_accuracy_correlation",)
# The profile's values but for these, which fit clusters, not tests: a first look at a job after 40 s, and a minute for
# a shared file system to show a file.
QUICKLY = ("--slurm-init-seconds-before-status-checks", "6", "--latency-wait", "10")


class Study:
    """A checkout with the study on stand-ins, run by a login node that has a GPU of its own (as nvidia-smi says)."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder = folder / "checkout"
        self.cluster = cluster
        self.results = self.folder / "results" / MODEL
        for name in ("workflow", "config", "resources", "envs", "slurm"):
            shutil.copytree(REPOSITORY / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(REPOSITORY / "Snakefile", self.folder)
        build(folder / "standins", languages=("en", "es", "hi"))
        config = merged(STUDY, folder / "standins")
        config["compute"]["layers_per_job"] = "all"
        config["compute"]["dtype"] = "float32"  # faster than bfloat16 on most cores
        config["alignment"] |= {"iterations": 400, "resume_every": 10}  # long enough to be hit
        (self.folder / "study.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.program("nvidia-smi", "exit 0")
        # As config/README.md advises without an accounting database: a busy machine's controller answers late.
        shutil.copy(REPOSITORY / "slurm" / "no-accounting" / "sacct", self.bin)
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(self.bin), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",  # more threads than cores: who waits must not hold one
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }

    def program(self, name: str, line: str) -> None:
        """Put a program first in snakemake's PATH."""
        (self.bin / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "snakemake", "--configfile", "study.yaml", *arguments]
        with (self.folder / "output.txt").open("wb") as output:
            return subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=output, stderr=subprocess.STDOUT
            )

    def submit(self, *targets: str) -> subprocess.Popen[bytes]:
        return self.start("--profile", "slurm", *QUICKLY, *targets)

    def end(self, snakemake: subprocess.Popen[bytes], seconds: float = 1800) -> str:
        """What it said, after it ended well."""
        try:
            assert snakemake.wait(seconds) == 0, self.said()[-6000:]
        finally:
            snakemake.kill()
        return self.said()

    def said(self) -> str:
        return (self.folder / "output.txt").read_text(encoding="utf-8")

    def recover(self) -> None:
        """What config/README.md tells the user to do after snakemake was killed."""
        command = ["bash", "slurm/recover.sh"]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def tables(self) -> list[str]:
        return [f"results/{MODEL}/tables/{name}.parquet" for name in TABLES]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := why_not() or install():
        pytest.skip(f"no Slurm here: {reason}")
    with Cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def finished(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study after an undisturbed run, and a cluster that has seen no other job."""
    study = Study(tmp_path_factory.mktemp("study"), cluster)
    study.end(study.submit(*study.tables()))
    return study


@pytest.fixture(scope="module")
def undisturbed(finished: Study, cluster: Cluster) -> list[Job]:
    """The jobs of the undisturbed run."""
    return [job for job in cluster.jobs() if job.folder == str(finished.folder)]


def test_rules_that_compute_become_slurm_jobs_and_no_others_do(finished: Study, undisturbed: list[Job]):
    assert {job.rule for job in undisturbed} == GPU_RULES | CPU_RULES
    assert {job.state for job in undisturbed} == {"COMPLETED"}
    assert len({job.task for job in undisturbed}) == len(undisturbed)
    for table in finished.tables():
        assert pl.read_parquet(finished.folder / table).height > 0


def test_jobs_get_the_cores_memory_time_and_gpus_that_profile_and_rules_ask_for(undisturbed: list[Job]):
    for job in undisturbed:
        asked = PROFILE["default-resources"] | PROFILE["set-resources"].get(job.rule, {})
        assert job.cpus == PROFILE["set-threads"].get(job.rule, 1), job.task
        assert (job.memory, job.minutes) == (asked["mem_mb"], asked["runtime"]), job.task
        # The reference language is not translated, only written down.
        needs_gpu = job.rule in GPU_RULES and not (job.rule == "translate" and job.task.endswith("_en"))
        assert job.gpus == needs_gpu, job.task
    encode = next(job for job in undisturbed if job.rule == "encode")
    assert (encode.cpus, encode.memory, encode.gpus, encode.minutes) == (8, 48000, 1, 720)


def test_gpu_jobs_are_not_held_back_by_the_login_nodes_own_gpu(undisturbed: list[Job]):
    assert most_at_once([job for job in undisturbed if job.gpus]) > 1


@pytest.mark.parametrize("asked", [("capture:gpu=2",), ("capture:gpu=0", "capture:gres=gpu:2")])
def test_a_job_may_have_two_gpus_by_either_of_slurms_ways(finished: Study, cluster: Cluster, asked: tuple[str, ...]):
    path = finished.results / "residuals" / "base" / "hi" / "hi.parquet"
    before = pl.read_parquet(path)
    shutil.rmtree(path.parent)
    finished.end(finished.submit(str(path.parent.relative_to(finished.folder)), "--set-resources", *asked))
    assert cluster.jobs()[-1].rule == "capture"
    assert cluster.jobs()[-1].gpus == 2
    assert pl.read_parquet(path).equals(before)


@pytest.mark.parametrize(("told", "at_once"), [((), 1), (("--resources", "gpu=2"), 2)])
def test_a_local_gpu_takes_one_job_at_a_time_unless_told_otherwise(
    finished: Study, told: tuple[str, ...], at_once: int
):
    paths = [finished.results / "residuals" / "base" / lang / f"{lang}.parquet" for lang in ("es", "hi")]
    before = [pl.read_parquet(path) for path in paths]
    for path in paths:
        shutil.rmtree(path.parent)
    targets = [str(path.parent.relative_to(finished.folder)) for path in paths]
    said = finished.end(finished.start("--cores", "2", *targets, *told))
    most = now = 0
    for line in said.splitlines():
        now += line.partition(": ")[2].startswith("Capture ")
        now -= line.startswith("Finished jobid: ") and "Rule: capture" in line
        most = max(most, now)
    assert (most, now) == (at_once, 0), said[-3000:]
    assert all(pl.read_parquet(path).equals(was) for path, was in zip(paths, before, strict=True))


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

    def begin(self) -> subprocess.Popen[bytes]:
        for folder in (*self.folders, "logs/encode", "logs/align"):
            shutil.rmtree(self.study.results / folder, ignore_errors=True)  # a fault before may have left nothing
        for target in self.targets:
            (self.study.folder / target).unlink(missing_ok=True)
        return self.study.submit(*self.targets)

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
