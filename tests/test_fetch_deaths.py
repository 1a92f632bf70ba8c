"""Fetches that die within a file, and at any other moment: started again they leave what an undisturbed one leaves."""

import gzip
import json
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import hub as server
from deaths import Lives
from hub import Hub
from isogloss.config.model import Shape
from isogloss.config.pretrained import Neuronpedia, Saes, Source
from isogloss.config.text import DocumentSource
from standins import tiny_gemma2
from test_fetch_model import SHAPE
from test_fetch_neuronpedia import PREFIX
from test_fetch_sae import GEMMA_SCOPE, ID, LAYER, gemma_scope

BROKEN_AT = 11 << 20  # bytes; huggingface_hub writes 10 MiB at a time
CHAINS, DEATHS = 3, 5


class Fetch(NamedTuple):
    """A stage that fetches, what it leaves and what it needs of the Hub."""

    function: str
    arguments: dict[str, Any]
    large: str  # end of the path of a file of over 11 MiB


def model(hub: Hub, folder: Path) -> Fetch:
    upstream = tiny_gemma2(folder / "upstream")
    weights = load_file(upstream / "model.safetensors")
    save_file(weights | {"more": torch.randn(3 << 20)}, upstream / "model.safetensors", {"format": "pt"})
    commit = hub.add("someone/gemma", upstream)
    source = Source(id="someone/gemma", revision=commit)
    arguments = {"source": source, "architecture": Shape(**SHAPE), "output": str(folder / "out" / "lm")}
    return Fetch("isogloss.sources.model:fetch_model", arguments, "model.safetensors")


def sae(hub: Hub, folder: Path) -> Fetch:
    draw = np.random.default_rng(0)
    width, features = 32, 48_000
    shapes = {"w_enc": (width, features), "w_dec": (features, width), "b_enc": features, "threshold": features}
    arrays = {name: draw.uniform(0.1, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    hub.add(GEMMA_SCOPE, gemma_scope(folder / "upstream", **arrays))
    saes = Saes.model_validate({"ids": {LAYER: ID}, "release": "gemma-scope-2b-pt-res", "source": {"id": GEMMA_SCOPE}})
    arguments = {"saes": saes, "sae_id": ID, "layer": LAYER, "d_model": width, "model": None}
    return Fetch(
        "isogloss.sources.saes.fetch:fetch_sae", {**arguments, "output": str(folder / "out" / "sae")}, "params.npz"
    )


def exports(hub: Hub, folder: Path) -> Fetch:
    draw = random.Random(0)
    for number in range(4):
        noise = draw.randbytes(6 << 20 if number == 2 else 10_000).hex()
        row = json.dumps({"index": str(number), "noise": noise})
        hub.objects[f"{PREFIX}batch-{number}.jsonl.gz"] = gzip.compress(row.encode(), 0, mtime=0)
    settings = Neuronpedia(url=hub.url, folder=None, model="gemma-2-2b")
    arguments = {"neuronpedia": settings, "source": "12-gemmascope-res-16k", "output": str(folder / "out" / "exports")}
    arguments["downloads"] = str(folder / "out" / ".downloads")
    return Fetch("isogloss.sources.exports:fetch_exports", arguments, "batch-2.jsonl.gz")


def documents(hub: Hub, folder: Path) -> Fetch:
    (folder / "upstream").mkdir()
    draw = random.Random(0)
    for number in range(3):
        texts = [draw.randbytes(700).hex() for _ in range(9_000 if number == 1 else 10)]
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (folder / "upstream" / f"train-{number}.jsonl").write_text(lines)
    hub.add("someone/texts", folder / "upstream", "datasets")
    source = DocumentSource(id="someone/texts", files="train-*.jsonl", column="text")
    arguments = {"source": source, "lang": "en", "documents": 20_000, "metadata": {"study": "test"}}
    arguments["output"] = str(folder / "out" / "en.parquet")
    return Fetch("isogloss.sources.documents:fetch_documents", arguments, "train-1.jsonl")


def contents(folder: Path) -> dict[str, bytes]:
    """What is below a folder, behind its links too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.long
@pytest.mark.parametrize("kind", [model, sae, exports, documents])
def test_a_fetch_that_dies_goes_on_and_leaves_the_files_of_an_undisturbed_one(
    kind: Callable[[Hub, Path], Fetch], tmp_path: Path
):
    out, cache = tmp_path / "out", tmp_path / "cache"

    def afresh() -> None:
        for folder in (out, cache):
            shutil.rmtree(folder, ignore_errors=True)

    with server.serving() as hub:
        fetch = kind(hub, tmp_path)
        environment = server.environment(hub.url, cache, HF_HUB_OFFLINE="0")
        with Lives(fetch.function.split(":")[0], environment=environment) as lives:
            whole = lives.live(fetch.function, fetch.arguments)
            assert whole.status == 0, whole.said
            expected = contents(out)
            assert expected

            # Within the large file, twice.
            afresh()
            for size in (1 << 20, BROKEN_AT):
                hub.hanging.clear()
                hub.hang[fetch.large] = size
                life = lives.live(fetch.function, fetch.arguments, signalled=hub.hanging)
                assert life.status == -signal.SIGKILL, life.said
                assert not Path(fetch.arguments["output"]).exists()
            hub.hang.clear()
            hub.asked.clear()
            assert lives.live(fetch.function, fetch.arguments).status == 0
            assert contents(out) == expected
            assert len(hub.gets(fetch.large)) == 1
            others = [path for method, path, _ in hub.asked if method == "GET" and path.endswith(".jsonl.gz")]
            assert kind is not exports or len(others) == 2  # the large one and the one behind it

            # Anywhere.
            died = 0
            for chain in range(CHAINS):
                afresh()
                draw = random.Random(f"{kind.__name__} {chain}")
                died += lives.die_until_done(fetch.function, fetch.arguments, whole, draw=draw, deaths=DEATHS)
                assert contents(out) == expected
            print(
                f"{kind.__name__}: {died} deaths; {whole.changes} changes of files, {whole.seconds:.1f} s undisturbed"
            )
            assert died >= CHAINS
