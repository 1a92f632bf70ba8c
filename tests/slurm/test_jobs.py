"""What the jobs of paper A's study ask a real Slurm for."""

import shutil

import polars as pl
import pytest
import yaml

from slurm_cluster import Cluster, Job, most_at_once
from slurm_study import REPOSITORY, Study

pytestmark = pytest.mark.slurm

PROFILE = yaml.safe_load((REPOSITORY / "slurm" / "profile.yaml").read_text(encoding="utf-8"))
GPU_RULES = {"reproduce", "translate", "capture", "encode", "codes", "align", "benchmark"}
CPU_RULES = {"exported_phrases", "translation_quality", "similarity", "gap", "controls", "reciprocal"}
CPU_RULES |= {"gain", "accuracy", "correlation"}


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
