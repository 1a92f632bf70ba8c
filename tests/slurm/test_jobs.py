"""What the jobs of paper A's study ask a real Slurm for."""

import shutil
from pathlib import Path

import polars as pl
import pytest
import yaml

from checkout import restored
from slurm_cluster import Cluster, Job, most_at_once, wait
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


def test_gpus_asked_for_in_both_ways_and_not_alike_stop_the_plan_in_a_line(finished: Study, cluster: Cluster):
    last = cluster.last()
    begun = finished.submit(*finished.tables(), "--set-resources", "capture:gres=gpu:2")
    assert begun.wait() != 0
    line = "set-resources: capture asks for 2 GPU(s) by gres (gpu:2) and for 1 by gpu: give gpu: 0 beside"
    assert line in finished.said()
    assert "Traceback" not in finished.said()
    assert cluster.last() == last


def test_the_gpus_of_a_model_that_needs_several_are_waited_for_on_one_node(
    finished: Study, cluster: Cluster, tmp_path: Path
):
    """Slurm would else give one of each node, which a process cannot use together."""
    path = finished.results / "residuals" / "base" / "hi" / "hi.parquet"
    before = pl.read_parquet(path)
    shutil.rmtree(path.parent)
    file = finished.folder / "study.yaml"
    study = yaml.safe_load(file.read_text(encoding="utf-8"))
    study["compute"]["gpus_per_job"] = 2
    busy = [cluster.submit("sleep 600", tmp_path, "--gpus=1", f"--nodelist={node}") for node in cluster.nodes]
    with restored(file):
        file.write_text(yaml.safe_dump(study), encoding="utf-8")
        begun = finished.submit(str(path.parent.relative_to(finished.folder)))

        def held_back() -> Job | None:
            job = cluster.jobs()[-1]
            return job if (job.rule, job.state, job.reason) == ("capture", "PENDING", "Resources") else None

        hit = wait(held_back, "the capture waits for two GPUs of a node", running=begun)
        cluster.cancel(cluster.job(busy[0]))
        finished.end(begun)
    cluster.cancel(cluster.job(busy[1]))
    assert (cluster.job(hit.number).gpus, cluster.job(hit.number).node) == (2, cluster.nodes[0])
    assert pl.read_parquet(path).equals(before)


@pytest.mark.parametrize(("options", "at_once"), [((), 1), (("--resources", "gpu=2"), 2)])
def test_a_local_gpu_takes_one_job_at_a_time_unless_told_otherwise(
    finished: Study, options: tuple[str, ...], at_once: int
):
    paths = [finished.results / "residuals" / "base" / lang / f"{lang}.parquet" for lang in ("es", "hi")]
    before = [pl.read_parquet(path) for path in paths]
    for path in paths:
        shutil.rmtree(path.parent)
    targets = [str(path.parent.relative_to(finished.folder)) for path in paths]
    said = finished.end(finished.start("--cores", "2", *targets, *options))
    most = now = 0
    for line in said.splitlines():
        now += line.partition(": ")[2].startswith("Capture ")
        now -= line.startswith("Finished jobid: ") and "Rule: capture" in line
        most = max(most, now)
    assert (most, now) == (at_once, 0), said[-3000:]
    assert all(pl.read_parquet(path).equals(was) for path, was in zip(paths, before, strict=True))
