"""isogloss from another workflow, as an installed package, and in folders with a space and an umlaut in their path."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import polars as pl
import pytest
import yaml

from checkout import REPOSITORY, read_study
from isogloss import __version__
from isogloss.tables import table_metadata

FACTS = "results/world/facts.parquet"
FOLDERS = ("workflow", "config", "resources", "envs")
FILES = ("Snakefile", "Makefile", "pyproject.toml", "setup.py", "requirements.txt", "constraints.txt", "LICENSE")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository of the workflow."""
    folder = tmp_path_factory.mktemp("mein Ordner ü") / "isogloss"
    for name in FOLDERS:
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in FILES:
        shutil.copy(REPOSITORY / name, folder)
    for command in ("init", "add .", "-c user.name=test -c user.email=test commit -m all"):
        subprocess.run(["git", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder


def environment(folder: Path) -> tuple[Path, Path]:
    """Python and the folder of packages of a new virtual environment, which finds all that is installed here too."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (packages / "here.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "python", packages


@pytest.fixture(scope="module")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with `pip install .`, which leaves nothing but the repository's own files beside it."""
    python, _ = environment(tmp_path_factory.mktemp("installed"))
    source = shutil.copytree(repository, tmp_path_factory.mktemp("source") / "isogloss")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([python, "-m", "pip", "install", *options, str(source)], check=True)
    shutil.rmtree(source)
    return python


def calling_workflow(folder: Path, snakefile: str) -> Path:
    """A workflow that imports isogloss with one tiny toy model; it sees that its own configuration stays its own."""
    (folder / "isogloss").mkdir(parents=True)  # a folder of that name is no package
    study = read_study(REPOSITORY / "tests" / "studies" / "mini.yaml")
    skewed = study["models"]["skewed"]
    study["models"] = {"skewed": {**skewed, "analyses": [], "training": {**skewed["training"], "tokens": 6000}}}
    (folder / "config.yaml").write_text(yaml.safe_dump({"mine": 1, "isogloss": study}, allow_unicode=True))
    (folder / "Snakefile").write_text(
        'configfile: "config.yaml"\n'
        f'module isogloss:\n    snakefile: {snakefile}\n    config: config["isogloss"]\n'
        "use rule * from isogloss as isogloss_*\n"
        'rule mine:\n    default_target: True\n    input: "results/report.html"\n'
        'assert set(config) == {"mine", "isogloss"} and "seed" not in config["isogloss"]\n'
    )
    return folder


def snakemake(python: str | Path, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs Snakemake in `folder` as a user would whose Python finds no checkout."""
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | variables
    command = [str(python), "-m", "snakemake", "--cores", "1", "--show-failed-logs", *arguments]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)


def with_gpu(folder: Path) -> dict[str, str]:
    """Variables of a machine that has a GPU, as far as the rules look."""
    folder.mkdir()
    (folder / "nvidia-smi").touch(mode=0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def on_github(repository: Path, tmp_path: Path) -> tuple[str, dict[str, str]]:
    """The Snakefile as Snakemake reads it from GitHub, and variables that make git take a folder for GitHub."""
    hub = tmp_path / "hub"
    subprocess.run(["git", "clone", "--quiet", "--bare", repository, hub / "someone" / "isogloss"], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True)
    variables = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{hub.as_uri()}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    return f'github("someone/isogloss", path="Snakefile", commit="{head.stdout.strip()}")', variables


@pytest.mark.workflow
def test_a_workflow_elsewhere_imports_a_checkout_and_its_jobs_the_package_beside_the_rules(
    repository: Path, tmp_path: Path
):
    python, packages = environment(tmp_path / "environment")
    (packages / "isogloss").mkdir()
    (packages / "isogloss" / "__init__.py").write_text('raise RuntimeError("this is another version")')
    folder = calling_workflow(tmp_path / "anderer Ordner ß", repr(str(repository / "Snakefile")))
    run = snakemake(python, folder, FACTS, **with_gpu(tmp_path / "tools"))
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"^Provided resources: .*\bgpu\b.*\b1\b", run.stderr, flags=re.MULTILINE)
    assert len(pl.read_parquet(folder / FACTS)) > 30
    assert table_metadata(folder / FACTS)["study"] == "mini"

    planned = snakemake(python, folder, "--dry-run")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert {"mine", "isogloss_train_toy", "isogloss_summary"} <= set(re.findall(r"^\w+", planned.stdout, re.MULTILINE))
    assert "isogloss_toy_world" not in planned.stdout


@pytest.mark.workflow
def test_rules_from_github_take_the_installed_package(
    on_github: tuple[str, dict[str, str]], installed: Path, tmp_path: Path
):
    snakefile, variables = on_github
    folder = calling_workflow(tmp_path / "study", snakefile)
    alone = snakemake(sys.executable, folder, "--dry-run", **variables)
    assert alone.returncode != 0
    assert "so the package must be installed" in alone.stdout + alone.stderr
    planned = snakemake(installed, folder, "--dry-run", **variables)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "isogloss_toy_world" in planned.stdout


@pytest.mark.workflow
def test_a_report_of_rules_from_github(on_github: tuple[str, dict[str, str]], installed: Path, tmp_path: Path):
    snakefile, variables = on_github
    folder = calling_workflow(tmp_path / "study", snakefile)
    run = snakemake(installed, folder, "--resources", "gpu=3", **with_gpu(tmp_path / "tools"), **variables)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"^Provided resources: .*\bgpu\b.*\b3\b", run.stderr, flags=re.MULTILINE)
    report = (folder / "results" / "report.html").read_text(encoding="utf-8")
    assert "Skewed shares" in report
    assert "lede" in report  # the landing text


def test_two_copies_in_one_workflow_are_refused(repository: Path, tmp_path: Path):
    folder = calling_workflow(tmp_path / "study", repr(str(repository / "Snakefile")))
    snakefile = folder / "Snakefile"
    other = f"import sys\nsys.path.insert(0, {str(REPOSITORY / 'workflow' / 'scripts')!r})\nimport isogloss\n"
    snakefile.write_text(other + snakefile.read_text())
    run = snakemake(sys.executable, folder, "--dry-run")
    assert run.returncode != 0
    assert "is imported already" in run.stdout + run.stderr


@pytest.mark.workflow
def test_results_go_to_another_directory(repository: Path, tmp_path: Path):
    study = yaml.safe_load((calling_workflow(tmp_path / "study", "''") / "config.yaml").read_text())["isogloss"]
    path = tmp_path / "Größe eins.yaml"
    path.write_text(yaml.safe_dump(study, allow_unicode=True))
    results = tmp_path / "Ziel ß"
    run = snakemake(sys.executable, repository, FACTS, "--configfile", str(path), "--directory", str(results))
    assert run.returncode == 0, run.stdout + run.stderr
    assert (results / FACTS).is_file()
    assert not (repository / "results").exists()


def test_the_installed_package_carries_its_resources(installed: Path, tmp_path: Path):
    code = (
        "import isogloss, sys\n"
        "from isogloss.languages import language_table, world_languages\n"
        "from isogloss.latent.prompts import load_template\n"
        "from isogloss.resources import CAPTIONS\n"
        "assert language_table()['en'].name == 'English' and 'hi' in world_languages()\n"
        "assert load_template('belebele', 'letters', 'en').layout\n"
        "assert (CAPTIONS / 'style.css').is_file() and (CAPTIONS / 'training.rst').is_file()\n"
        "print(isogloss.__version__, isogloss.__file__)\n"
    )
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run([installed, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    version, path = run.stdout.strip().split(" ", 1)
    assert version == __version__
    assert Path(path).is_relative_to(installed.parents[1])


def test_make_in_a_folder_with_a_space_runs_what_is_in_its_environment(repository: Path, tmp_path: Path):
    folder = tmp_path / "mein Ordner ü"
    folder.mkdir()
    for name in ("Makefile", "requirements.txt", "constraints.txt"):
        shutil.copy(REPOSITORY / name, folder)
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "uv", "snakemake"):
        (programs / name).write_text(f'#!/bin/sh\nprintf "%s\\n" "{name} $*" >> calls\n')
        (programs / name).chmod(0o755)
    (folder / "results").mkdir()
    (folder / "results" / "summary.html").touch()
    run = subprocess.run(
        ["make", "demo", f"PYTHON={sys.executable}", "STUDY=Größe eins.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert f"open {folder}/results/summary.html" in run.stdout
    calls = (folder / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["python", "python", "uv", "python", "python", "snakemake"]
    assert calls[-2].endswith(" Größe eins.yaml")
    assert "--configfile Größe eins.yaml" in calls[-1]
