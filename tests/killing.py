"""Runs of the workflow whose processes die at random moments, started again until they are done.

    PYTHONPATH=workflow/scripts:tests python tests/killing.py FOLDER [--study small] [--kills 100] [--seed 0]

prints a table of what was hit and what it cost.
"""

import argparse
import json
import logging
import os
import random
import re
import resource
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from safetensors.numpy import load_file

from checkout import REPOSITORY, Checkout, read_study
from compare_results import compare
from isogloss.tables import open_table

logger = logging.getLogger(__name__)

TABLES = ("group_gap", "alignment_gain")
VICTIMS = {"a process of a job": 10, "every job": 3, "snakemake": 5, "all at once": 2}  # how often, of 20
EARLY = 4.0  # seconds of Snakemake's own work, in which it reads the Snakefile and begins the first jobs
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


def two_models() -> dict[str, Any]:
    """`small_study` of two models, so that two jobs run nearly always."""
    study = small_study()
    study["models"]["skewed"] = {**study["models"]["equal"], "shares": {"en": 0.6, "es": 0.2, "hi": 0.2}}
    return study


def papers_b_and_c() -> dict[str, Any]:
    """Papers B and C, the explorer and the report of one toy model: what `small_study` has not."""
    study = read_study(REPOSITORY / "tests" / "studies" / "mini.yaml")
    study["models"] = {"skewed": {**study["models"]["skewed"], "analyses": ["latent", "bilingual", "causal"]}}
    study["models"]["skewed"]["training"]["checkpoints"] = 2
    study["bilingual"] = {**study["bilingual"], "learning_rates": [0.004]}
    del study["alignment"], study["benchmarks"]
    return study


STUDIES = {"small": small_study, "two": two_models, "papers-b-and-c": papers_b_and_c}
LONGEST = {"small": 20.0, "two": 30.0, "papers-b-and-c": 100.0}  # ten kills are spread over a study


def targets(study: dict[str, Any]) -> list[str]:
    """The last tables of `small_study`; else nothing, which is all that a study has."""
    if "alignment" not in study:
        return []
    return [f"results/{model}/tables/{name}.parquet" for model in study["models"] for name in TABLES]


class Kill(NamedTuple):
    """A kill and what it cost at most: a job goes on from a state if it saved one."""

    victim: str
    running: int  # jobs that were
    lost: float  # seconds of a processor that those of them that were hit, or left behind, had used


@dataclass
class Tally:
    """What happened to a study that was killed again and again."""

    kills: list[Kill] = field(default_factory=list)
    starts: int = 0
    studies: int = 0
    jobs: int = 0  # that were begun
    unfinished: int = 0  # jobs that were begun and did not end
    finished: set[str] = field(default_factory=set)  # jobs that ended, of the present study
    again: list[str] = field(default_factory=list)  # those of them that were begun once more
    half: list[str] = field(default_factory=list)  # files that are there and not whole
    differences: dict[str, str] = field(default_factory=dict)  # between the tables and those of an undisturbed run


class Killer:
    """Kills processes of a study, chosen and timed by `seed`, and starts it again."""

    def __init__(self, checkout: Checkout, *, seed: int, longest: float = 20.0, arguments: Sequence[str] = ()) -> None:
        self.checkout = checkout
        self.random = random.Random(seed)
        self.longest = longest  # seconds of work of jobs before a kill
        self.arguments = list(arguments)
        self.tally = Tally()

    def kill_until(self, kills: int, undisturbed: Path) -> Tally:
        """Studies one after another, each to its end, until so many kills; each is compared with `undisturbed`."""
        while len(self.tally.kills) < kills:
            self.finish_study(kills)
            self.tally.differences |= compare(undisturbed, self.checkout.folder / "results")
            self.tally.studies += 1
            logger.info("%s", "\n".join(["a study is done", *costs(self.tally)]))
            self.tally.finished.clear()
            if len(self.tally.kills) < kills:
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
            retries = self.random.choice(["0", "9"])  # the next job of a victim in this run or in the next
            process = self.checkout.start("--retries", retries, *self.arguments, output=stream)
        while len(self.tally.kills) < kills and process.poll() is None:
            (kind,) = self.random.choices(list(VICTIMS), list(VICTIMS.values()))
            if self._await_moment(process, early=kind == "snakemake") and self._kill(process, kind):
                break
        status = process.wait()
        if status < 0:
            self._recover()
        return status, output.read_text(encoding="utf-8", errors="replace")

    def _await_moment(self, snakemake: "subprocess.Popen[bytes]", *, early: bool) -> bool:
        """Wait until the jobs, or an early time Snakemake, have worked for a random time; False if it ends before.

        The time is a processor's: a busy machine and an idle one kill at the same points of the work.
        """
        early = early and self.random.random() < 0.3
        moment = self.random.uniform(0.0, EARLY if early else self.longest)
        used: dict[str, float] = {}
        while snakemake.poll() is None:
            if early:
                used["snakemake"] = _processor_time(psutil.Process(snakemake.pid))
            else:
                used |= {script: sum(map(_processor_time, processes)) for script, processes in _jobs(snakemake).items()}
            if used and sum(used.values()) >= moment:
                return True
            time.sleep(0.2)
        return False

    def _kill(self, snakemake: "subprocess.Popen[bytes]", kind: str) -> bool:
        """SIGKILL to what `kind` says, or to Snakemake where no job runs; whether Snakemake was hit."""
        jobs = _jobs(snakemake)
        kind = kind if jobs else "snakemake"
        used = {script: sum(map(_processor_time, processes)) for script, processes in jobs.items()}
        hit = list(used)
        if kind == "a process of a job":
            hit = [self.random.choice(hit)]
            victims = [self.random.choice(jobs[hit[0]])]
        else:
            victims = [process for processes in jobs.values() for process in processes if kind != "snakemake"]
        if kind in ("snakemake", "all at once"):
            victims.insert(0, psutil.Process(snakemake.pid))
        if not sum(map(_killed, victims)):
            return False  # it ended by itself
        name = kind if kind != "a process of a job" else _stage(hit[0])
        self.tally.kills.append(Kill(name, len(jobs), sum(used[script] for script in hit)))
        logger.info("kill %d: %s of %d jobs", len(self.tally.kills), name, len(jobs))
        return kind in ("snakemake", "all at once")

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
        messages = _BEGUN.findall(said)
        begun = dict(messages)  # each rule's message names what the job is of
        self.tally.jobs += len(messages)
        self.tally.again += sorted(self.tally.finished & set(begun.values()))
        finished = {begun[number] for number in _FINISHED.findall(said) if number in begun}
        self.tally.unfinished += len(messages) - len(finished)
        self.tally.finished |= finished

    def _look_for_halves(self) -> None:
        results = self.checkout.folder / "results"
        for path in sorted(results.rglob("*")) if results.exists() else ():
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(results).parts):
                try:
                    _open(path)
                except Exception as error:  # whatever a reader raises
                    self.tally.half.append(f"{path.relative_to(results)}: {error}")


def _jobs(snakemake: "subprocess.Popen[bytes]") -> dict[str, list[psutil.Process]]:
    """The processes of each job by its script: its shell, the script, what this starts."""
    jobs: dict[str, list[psutil.Process]] = defaultdict(list)
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(snakemake.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if script := re.search(r"scripts/(tmp\w+\.\w+)\.py", " ".join(child.cmdline())):
                    jobs[script[1]].append(child)
    return dict(jobs)


def _stage(script: str) -> str:
    return script.partition(".")[2]


def _processor_time(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


def _killed(process: psutil.Process) -> bool:
    """Whether it was alive before."""
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return alive


def _open(path: Path) -> None:
    match path.suffix:
        case ".parquet":
            open_table(path).read()
        case ".json":
            json.loads(path.read_text(encoding="utf-8"))
        case ".safetensors":
            load_file(path)


def costs(tally: Tally) -> list[str]:
    """The table of kills: what was hit, how often, what it cost at most, and what is not as it should be."""
    lines = ["victim                     kills   jobs that ran   seconds lost: all   a kill at most"]
    victims: dict[str, list[Kill]] = defaultdict(list)
    for kill in tally.kills:
        victims[kill.victim].append(kill)
    for name, kills in [*sorted(victims.items()), ("all", tally.kills)]:
        running = Counter(kill.running for kill in kills)
        ran = " ".join(f"{count}×{jobs}" for jobs, count in sorted(running.items()))
        lost = [kill.lost for kill in kills]
        lines.append(f"{name:26} {len(kills):5}   {ran:13} {sum(lost):19.1f} {max(lost):16.1f}")
    lines.append(
        f"{tally.starts} starts, {tally.studies} studies; {tally.jobs} jobs begun, {tally.unfinished} not ended"
    )
    lines.append(f"finished and made again: {tally.again}; half files: {tally.half}; differ: {tally.differences}")
    return lines


def main(folder: Path, study: str, kills: int, seed: int) -> None:
    config = STUDIES[study]()
    wanted = targets(config)
    whole = Checkout(folder / "whole", config)
    whole.finish(*wanted)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    killer = Killer(
        Checkout(folder / "killed", config),
        seed=seed,
        longest=LONGEST[study],
        arguments=["--resources", "gpu=2", "--", *wanted],
    )
    print(f"an undisturbed study takes {used.ru_utime + used.ru_stime:.0f} s of a processor")
    print("\n".join(costs(killer.kill_until(kills, whole.folder / "results"))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--study", choices=STUDIES, default="small")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    main(**vars(parser.parse_args()))
