"""`make real`: the folder that it takes model and texts from, and the whole on a stand-in."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import standin_real
from checkout import REPOSITORY, Checkout, read_study
from isogloss.config import load_study
from isogloss.config.files import read_file
from isogloss.config.real_folder import STUDY, main, sources_of
from isogloss.sources.shapes import kept_shape
from isogloss.tables import read_table, table_metadata
from standin_real import LANGUAGES, flores

FENCED = re.compile(r"^```sh\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standin_real.build(tmp_path_factory.mktemp("a folder") / "real")


def complaint(capsys: pytest.CaptureFixture[str], output: Path, folder: Path) -> str:
    assert main([str(output), str(folder)]) == 1
    assert not output.exists()
    error = capsys.readouterr().err
    assert error.startswith("isogloss: ")
    assert error.count("\n") == 1
    return error


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    said = complaint(capsys, tmp_path / "out.json", tmp_path / "nowhere")
    assert "nowhere: no such folder; give one as config/README.md" in said


def test_all_parts_that_lack_are_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "segments").mkdir()
    for lang in LANGUAGES[1:]:
        (tmp_path / "segments" / f"{lang}.jsonl").touch()
    said = complaint(capsys, tmp_path / "out.json", tmp_path)
    assert ": no model/, segments/en.jsonl, documents/, belebele/; it must have model/ (config.json" in said
    assert "for each of en es ru zh hi" in said


def test_a_language_that_lacks_is_named(real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "real"
    shutil.copytree(real, folder)
    (folder / "documents" / "hi.jsonl").unlink()
    (folder / "belebele" / "data" / f"{flores('zh')}.jsonl").unlink()
    said = complaint(capsys, tmp_path / "out.json", folder)
    assert ": no documents/hi.jsonl, belebele/data/zho_Hans.jsonl; it must have" in said


def test_the_folder_takes_the_place_of_every_source(real: Path, tmp_path: Path):
    assert main([str(tmp_path / "new" / "out.json"), str(real)]) == 0
    sources = read_file(tmp_path / "new" / "out.json")
    assert sources == sources_of(real, read_file(STUDY))
    study = load_study(merged(read_study(STUDY), sources), shape_of=kept_shape)
    model = study.models["real"]
    assert (model.title, model.layer_list) == ("gemma2, 14 layers", [6, 12])
    fetched = [source for source in strings(study.model_dump(mode="json")) if source.startswith(("google/", "Qwen/"))]
    assert fetched == []


def test_without_a_folder_the_study_stays_as_it_is(tmp_path: Path):
    assert main([str(tmp_path / "out.json"), ""]) == 0
    assert read_file(tmp_path / "out.json") == {}


def merged(config: dict, changes: dict) -> dict:
    """As Snakemake merges two configuration files."""
    nested = {key: merged(config[key], value) for key, value in changes.items() if isinstance(value, dict)}
    return {**config, **changes, **nested}


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for part in value.values() for text in strings(part)]
    return [value] if isinstance(value, str) else []


def make(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`make` in a checkout, with this Python's environment as the one that is set up."""
    command = ["make", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.run", "CORES=2", *arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Checkout(tmp_path_factory.mktemp("checkout") / "isogloss", {})
    shutil.copy(REPOSITORY / "Makefile", made.folder)
    return made.folder


@pytest.mark.workflow
def test_make_real_stops_before_anything_runs(checkout: Path, tmp_path: Path):
    run = make(checkout, "real", f"REAL={tmp_path}")
    assert run.returncode != 0
    assert "isogloss: REAL=" in run.stderr
    assert "Building DAG" not in run.stderr


@pytest.mark.workflow
def test_xquad_and_belebele_are_read_as_the_hub_has_them(checkout: Path, tmp_path: Path):
    config = read_study(STUDY)
    xquad = standin_real.xquad(tmp_path / "xquad")
    standin_real.build(tmp_path / "real")
    config["models"]["real"]["source"]["folder"] = str(tmp_path / "real" / "model")
    for source in [config["parallel"], *config["documents"].values()]:
        source["folder"] = str(xquad)
    for tasks in (config["latent"]["tasks"], config["benchmarks"]["tasks"]):
        for task in tasks.values():
            task["source"]["folder"] = str(tmp_path / "real" / "belebele")
    made = Checkout(tmp_path / "checkout", config)
    wanted = [f"results/parallel/segments/{lang}.parquet" for lang in LANGUAGES]
    wanted += [f"results/documents/{lang}.parquet" for lang in LANGUAGES]
    made.finish(*wanted)
    for lang in LANGUAGES:
        segments = read_table(made.folder / wanted[0].replace("en.", f"{lang}."))
        assert segments.height == segments["segment"].n_unique() == 100
        documents = made.folder / f"results/documents/{lang}.parquet"
        assert read_table(documents)["text"].n_unique() == read_table(documents).height == 20
        assert table_metadata(documents)["repeated"] == 80


@pytest.mark.workflow
def test_every_command_of_the_tutorial_runs(checkout: Path, real: Path):
    page = (REPOSITORY / "config" / "tutorial.md").read_text(encoding="utf-8")
    commands = [line for block in FENCED.findall(page) for line in block.splitlines() if line.strip()]
    assert len(commands) > 5
    environment = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    settings = f"make VENV={sys.prefix} -o {sys.prefix}/.run"
    for command in commands:
        command = command.split("#")[0].replace("make ", f"{settings} ").replace("FOLDER", f"'{real}'")
        run = subprocess.run(
            ["bash", "-c", command], cwd=checkout, env=os.environ | environment, capture_output=True, text=True
        )
        assert run.returncode == 0, command + run.stdout[-3000:] + run.stderr[-5000:]
    results = checkout / "real" / "results"
    assert (results / "report.html").is_file()
    assert set(pl.read_parquet(results / "real" / "tables" / "similarity.parquet")["layer"]) == {6, 12}
    assert set(pl.read_parquet(results / "real" / "tables" / "features.parquet")["step"]) == {0}
