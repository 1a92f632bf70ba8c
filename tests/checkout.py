"""A copy of the workflow that a test may edit and run."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

REPOSITORY = Path(__file__).parents[1]


class Checkout:
    """The workflow in a folder of its own, with a study."""

    def __init__(self, folder: Path, study: dict[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("workflow", "config", "resources", "envs", "slurm"):
            shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(REPOSITORY / "Snakefile", folder)
        self.config = study
        self.study = self.write_study("study", study)

    def write_study(self, name: str, config: dict[str, Any]) -> Path:
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    def snakemake(self, *arguments: str, study: Path | None = None) -> subprocess.CompletedProcess[str]:
        command, environment = self._command(*arguments, study=study)
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)

    def start(self, *arguments: str, output: IO[bytes]) -> "subprocess.Popen[bytes]":
        """Snakemake, at work, as `make demo` starts it; what it says goes to `output`."""
        command, environment = self._command("--rerun-incomplete", *arguments)
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=output, stderr=subprocess.STDOUT)

    def _command(self, *arguments: str, study: Path | None = None) -> tuple[list[str], dict[str, str]]:
        command = [sys.executable, "-m", "snakemake", "--configfile", str(study or self.study), "--cores", "2"]
        command += ["--scheduler", "greedy", "--max-jobs-per-timespan", "1000/10s"]  # as make demo does
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        return [*command, *arguments], environment

    def finish(self, *arguments: str, study: Path | None = None) -> str:
        """What a run says that must end well."""
        run = self.snakemake("--show-failed-logs", *arguments, study=study)
        assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-6000:]
        return run.stdout + run.stderr

    def complaint(self, *arguments: str, study: Path | None = None) -> str:
        """The one line that a run says which must fail."""
        run = self.snakemake(*arguments, study=study)
        assert run.returncode != 0
        assert "Traceback" not in run.stderr
        return next(line for line in run.stderr.splitlines() if line.startswith("isogloss: "))

    def planned(self, *arguments: str, study: Path | None = None) -> Counter[str]:
        """How many jobs of each rule a dry run plans."""
        run = self.snakemake("--dry-run", *arguments, study=study)
        assert run.returncode == 0, run.stdout + run.stderr
        rows = re.findall(r"^(\w+)\s+(\d+)$", run.stdout + run.stderr, flags=re.MULTILINE)
        return Counter({rule: int(count) for rule, count in rows if rule != "total"})

    def changed_study(self, path: str, value: object) -> Path:
        """The study with one key changed, given by its dotted path."""
        config = json.loads(json.dumps(self.config))
        *parents, last = path.split(".")
        node = config
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = value
        return self.write_study("changed", config)

    @contextmanager
    def edited(self, module: str) -> Iterator["Module"]:
        """A module of the package, by its path there, that a test may edit; as it was afterwards."""
        edited = Module(self.folder / "workflow" / "scripts" / "isogloss" / module)
        try:
            yield edited
        finally:
            edited.path.write_text(edited.source, encoding="utf-8")


class Module:
    """The source of a module in a checkout, and edits of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = path.read_text(encoding="utf-8")

    def comment(self) -> None:
        """An edit that changes nothing."""
        self.path.write_text("# a comment\n" + self.source, encoding="utf-8")

    def change(self) -> None:
        """An edit of every function."""
        tree = ast.parse(self.source)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                node.body.append(ast.Pass())
        self.path.write_text(ast.unparse(tree), encoding="utf-8")


@contextmanager
def restored(path: Path) -> Iterator[None]:
    """A file that a test may change, as it was afterwards, its time too."""
    content, stat = path.read_bytes(), path.stat()
    try:
        yield
    finally:
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def read_study(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
