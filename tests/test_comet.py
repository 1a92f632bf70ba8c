import sys
from types import ModuleType, SimpleNamespace

import polars as pl
import pytest

from isogloss.bilingual.comet import score_comet
from isogloss.errors import IsoglossError
from isogloss.tables import read_table, table_metadata, write_table

KEYS = {"class": ["none", "en", "en"], "alpha": [0.0, 0.1, 0.1], "n_features": [0, 4, 4], "repeat": [0, 0, 1]}
SAID = {("none", 0, "es"): ["uno", "dos"], ("en", 0, "es"): ["dos", "dos"], ("en", 1, "es"): ["uno", "tres"]}
WORTH = {"uno": 0.5, "dos": 0.25, "tres": 0.75}


class Scorer:
    """COMET's interface; a hypothesis is worth what `WORTH` says, and its source and reference are looked at."""

    def __init__(self):
        self.seen = []

    def predict(self, samples, progress_bar):
        assert all(sample["src"].startswith("src") and sample["ref"].startswith("ref") for sample in samples)
        self.seen += samples
        return SimpleNamespace(scores=[WORTH[sample["mt"]] for sample in samples])


@pytest.fixture
def tables(tmp_path):
    """What `intervene` writes: two sentences into Spanish, none into English."""
    frame = pl.DataFrame(KEYS).join(pl.DataFrame({"lang": ["es", "all"]}), how="cross")
    frame = frame.with_columns(perplexity=pl.lit(2.0), comet=pl.lit(None, pl.Float64), n=pl.lit(9))
    write_table(tmp_path / "intervention.parquet", frame, {"study": "mini"})
    summary = frame.drop("repeat").unique(maintain_order=True)
    write_table(tmp_path / "summary.parquet", summary, {"study": "mini"})
    rows = [
        {**{key: KEYS[key][place] for key in KEYS}, "source": "en", "lang": lang, "segment": str(number)}
        | {"text": f"src{number}", "hypothesis": said, "reference": f"ref{number}"}
        for place, ((_, _, lang), texts) in enumerate(SAID.items())
        for number, said in enumerate(texts)
    ]
    write_table(tmp_path / "hypotheses.parquet", pl.DataFrame(rows))
    (tmp_path / "model" / "checkpoints").mkdir(parents=True)
    for name in ("hparams.yaml", "checkpoints/model.ckpt"):
        (tmp_path / "model" / name).touch()
    return tmp_path


def run(folder):
    score_comet(
        hypotheses=str(folder / "hypotheses.parquet"),
        unscored=str(folder / "intervention.parquet"),
        unscored_summary=str(folder / "summary.parquet"),
        model_folder=str(folder / "model"),
        intervention=str(folder / "scored.parquet"),
        intervention_summary=str(folder / "scored_summary.parquet"),
    )
    return read_table(folder / "scored.parquet"), read_table(folder / "scored_summary.parquet")


def test_scores_are_means_over_sentences_and_in_the_summary_over_repeats(tables, monkeypatch):
    scorer, package = Scorer(), ModuleType("comet")
    package.load_from_checkpoint = lambda path: scorer if path.endswith("model.ckpt") else None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "comet", package)
    table, summary = run(tables)
    into = table.filter(lang="es")
    assert into["comet"].to_list() == [37.5, 25.0, 62.5]
    assert table.filter(lang="all")["comet"].null_count() == 3
    assert summary.filter(lang="es")["comet"].to_list() == [37.5, 43.75]
    assert len(scorer.seen) == 4  # each distinct triple once
    before = read_table(tables / "intervention.parquet")
    assert table.drop("comet").equals(before.drop("comet"))
    assert table.columns == before.columns
    assert table_metadata(tables / "scored.parquet") == {"study": "mini"}


def test_without_comet_its_environment_is_named(tables, monkeypatch):
    monkeypatch.setitem(sys.modules, "comet", None)
    with pytest.raises(IsoglossError, match="--software-deployment-method conda"):
        run(tables)


@pytest.mark.parametrize("part", ["hparams.yaml", "checkpoints/model.ckpt"])
def test_a_folder_without_the_model_is_named(tables, part):
    (tables / "model" / part).unlink()
    with pytest.raises(IsoglossError, match="no COMET model"):
        run(tables)


def test_no_translations_is_an_error(tables):
    path = tables / "hypotheses.parquet"
    write_table(path, read_table(path).clear())
    with pytest.raises(IsoglossError, match="no translations to score"):
        run(tables)
