"""What is edited while a job waits in the queue: its code, and the study file."""

from pathlib import Path

import polars as pl
import pytest
import yaml

from checkout import Module, restored
from isogloss.tables import table_metadata
from slurm_cluster import Cluster, Job, wait
from slurm_study import MODEL, Study

pytestmark = pytest.mark.slurm

TARGET = f"results/{MODEL}/tables/group_gap.parquet"
OTHER = f"results/{MODEL}/tables/similarity.parquet"  # made already: no edit of the gap touches it


@pytest.fixture
def table(finished: Study) -> Path:
    return finished.folder / TARGET


def waiting(cluster: Cluster, rule: str) -> Job | None:
    return next((job for job in cluster.jobs() if job.rule == rule and job.state == "PENDING"), None)


def test_a_job_whose_code_was_edited_while_it_waited_stops_and_the_next_run_redoes_just_that(
    finished: Study, cluster: Cluster, table: Path
) -> None:
    before, code = pl.read_parquet(table), table_metadata(table)["code"]
    table.unlink()
    module = Module(finished.folder / "workflow" / "scripts" / "isogloss" / "disparity" / "gap.py")
    with restored(module.path):
        with cluster.held():
            begun = finished.submit(TARGET, OTHER, "--retries", "0")
            hit = wait(lambda: waiting(cluster, "gap"), "the job waits", running=begun)
            module.change()
        assert begun.wait() != 0
        said = finished.said()
        lines = {line.strip() for line in said.splitlines() if line.strip().startswith("isogloss: ")}
        assert len(lines) == 1, said
        assert lines.pop().startswith("isogloss: gap: the code of this stage was edited after the run began, so")
        assert "Traceback" not in said
        assert cluster.job(hit.number).state == "FAILED"
        assert not table.exists()
        assert not list(finished.results.rglob("*.partial"))

        finished.end(finished.submit(TARGET, OTHER))
        assert [job.rule for job in cluster.jobs() if job.number > hit.number] == ["gap"]
        assert table_metadata(table)["code"] != code
    finished.end(finished.submit(TARGET, OTHER))
    assert [job.rule for job in cluster.jobs() if job.number > hit.number] == ["gap", "gap"]
    assert table_metadata(table)["code"] == code
    assert pl.read_parquet(table).equals(before)


def test_a_study_that_is_edited_while_a_job_waits_is_the_next_runs(
    finished: Study, cluster: Cluster, table: Path
) -> None:
    before, metadata = pl.read_parquet(table), table_metadata(table)
    table.unlink()
    file = finished.folder / "study.yaml"
    study = yaml.safe_load(file.read_text(encoding="utf-8"))
    study.setdefault("statistics", {})["confidence"] = 0.5
    with restored(file):
        with cluster.held():
            begun = finished.submit(TARGET, OTHER)
            hit = wait(lambda: waiting(cluster, "gap"), "the job waits", running=begun)
            file.write_text(yaml.safe_dump(study), encoding="utf-8")
        finished.end(begun)
        assert pl.read_parquet(table).equals(before)
        assert table_metadata(table) == metadata

        finished.end(finished.submit(TARGET))
        assert [job.rule for job in cluster.jobs() if job.number > hit.number] == ["gap"]
        assert not pl.read_parquet(table).equals(before)
    finished.end(finished.submit(TARGET))
    assert pl.read_parquet(table).equals(before)
