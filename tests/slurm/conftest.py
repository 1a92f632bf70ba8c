"""One Slurm, and one study that ran on it undisturbed, for all of these tests."""

from collections.abc import Iterator

import pytest

from slurm_cluster import Cluster, Job, install, why_not
from slurm_study import Study


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := why_not() or install():
        pytest.skip(f"no Slurm here: {reason}")
    with Cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def run(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, list[Job]]:
    """The study after an undisturbed run, and the jobs of that run."""
    study = Study(tmp_path_factory.mktemp("study"), cluster)
    study.end(study.submit(*study.tables()))
    return study, [job for job in cluster.jobs() if job.folder == str(study.folder)]


@pytest.fixture(scope="session")
def finished(run: tuple[Study, list[Job]]) -> Study:
    return run[0]


@pytest.fixture(scope="session")
def undisturbed(run: tuple[Study, list[Job]]) -> list[Job]:
    return run[1]
