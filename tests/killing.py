"""Runs of the workflow whose processes die at random moments, started again until they are done.

    PYTHONPATH=workflow/scripts:tests python tests/killing.py FOLDER [--kills 100] [--seed 0]

prints a table of what was hit and what it cost.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from safetensors.numpy import load_file

from checkout import REPOSITORY, Checkout, read_study
from compare_results import compare
from isogloss.tables import open_table

TABLES = ("group_gap", "alignment_gain")
_BEGUN = re.compile(r"^Job (\d+): (.*)$", re.MULTILINE)
_FINISHED = re.compile(r"^Finished jobid: (\d+)", re.MULTILINE)


def small_study() -> dict[str, Any]:
    """Paper A's gap and an alignment in a toy model of a few steps; what trains saves its state often."""
    study = read_study(REPOSITORY / "tests" / "studies" / "smallest.yaml")
    model = study["models"]["equal"]
    model["analyses"] = ["gap", "alignment"]
    model["training"]["resume_every"] = 4
    runs = {"hi-l1": {"target_layer": 1, "languages": ["hi"], "benchmark": []}}
    alignment: dict[str, Any] = {
        "held_out_features": 4,
        "iterations": 12,
        "samples": 32,
        "batch_size": 4,
        "resume_every": 3,
    }
    study["alignment"] = {**alignment, "runs": runs}
    return study


def targets(study: dict[str, Any]) -> list[str]:
    """The last tables of `small_study`."""
    return [f"results/{model}/tables/{name}.parquet" for model in study["models"] for name in TABLES]


@dataclass
class Tally:
    """What happened to a study that was killed again and again."""

    kills: int = 0
    victims: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    studies: int = 0
    jobs: int = 0  # that were begun
    finished: set[str] = field(default_factory=set)  # jobs that ended, of the present study
    again: list[str] = field(default_factory=list)  # those of them that were begun once more
    half: list[str] = field(default_factory=list)  # files that are there and not whole
    differences: dict[str, str] = field(default_factory=dict)  # between the tables and those of an undisturbed run


class Killer:
    """Kills processes of a study, chosen and timed by `seed`, and starts it again."""

    def __init__(self, checkout: Checkout, *, seed: int, longest: float = 4.0, arguments: Sequence[str] = ()) -> None:
        self.checkout = checkout
        self.random = random.Random(seed)
        self.longest = longest  # seconds from the start, or from a job's, to a kill
        self.arguments = list(arguments)
        self.tally = Tally()

    def kill_until(self, kills: int, undisturbed: Path) -> Tally:
        """Studies one after another, each to its end, until so many kills; each is compared with `undisturbed`."""
        while self.tally.kills < kills:
            self.finish_study(kills)
            self.tally.differences |= compare(undisturbed, self.checkout.folder / "results")
            self.tally.studies += 1
            self.tally.finished.clear()
            if self.tally.kills < kills:
                subprocess.run(["rm", "-rf", "results", ".snakemake"], cwd=self.checkout.folder, check=True)
        return self.tally

    def finish_study(self, kills: int) -> None:
        """Start, kill and start again until the study is done; at `kills` kills in all it is left alone."""
        for _ in range(3 * kills + 10):
            status, said = self._run(kills)
            self._count(said)
            self._look_for_halves()
            if status == 0:
                return
        raise AssertionError(f"not done after {self.tally.starts} starts: {said[-3000:]}")

    def _run(self, kills: int) -> tuple[int, str]:
        """One run of Snakemake, killed or not: its exit status and what it said."""
        self.tally.starts += 1
        output = self.checkout.folder / "said.txt"
        with output.open("wb") as stream:
            process = self.checkout.start(*self.arguments, output=stream)
        while self.tally.kills < kills and process.poll() is None:
            at_job = self.random.random() < 0.8
            moment = self.random.uniform(0.0, self.longest)
            while at_job and process.poll() is None and not _jobs(process):
                time.sleep(0.05)  # it reads the Snakefile, or is between two jobs
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                if self._kill_one_of(process, at_job=at_job):
                    break
        status = process.wait()
        if status < 0:
            self._recover()
        return status, output.read_text(encoding="utf-8", errors="replace")

    def _kill_one_of(self, process: "subprocess.Popen[bytes]", *, at_job: bool) -> bool:
        """SIGKILL to a process of a job if there is one, else to Snakemake; whether it was Snakemake."""
        jobs = _jobs(process) if at_job else []
        try:
            victim = self.random.choice(jobs) if jobs else psutil.Process(process.pid)
            name = _script(victim) or "snakemake"
            victim.kill()
        except psutil.NoSuchProcess:
            return False
        self.tally.kills += 1
        self.tally.victims[name] += 1
        return not jobs

    def _recover(self) -> None:
        """As the manual says, or the unlocking alone that Snakemake's own message advises, with orphans at work."""
        if self.random.random() < 0.5:
            command = ["bash", "slurm/recover.sh"]
            environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
            done = subprocess.run(
                command, cwd=self.checkout.folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
        else:
            done = self.checkout.snakemake("--unlock", "--quiet", "all")
            assert done.returncode == 0, done.stdout + done.stderr

    def _count(self, said: str) -> None:
        begun = dict(_BEGUN.findall(said))  # each rule's message names what the job is of
        self.tally.jobs += len(begun)
        self.tally.again += sorted(self.tally.finished & set(begun.values()))
        self.tally.finished |= {begun[number] for number in _FINISHED.findall(said) if number in begun}

    def _look_for_halves(self) -> None:
        results = self.checkout.folder / "results"
        for path in sorted(results.rglob("*")) if results.exists() else ():
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(results).parts):
                try:
                    _open(path)
                except Exception as error:  # whatever a reader raises
                    self.tally.half.append(f"{path.relative_to(results)}: {error}")


def _jobs(snakemake: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """The processes of its jobs: their shells, the scripts, what these start."""
    try:
        return [child for child in psutil.Process(snakemake.pid).children(recursive=True) if _script(child)]
    except psutil.NoSuchProcess:
        return []


def _script(process: psutil.Process) -> str:
    """The stage that a process runs; nothing for Snakemake itself."""
    script = re.search(r"scripts/tmp\w+\.(\w+)\.py", " ".join(process.cmdline()))
    return script[1] if script else ""


def _open(path: Path) -> None:
    match path.suffix:
        case ".parquet":
            open_table(path).read()
        case ".json":
            json.loads(path.read_text(encoding="utf-8"))
        case ".safetensors":
            load_file(path)


def main(folder: Path, kills: int, seed: int) -> None:
    study = small_study()
    whole = Checkout(folder / "whole", study)
    whole.finish(*targets(study))
    killer = Killer(Checkout(folder / "killed", study), seed=seed, arguments=targets(study))
    tally = killer.kill_until(kills, whole.folder / "results")
    print(f"{tally.kills} kills in {tally.starts} starts of {tally.studies} studies: {dict(tally.victims)}")
    print(f"{tally.jobs} jobs begun; finished and made again: {tally.again}")
    print(f"half files: {tally.half}; tables that differ: {tally.differences}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
