"""What dies at any moment and is started again leaves the files of an undisturbed run: stages with a state, writers."""

import ast
import importlib
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
import torch

import alignment_world
import test_checkpoint_saes
import test_toy_model
from checkout import REPOSITORY
from config_sections import grouped
from deaths import Lives
from isogloss.config.translation import Translation
from isogloss.tables import write_table
from standin_real import LANGUAGES, flores
from standins import tiny_model
from test_checkpoint_saes import tokens
from test_new_study import write_segments
from test_toy_model import documents, tokenizer
from test_translation import phrase_table

__all__ = ["documents", "tokenizer", "tokens"]  # fixtures
CHAINS, DEATHS = 6, 6  # each of so many runs dies at most so often, and then ends
PACKAGE = REPOSITORY / "workflow" / "scripts" / "isogloss"
TRAINING = "isogloss.sources.world.training:train_toy"
SAES = "isogloss.sae.checkpoint_saes:train_checkpoint_saes"
ALIGN = "isogloss.disparity.align:align"
TRANSLATE = "isogloss.phrases.translation:translate"
EXPORTS = "isogloss.sources.exports:fetch_exports"  # tests/test_fetch_deaths.py
STATEFUL = {TRAINING, SAES, ALIGN, TRANSLATE, EXPORTS}


class Stage(NamedTuple):
    """A stage that keeps a state, and how a test calls it with its outputs in a folder."""

    function: str
    arguments: Callable[[Path], dict[str, Any]]
    settings: dict[str, Any] = {}  # noqa: RUF012


def test_every_stage_that_keeps_a_state_is_killed_here_or_where_fetches_are():
    """A new one is named here by its parameter, and needs a test of its deaths."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(("isogloss", *path.relative_to(PACKAGE).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and {"state_folder", "downloads"} & {
                argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]
            }:
                found.add(f"{module}:{node.name}")
    assert found == STATEFUL
    states = [path for path in PACKAGE.rglob("*.py") if "TrainingState(" in path.read_text(encoding="utf-8")]
    keepers = {importlib.import_module(name.split(":")[0]).__file__ for name in STATEFUL}
    assert {str(path) for path in states} - {str(PACKAGE / "resume.py")} <= keepers


def captured(module: Any, name: str, call: Callable[[], object]) -> dict[str, Any]:
    """The arguments with which a test of `module` calls a stage."""
    arguments: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, lambda **given: arguments.update(given))
        call()
    return arguments


@pytest.fixture(scope="module")
def stages(documents, tokenizer, tokens, lm_folder, tmp_path_factory) -> dict[str, Stage]:
    torch.manual_seed(0)
    world = alignment_world.World(tmp_path_factory.mktemp("alignment"), lm_folder)
    translated = tmp_path_factory.mktemp("phrases")
    texts = [f"text {number}" for number in range(400)]
    phrases = phrase_table(translated / "0.parquet", 0, texts, segments=[[text] for text in texts])
    write_table(translated / "memory.parquet", pl.DataFrame({"segment": texts, "text": [t.upper() for t in texts]}))

    def training(out: Path) -> dict[str, Any]:
        return captured(test_toy_model, "train_toy", lambda: test_toy_model.train(out, documents, tokenizer))

    def saes(kind: str) -> Callable[[Path], dict[str, Any]]:
        return lambda out: captured(
            test_checkpoint_saes,
            "train_checkpoint_saes",
            lambda: test_checkpoint_saes.run(lm_folder, tokens, out, {"kind": kind}),
        )

    def align(out: Path) -> dict[str, Any]:
        world.folder = out.parent
        folder = {"phrases": [str(world_folder / "phrases.parquet")]}
        folder["translations"] = [str(world_folder / f"{lang}.parquet") for lang in ("es", "hi")]
        return captured(alignment_world, "align", lambda: world.align(out.name, **folder))

    def translate(out: Path) -> dict[str, Any]:
        settings = {"backend": "parallel", "engine": "transformers", "compute_type": "float32", "beam_size": 1}
        paths = {"state_folder": str(out / "state"), "output": str(out / "hi.parquet")}
        source = {"segments": str(translated / "memory.parquet"), "lang": "hi", "source_lang": "en"}
        arguments = {"phrases": [phrases], "layers": [0], "metadata": {"study": "x", "code": "c"}}
        return grouped({**settings, "minimum_chrf": None, **arguments, **paths, **source}, settings=Translation)

    world_folder = world.folder
    return {
        "training": Stage(TRAINING, training),
        "topk": Stage(SAES, saes("topk")),
        "matryoshka": Stage(SAES, saes("matryoshka")),
        "alignment": Stage(ALIGN, align),
        "translation": Stage(TRANSLATE, translate, {"isogloss.phrases.translation:_CHUNK": 40}),
    }


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    with Lives(*sorted({name.split(":")[0] for name in STATEFUL})) as running:
        yield running


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.long
@pytest.mark.parametrize("name", ["training", "topk", "matryoshka", "alignment", "translation"])
def test_a_stage_that_dies_again_and_again_ends_with_the_files_of_an_undisturbed_one(
    lives: Lives, stages: dict[str, Stage], tmp_path: Path, name: str
):
    stage = stages[name]
    whole = lives.live(stage.function, stage.arguments(tmp_path / "whole"), settings=stage.settings)
    assert whole.status == 0, whole.said
    expected = contents(tmp_path / "whole")
    assert expected
    died = 0
    for chain in range(CHAINS):
        out = tmp_path / f"{chain}"

        def nothing_that_is_not_whole(out: Path = out) -> None:
            there = contents(out) if out.exists() else {}
            for path, content in there.items():
                assert path not in expected or content == expected[path]

        died += lives.die_until_done(
            stage.function,
            stage.arguments(out),
            whole,
            draw=random.Random(f"{name} {chain}"),
            deaths=DEATHS,
            settings=stage.settings,
            after_death=nothing_that_is_not_whole,
        )
        assert contents(out) == expected
    print(f"{name}: {died} deaths; {whole.changes} changes of files, {whole.seconds:.1f} s undisturbed")
    assert died >= CHAINS


def study_of(folder: Path) -> list[str]:
    """The arguments of `make study` for a tiny model in the folder."""
    tiny_model(folder / "model", family="gemma3", layers=6)
    write_segments(folder / "segments")
    return [str(folder / "model"), *("--languages", "en", "hi", "--segments", "segments", "--name", "some")]


def real_of(folder: Path) -> list[str]:
    """The arguments of `make real` with a folder that has all it looks for."""
    names = ["model/config.json", "model/model.safetensors", "model/tokenizer.json"]
    names += [f"{part}/{lang}.jsonl" for part in ("segments", "documents") for lang in LANGUAGES]
    names += [f"belebele/data/{flores(lang)}.jsonl" for lang in LANGUAGES]
    for name in names:
        (folder / "given" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "given" / name).write_text("{}")
    return ["real/sources.json", str(folder / "given")]


@pytest.mark.parametrize(
    ("function", "given", "path"),
    [
        pytest.param(
            "isogloss.new_study.__main__:main", study_of, Path("config/studies/some.yaml"), marks=pytest.mark.workflow
        ),
        ("isogloss.config.real_folder:main", real_of, Path("real/sources.json")),
    ],
    ids=["make study", "make real"],
)
def test_a_file_for_the_user_is_whole_or_not_there_at_whichever_write_its_command_dies(
    function: str, given: Callable[[Path], list[str]], path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    arguments = {"arguments": given(tmp_path)}
    with Lives(function.split(":")[0]) as lives:
        assert lives.live(function, arguments).status == 0
        expected = path.read_bytes()
        for change in count(1):
            shutil.rmtree(path.parts[0])
            life = lives.live(function, arguments, change=change)
            if life.status == 0:
                break
            assert life.status == -signal.SIGKILL, life.said
            assert not path.exists()
            assert lives.live(function, arguments).status == 0
            assert path.read_bytes() == expected
            assert list(path.parent.iterdir()) == [path]
    assert change > 3  # a folder, the file aside, in its place
