"""A cluster that lets a user have few jobs submitted at once, which needs an accounting database."""

import os
import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest

from slurm_cluster import ACCOUNTING, SCRIPTS, install
from slurm_study import SLURM, Study

pytestmark = pytest.mark.slurm


def test_a_limit_on_submitted_jobs_fails_some_and_is_waited_for_where_sbatch_is_told_to(
    finished: Study, tmp_path: Path
) -> None:
    if reason := install(ACCOUNTING):
        pytest.skip(f"no accounting here: {reason}")
    files = [finished.results / "residuals" / "base" / lang / f"{lang}.parquet" for lang in ("es", "hi")]
    before = [pl.read_parquet(file) for file in files]
    for file in files:
        shutil.rmtree(file.parent)
    targets = [str(file.parent.relative_to(finished.folder)) for file in files]

    def run(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [SCRIPTS / "limited.sh", tmp_path / name, "1", *finished.command(*SLURM, *targets, *arguments)]
        every = {**finished.environment, **environment}
        return subprocess.run(command, cwd=finished.folder, env=every, capture_output=True, text=True)

    refused = run("refused", "--retries", "0")
    assert refused.returncode != 0
    assert "AssocMaxSubmitJobLimit" in refused.stderr
    assert sum(file.exists() for file in files) == 1

    for file in files:
        shutil.rmtree(file.parent, ignore_errors=True)
    patient = os.pathsep.join([str(finished.folder / "slurm" / "submit-limit"), finished.environment["PATH"]])
    waited = run("waited", "--retries", "0", PATH=patient, ISOGLOSS_SUBMIT_SECONDS="2")
    assert waited.returncode == 0, waited.stderr[-6000:]
    assert "sbatch failed" not in waited.stderr
    assert all(pl.read_parquet(file).equals(was) for file, was in zip(files, before, strict=True))
