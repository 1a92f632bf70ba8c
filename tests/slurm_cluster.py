"""A real Slurm on this machine for tests: started and ended by pid, asked about its jobs, and broken on purpose."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

SCRIPTS = Path(__file__).parent / "slurm"
CONFIGURATION = Path("/etc/slurm/slurm.conf")
PROGRAMS = {"slurmctld": "slurm-wlm", "munged": "munge"}  # and the packages that they are in
ACCOUNTING = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server"}
PATIENCE = 600.0  # seconds, on a busy machine
Answer = TypeVar("Answer")


class Job(NamedTuple):
    """What a Slurm job asked for and what became of it."""

    number: int
    rule: str
    task: str  # the plugin's comment: rule and wildcards, the same for each try
    state: str
    reason: str  # why it waits
    cpus: int
    memory: int  # MB
    gpus: int
    minutes: int
    restarts: int  # by Slurm itself, after it lost a node
    node: str
    folder: str
    start: datetime | None
    end: datetime | None  # expected, while it runs

    @property
    def words(self) -> list[str]:
        """The rule and its wildcards."""
        return [self.rule, *self.task.partition("_wildcards_")[2].split("_")]


def why_not() -> str | None:
    """Why Slurm cannot be tested here, None if it can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "needs root: it installs packages and writes /etc/slurm"
    if not shutil.which("apt-get") or not Path("/etc/debian_version").is_file():
        return "needs Debian or a child of it: it installs slurm-wlm with apt-get"
    if CONFIGURATION.exists() and _folder_of_tests() is None:
        return f"{CONFIGURATION} is there: this machine has a Slurm of its own"
    return None


def install(programs: Mapping[str, str] = PROGRAMS) -> str | None:
    """Install what of Slurm is not there; returns why it could not be."""
    packages = [package for program, package in programs.items() if not shutil.which(program)]
    if not packages:
        return None
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True)
    return None if done.returncode == 0 else f"apt-get install failed: {done.stderr.strip()[-300:]}"


def _folder_of_tests() -> Path | None:
    """The folder of a test's cluster that was never stopped, its session having been killed."""
    if not CONFIGURATION.exists():
        return None
    pairs = dict(line.split("=", 1) for line in CONFIGURATION.read_text().splitlines() if "=" in line)
    return Path(pairs["StateSaveLocation"]).parent if pairs.get("ClusterName") == "test" else None


def _run(*command: str | Path, timeout: float = 60) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()[-3000:]}")
    return done.stdout


class Cluster:
    """Two nodes of 16 cores and 2 pretended GPUs each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes = ("n1", "n2")

    def __enter__(self) -> Self:
        if leftover := _folder_of_tests():
            _run(SCRIPTS / "slurm-down.sh", leftover)
        try:
            _run(SCRIPTS / "slurm-up.sh", self.folder, str(len(self.nodes)), "16", "2")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_raised: object) -> None:
        _run(SCRIPTS / "slurm-down.sh", self.folder)

    def jobs(self) -> list[Job]:
        """Every job since the cluster was started, first one first."""
        lines = _run("scontrol", "show", "job", "--oneliner").splitlines()
        return sorted(_job(line) for line in lines if line.startswith("JobId="))

    def last(self) -> int:
        """The number of the youngest job, 0 if there is none."""
        return max((job.number for job in self.jobs()), default=0)

    def job(self, number: int) -> Job:
        return next(job for job in self.jobs() if job.number == number)

    @contextmanager
    def held(self, *nodes: str) -> Iterator[None]:
        """No job starts on these nodes, or on any, within the block: they are drained, as for maintenance."""
        names = ",".join(nodes or self.nodes)
        _run("scontrol", "update", f"NodeName={names}", "State=DRAIN", "Reason=test")
        try:
            yield
        finally:
            _run("scontrol", "update", f"NodeName={names}", "State=RESUME")

    def submit(self, command: str, folder: Path, *options: str) -> int:
        """A job of nobody's workflow."""
        fixed = ("--parsable", "--chdir", folder, "--output", "/dev/null")
        return int(_run("sbatch", *fixed, *options, "--wrap", command))

    def cancel(self, job: Job) -> None:
        _run("scancel", str(job.number))

    def kill_daemon(self, node: str) -> None:
        """SIGKILL to a node's slurmd; its jobs run on."""
        os.kill(int((self.folder / "run" / f"slurmd.{node}.pid").read_text()), signal.SIGKILL)

    def start_daemon(self, node: str, *, seeing: tuple[Path, Path] | None = None) -> None:
        """Start a node's slurmd; `seeing` has it see the first folder where the second one is, as its own mount."""
        if seeing is None:
            _run("slurmd", "-N", node)
        else:
            _run("unshare", "--mount", "sh", "-c", f"mount --bind {seeing[0]} {seeing[1]} && exec slurmd -N {node}")

    def power_loss(self, node: str) -> None:
        _run(SCRIPTS / "powerloss.sh", self.folder, node)

    def freeze_jobs(self, node: str) -> None:
        """A node's jobs stand still: a test on a fast machine has time, and a node hangs that has no slurmd either."""
        _run(SCRIPTS / "powerloss.sh", self.folder, node, "freeze")

    def state(self, node: str) -> str:
        """As scontrol says it, sinfo's `completing` may hide a dead node: idle, mixed, down*+completing, ..."""
        described = _run("scontrol", "show", "node", node, "--oneliner")
        return next(word for word in described.split() if word.startswith("State=")).removeprefix("State=").lower()

    def stop_controller(self) -> None:
        """As for maintenance: it saves its state, and running jobs go on."""
        os.kill(int((self.folder / "run" / "slurmctld.pid").read_text()), signal.SIGTERM)

    def start_controller(self) -> None:
        _run("slurmctld")


def _job(line: str) -> Job:
    fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
    requested = dict(part.split("=", 1) for part in fields["TRES"].split(","))
    comment = fields.get("Comment", "")
    hours, minutes, _ = fields["TimeLimit"].split(":") if ":" in fields["TimeLimit"] else (0, 0, 0)
    days, _, hours = str(hours).rpartition("-")
    gpus = (fields.get("TresPerJob") or fields.get("TresPerNode") or "gres:gpu:0").rpartition(":")[2]
    return Job(
        number=int(fields["JobId"]),
        rule=comment.removeprefix("rule_").partition("_wildcards_")[0],
        task=comment,
        state=fields["JobState"],
        reason=fields["Reason"],
        cpus=int(fields["CPUs/Task"]),
        # a controller started again no longer knows the memory of jobs that ended
        memory=_megabytes(requested.get("mem", "0M")),
        gpus=int(gpus),
        minutes=(int(days or 0) * 24 + int(hours)) * 60 + int(minutes),
        restarts=int(fields["Restarts"]),
        node=fields.get("BatchHost", ""),
        folder=fields["WorkDir"],
        start=_moment(fields["StartTime"]),
        end=_moment(fields["EndTime"]),
    )


def _moment(text: str) -> datetime | None:
    return None if text == "Unknown" else datetime.fromisoformat(text)


def _megabytes(text: str) -> int:
    """Slurm writes 46.87500G for 48000 MB."""
    return round(float(text[:-1]) * {"M": 1, "G": 1024, "T": 1024**2}[text[-1]])


def wait(
    condition: Callable[[], Answer | None], until: str, *, running: subprocess.Popen[bytes] | None = None
) -> Answer:
    """Ask until the answer is true, and return it. `running` must not end meanwhile."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if answer := condition():
            return answer
        assert running is None or running.poll() is None, f"snakemake ended before {until}"
        time.sleep(0.1)
    raise TimeoutError(f"{PATIENCE:g} s and not yet: {until}")


def most_at_once(jobs: Sequence[Job]) -> int:
    """How many of these finished jobs ran at the same moment."""
    spans = [(job.start, job.end) for job in jobs if job.start and job.end]
    return max((sum(start <= moment < end for start, end in spans) for moment, _ in spans), default=0)
