"""The study of paper A on stand-ins, as a login node of a real Slurm runs it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from slurm_cluster import Cluster
from standin_study import build, merged

REPOSITORY = Path(__file__).parents[1]
STUDY = REPOSITORY / "config" / "studies" / "disparity-gemma-2-2b.yaml"
MODEL = "gemma-2-2b"
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
SLURM = ("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "6", "--latency-wait", "10")


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

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", "--configfile", "study.yaml", *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "output.txt").open("wb") as output:
            return subprocess.Popen(
                self.command(*arguments), cwd=self.folder, env=self.environment, stdout=output, stderr=subprocess.STDOUT
            )

    def submit(self, *targets: str) -> subprocess.Popen[bytes]:
        return self.start(*SLURM, *targets)

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
