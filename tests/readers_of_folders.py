"""Readers of foreign folders, as `readers.py`: one file of a whole folder is damaged, or one answer of the Hub."""

import atexit
import json
import shutil
import struct
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save

import damage
import hub as server
import standin_tasks
from isogloss.config.pretrained import Source
from isogloss.models.loading import load_tokenizer
from isogloss.models.weights import kinds_of, shards_of
from isogloss.sources import lm_eval_tasks
from isogloss.sources.cards import read_card
from isogloss.sources.conversion import weight_files
from isogloss.sources.data_sets import read_configuration
from isogloss.sources.hub import hub_repository, licence_of, open_repository, write_record
from isogloss.sources.model import read_shape
from readers import Reader
from standins import tiny_gemma2

TEXT = "The currency of Austria is Euro"
_made = ExitStack()
atexit.register(_made.close)


@cache
def whole(make: Callable[[Path], Any]) -> Path:
    """The folder that `make` makes, once a process."""
    folder = Path(_made.enter_context(tempfile.TemporaryDirectory())) / "whole"
    make(folder)
    return folder


def beside(folder: Path, make: Callable[[Path], Any], damaged: str) -> Path:
    """`folder` with links to all files of a whole one but the damaged one."""
    for path in whole(make).rglob("*"):
        name = path.relative_to(whole(make))
        link = folder / name
        if path.is_file() and str(name) != damaged and not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    return folder


def object_of(make: Callable[[Path], Any], name: str) -> Callable[[Random], bytes]:
    """The JSON object in a file of a whole folder, damaged."""

    def damaged(rng: Random) -> bytes:
        value = json.loads((whole(make) / name).read_text(encoding="utf-8"))
        for _ in range(rng.choice([1, 1, 2])):
            value = damage.mutated(value, rng)
        return damage.in_bytes(damage.as_json(value, rng), rng)

    return damaged


def bytes_of(make: Callable[[Path], Any], name: str) -> Callable[[Random], bytes]:
    return lambda rng: damage.broken((whole(make) / name).read_bytes(), rng)


def _model(folder: Path) -> None:
    tiny_gemma2(folder, layers=2)


def _sharded(folder: Path) -> None:
    tiny_gemma2(folder, layers=2)
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": {"a.weight": "model-1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _read_tokenizer(name: str) -> Callable[[Path], Iterable[Any]]:
    def read(folder: Path) -> Iterable[Any]:
        tokenizer = load_tokenizer(beside(folder, _model, name))
        assert 0 <= tokenizer.bos_token_id < len(tokenizer)
        return tokenizer(TEXT)["input_ids"]

    return read


def _read_shape(folder: Path) -> Iterable[Any]:
    return read_shape(beside(folder, _model, "config.json") / "config.json", str(folder)).values()


def _read_index(folder: Path) -> Iterable[Any]:
    files, _ = weight_files(open_repository(Source(folder=str(beside(folder, _sharded, INDEX)))))
    return [*files, *shards_of(folder / INDEX, str(folder))]


INDEX = "model.safetensors.index.json"
TENSORS = {"a.weight": torch.zeros(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}


def safetensors_of(tensors: Mapping[str, torch.Tensor], rng: Random) -> bytes:
    """A file whose header says other things than its bytes."""
    content = save(dict(tensors))
    length = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    if rng.random() < 0.3:
        return damage.broken(content, rng)
    text = damage.in_bytes(damage.as_json(damage.mutated(header, rng), rng), rng)
    said = rng.choice([len(text)] * 8 + [0, 1, 2**31, 2**63, 2**64 - 1])
    return struct.pack("<Q", said) + text + data


HEAD = {
    "license": "other",
    "license_name": "llama3.1",
    "language": ["en", "es"],
    "configs": [{"config_name": "default", "data_files": [{"split": "test", "path": "*.jsonl"}]}],
}
YAML = [
    "*a",
    "&a [*a]",
    "!!int x",
    "!!python/name:os.system",
    "2024-02-30",
    "9:9:9",
    "? [a]",
    "<<: 1",
    "\t- a",
    "'",
    "|",
    "no",
]


def _card(rng: Random) -> bytes:
    text = yaml.safe_dump(damage.mutated(HEAD, rng), allow_unicode=rng.random() < 0.5)
    if rng.random() < 0.3:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(YAML) + text[at:]
    return damage.lines(f"---\n{text}---\n# A model\n".encode("utf-8", "surrogatepass"), rng)


def _read_card(folder: Path) -> Iterable[Any]:
    licence = licence_of(open_repository(Source(folder=str(folder))))
    write_record(folder, {}, licence=licence)
    assert json.loads((folder / "fetched.json").read_text(encoding="utf-8"))["licence"] == licence
    return [*map(str, read_card(folder / "README.md").keys() & HEAD.keys()), licence]


FLORES = {"en": "eng_Latn", "es": "spa_Latn"}


def _data(folder: Path) -> None:
    standin_tasks.belebele(folder, FLORES)


def _data_in_json(folder: Path) -> None:
    """Questions as one array, without a card."""
    _data(folder / "lines")
    (folder / "spa_Latn.json").write_text(json.dumps(_rows_of(folder / "lines" / LINES)))
    shutil.rmtree(folder / "lines")


def _rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _json(rng: Random) -> bytes:
    """Rows as an array, as lines, or as columns, damaged."""
    rows = _rows_of(whole(_data) / LINES)
    if rng.random() < 0.4:
        return damage.json_lines(rows, rng)
    value = rows if rng.random() < 0.6 else {key: [row[key] for row in rows] for key in rows[0]}
    return damage.in_bytes(damage.as_json(damage.mutated(value, rng), rng), rng)


LINES = "data/spa_Latn.jsonl"


def _read_data(name: str, make: Callable[[Path], None] = _data) -> Callable[[Path], Iterable[Any]]:
    """The splits of a data set as lm-eval's tasks take them."""

    def read(folder: Path) -> Iterable[Any]:
        scratch = folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        repository = open_repository(Source(folder=str(beside(folder / "data set", make, name))), "dataset")
        splits, _ = read_configuration(repository, "spa_Latn", None, scratch, "the task")
        return [len(rows) for rows in splits.values()]

    return read


def _task(folder: Path) -> None:
    """As `fetch_tasks` leaves it, which looks through all of lm-eval's definitions."""
    part = {"task": "belebele_spa_Latn", "file": "belebele/belebele_spa_Latn.yaml", "overrides": {}, "data": "0"}
    about = {"languages": {"es": {"name": part["task"], "parts": [part]}}, "parallel": True, "id_column": None}
    folder.mkdir()
    (folder / lm_eval_tasks.LISTED).write_text(json.dumps(about))


def _questions(rng: Random) -> bytes:
    return damage.parquet(_rows_of(whole(_data) / LINES), rng)


def _read_task(folder: Path) -> Iterable[Any]:
    lm_eval_tasks._documents.cache_clear()
    for name, prompt, choices, answer in lm_eval_tasks.asked_in_words(beside(folder, _task, QUESTIONS), "es"):
        assert answer < len(choices)
        yield from (name, prompt, *choices, answer)


QUESTIONS = "es/0/test.parquet"
PUBLISHED = {"config.json": b"{}", "data/a.jsonl": b'{"a": 1}\n', "model.safetensors": bytes(300)}


@cache
def _hub() -> server.Hub:
    running = _made.enter_context(server.serving())
    folder = Path(_made.enter_context(tempfile.TemporaryDirectory()))
    for name, content in PUBLISHED.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    running.add("someone/small", folder)
    return running


@contextmanager
def _asked(folder: Path) -> Iterator[server.Hub]:
    """A running Hub, an empty cache, and no waiting."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tempfile.mkdtemp(dir=folder)  # huggingface_hub remembers what it read in each
        server.redirect(patch, _hub().url, Path(cache))
        patch.setattr(time, "sleep", lambda _: None)
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield _hub()
        _hub().answer = None
        shutil.rmtree(cache)
    server.forget()


def _hub_answer(what: str) -> Callable[[Random], bytes]:
    def damaged(rng: Random) -> bytes:
        value: Any
        if what == "revision":
            siblings = [{"rfilename": name} for name in PUBLISHED]
            value = {"id": "someone/small", "sha": "0" * 40, "siblings": siblings, "tags": ["en"], "private": False}
            value |= {"lastModified": "2024-01-01T00:00:00.000Z", "cardData": {"license": "mit"}, "gated": False}
        else:
            value = [{"type": "file", "path": name, **server._blob(name, text)} for name, text in PUBLISHED.items()]
            value.append({"type": "directory", "path": "data", "oid": "0" * 40, "size": 0})
        return damage.in_bytes(damage.as_json(damage.mutated(value, rng), rng), rng)

    return damaged


def _read_hub(what: str) -> Callable[[Path], Iterable[Any]]:
    def read(folder: Path) -> Iterable[Any]:
        content = (folder / "small").read_bytes()
        kind = {"Content-Type": "application/json"}
        with _asked(folder) as hub:
            hub.answer = lambda _, path: (200, content, kind) if f"/{what}/" in path else None
            repository = hub_repository("someone/small", "main")
            listing = repository.listing or ()
            if what == "tree":
                for name, path in repository.take([name for name in PUBLISHED if repository.has(name)]).items():
                    assert path.read_bytes() == PUBLISHED[name]
        return [repository.commit, *listing]

    return read


READERS = {
    "model config": Reader("config.json", object_of(_model, "config.json"), _read_shape),
    "tokenizer.json": Reader("tokenizer.json", object_of(_model, "tokenizer.json"), _read_tokenizer("tokenizer.json")),
    "tokenizer_config": Reader(
        "tokenizer_config.json",
        object_of(_model, "tokenizer_config.json"),
        _read_tokenizer("tokenizer_config.json"),
    ),
    "weights index": Reader(INDEX, object_of(_sharded, INDEX), _read_index),
    "safetensors": Reader(
        "a.safetensors",
        lambda rng: safetensors_of(TENSORS, rng),
        lambda folder: kinds_of(folder / "a.safetensors", str(folder)),
    ),
    "card": Reader("README.md", _card, _read_card),
    "data set": Reader(
        f"data set/{LINES}",
        lambda rng: damage.json_lines(_rows_of(whole(_data) / LINES), rng),
        _read_data(LINES),
    ),
    "data set in .json": Reader("data set/spa_Latn.json", _json, _read_data("spa_Latn.json", _data_in_json)),
    "data set's card": Reader(
        "data set/README.md",
        lambda rng: damage.lines((whole(_data) / "README.md").read_bytes(), rng),
        _read_data("README.md"),
    ),
    "task": Reader(QUESTIONS, _questions, _read_task),
    "hub": Reader("small", _hub_answer("revision"), _read_hub("revision")),
    "hub's files": Reader("small", _hub_answer("tree"), _read_hub("tree")),
}
