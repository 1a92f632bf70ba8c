"""`capture` and `encode` with their threads, as beside a GPU: the bits, errors and files of the plain way."""

import errno
import threading
from functools import partial
from pathlib import Path

import polars as pl
import pytest
import torch
from torch.testing import assert_close

from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.models import batching
from isogloss.residuals import capture as capturing
from isogloss.residuals import pooling
from isogloss.sae import encode as encoding
from isogloss.tables import TableWriter, read_table, table_metadata, write_table
from standins import TEXTS, tiny_sae

STAGES = ["capture", "encode"]
LANGS = ["es", "hi", "zh"]
VALUES = {
    "capture": ["pooled"],
    "encode": ["activation", "pre_activation", "shuffled_activation", "random_activation"],
}


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.fixture(scope="module")
def study(lm_folder, tmp_path_factory) -> dict[str, Path]:
    """A model, an SAE a layer, and three languages' phrases: texts that come again, in later groups too, and none."""
    folder = tmp_path_factory.mktemp("study")
    for layer in range(3):
        kind = ["topk", "jumprelu", "jumprelu"][layer]
        cfg = tiny_sae(folder / "sae" / f"layer_{layer}", kind=kind, seed=layer) / "cfg.json"
        cfg.write_text(cfg.read_text().replace("blocks.0.hook", f"blocks.{layer}.hook"))
    for number, lang in enumerate(LANGS):
        owners = [(layer, feature) for layer in range(3) for feature in range(0, 64, 4) for _ in range(2)]
        texts = [
            TEXTS[row % 6] if row % 3 == 0 else " ".join([*TEXTS[row % 5].split()[: 1 + row % 7], str(row + number)])
            for row in range(len(owners))
        ]
        frame = pl.DataFrame(
            {
                "phrase": range(len(owners)),
                "layer": [layer for layer, _ in owners],
                "feature": [feature for _, feature in owners],
                "text": [None if row % 11 == number else text for row, text in enumerate(texts)],
                "ids": None,
                "chrf": None,
            },
            schema_overrides={
                "phrase": pl.Int64, "layer": pl.Int32, "feature": pl.Int32, "text": pl.String,
                "ids": pl.List(pl.Int32), "chrf": pl.Float32,
            },
        )  # fmt: skip
        write_table(folder / f"{lang}.parquet", frame)
    return {"lm": lm_folder, "sae": folder / "sae"} | {lang: folder / f"{lang}.parquet" for lang in LANGS}


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads as beside a GPU, with the groups of the CPU and small tables of phrases."""
    for module in (batching, capturing, encoding):
        monkeypatch.setattr(module, "beside_gpu", lambda: True)
    for module in (capturing, encoding):
        monkeypatch.setattr(module, "_BUDGETS_BESIDE", 2)


@pytest.fixture(autouse=True)
def many_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (capturing, encoding):
        monkeypatch.setattr(module, "_PHRASES", 8)
        monkeypatch.setattr(module, "_BUDGETS", 2)
    monkeypatch.setattr(capturing, "_ROWS", 12)


def run(study: dict[str, Path], stage: str, folder: Path, **changes) -> dict[str, pl.DataFrame]:
    langs = [lang for lang in LANGS if lang in study]
    common = {"lm": str(study["lm"]), "adapter": None, "layers": [0, 1, 2], "metadata": {}}
    common |= {"compute": Compute(token_budget=100), "outputs": {lang: f"{folder}/{lang}.parquet" for lang in langs}}
    if stage == "capture":
        translations = {lang: [str(study[lang])] for lang in langs}
        capturing.capture(**{**common, "translations": translations, "feature_stride": 1, **changes})
    else:
        translations = {lang: str(study[lang]) for lang in langs}
        encoding.encode(**{**common, "translations": translations, "sae": str(study["sae"]), "seed": 0, **changes})
    return {lang: read_table(folder / f"{lang}.parquet") for lang in langs}


@pytest.fixture(scope="module")
def plain(study, tmp_path_factory) -> dict[str, dict[str, pl.DataFrame]]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (capturing, encoding):
            patch.setattr(module, "_PHRASES", 8)
            patch.setattr(module, "_BUDGETS", 2)
        return {stage: run(study, stage, tmp_path_factory.mktemp(stage)) for stage in STAGES}


@pytest.mark.parametrize("stage", STAGES)
def test_threads_change_no_bit(study, plain, beside, tmp_path, stage):
    found = run(study, stage, tmp_path)
    assert found["es"].height == {"capture": 3 * 96, "encode": 96}[stage]
    for lang in LANGS:
        assert found[lang].equals(plain[stage][lang])
        assert found[lang][VALUES[stage][0]].null_count() > 0
        assert table_metadata(tmp_path / f"{lang}.parquet")["kernels"]["attention"] == "transformers"


@pytest.mark.parametrize("stage", STAGES)
def test_the_batches_and_groups_of_a_gpu_change_nothing(study, plain, beside, tmp_path, monkeypatch, stage):
    monkeypatch.setattr(batching, "make_batches", partial(batching.make_batches, fixed=40))
    for module in (capturing, encoding):
        monkeypatch.setattr(module, "_BUDGETS_BESIDE", 1)
    found = run(study, stage, tmp_path)
    for lang in LANGS:
        rest = pl.exclude(VALUES[stage])
        assert found[lang].select(rest).equals(plain[stage][lang].select(rest))
        for name in VALUES[stage]:
            mine, expected = (frame[name].drop_nulls().to_numpy() for frame in (found[lang], plain[stage][lang]))
            assert_close(mine, expected, atol=1e-5, rtol=1e-5)


def failing(function, number: int, error: BaseException):
    """`function`, which raises `error` the `number`-th time."""
    calls = iter(range(1, 10**6))

    def sometimes(*arguments, **keywords):
        if next(calls) == number:
            raise error
        return function(*arguments, **keywords)

    return sometimes


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("stage", STAGES)
def test_memory_that_runs_out_changes_nothing(study, plain, beside, tmp_path, monkeypatch, stage):
    module = {"capture": pooling, "encode": encoding}[stage]
    visit, sizes = module.visit_residuals, []

    def scarce(model, batch, layers, reader):
        sizes.append(batch.input_ids.numel())
        if sizes[-1] > 60:
            raise torch.OutOfMemoryError("no room")
        visit(model, batch, layers, reader)

    monkeypatch.setattr(module, "visit_residuals", scarce)
    found = run(study, stage, tmp_path)
    assert max(sizes) > 60
    for lang in LANGS:
        for name in VALUES[stage]:
            mine, expected = (frame[name].drop_nulls().to_numpy() for frame in (found[lang], plain[stage][lang]))
            assert_close(mine, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", [5])
def test_an_error_of_the_forward_ends_the_job(study, beside, tmp_path, monkeypatch, stage, number):
    module = {"capture": pooling, "encode": encoding}[stage]
    error = RuntimeError("CUDA error: unspecified launch failure")
    monkeypatch.setattr(module, "visit_residuals", failing(module.visit_residuals, number, error))
    with pytest.raises(RuntimeError, match="unspecified launch failure"):
        run(study, stage, tmp_path)
    assert files(tmp_path) == []


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("lang", ["es", "zh"])
def test_a_text_that_cannot_be_read_is_named_whatever_its_language(study, beside, tmp_path, stage, lang):
    frame = read_table(study[lang])
    empty = pl.when(pl.col("phrase") == 90).then(pl.lit("")).otherwise(pl.col("text")).alias("text")
    write_table(tmp_path / "empty" / "table.parquet", frame.with_columns(empty))
    with pytest.raises(IsoglossError, match=f"language {lang}, phrase 90: empty text"):
        run(study | {lang: tmp_path / "empty" / "table.parquet"}, stage, tmp_path / "out")
    assert f"{lang}.parquet" not in files(tmp_path / "out")
    assert all(not name.startswith(".") for name in files(tmp_path / "out"))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", [4])
def test_a_disk_that_is_full_is_one_line(study, beside, tmp_path, monkeypatch, stage, number):
    error = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(TableWriter, "write", failing(TableWriter.write, number, error))
    with pytest.raises(IsoglossError, match=r"es\.parquet: the disk is full, nothing was written; free some space"):
        run(study, stage, tmp_path)
    assert files(tmp_path) == []


def test_a_stream_that_is_not_finite_is_named(study, beside, tmp_path, monkeypatch):
    """The last batch's check comes too, and the phrase is the first that is broken, not the first that was seen."""
    visit = pooling.visit_residuals

    def broken(model, batch, layers, reader):
        longest = batch.content.sum(dim=1) > 12
        visit(
            model,
            batch,
            layers,
            lambda layer, residual: reader(
                layer, residual.masked_fill(longest[:, None, None], torch.nan) if layer == 1 else residual
            ),
        )

    for module in (pooling, encoding):
        monkeypatch.setattr(module, "visit_residuals", broken)
    for stage, what in (("capture", "residual"), ("encode", "activation")):
        with pytest.raises(IsoglossError, match=rf"layer 1, language es, phrase \d+: the {what} is not finite"):
            run(study, stage, tmp_path)
        assert files(tmp_path) == []
