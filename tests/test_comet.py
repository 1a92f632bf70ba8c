import sys
from types import ModuleType, SimpleNamespace

import polars as pl
import pytest
import torch

from isogloss.bilingual.comet import score_comet
from isogloss.errors import IsoglossError
from isogloss.tables import read_table, table_metadata, write_table

KEYS = {"class": ["none", "en", "en"], "alpha": [0.0, 0.1, 0.1], "n_features": [0, 4, 4], "repeat": [0, 0, 1]}
SAID = {("none", 0, "es"): ["uno", "dos"], ("en", 0, "es"): ["dos", "dos"], ("en", 1, "es"): ["uno", "tres"]}
CHECKPOINT = {
    "state_dict": {"layer.weight": torch.ones(2), "ids": torch.arange(3)},
    "hyper_parameters": {"dropout": 0.1},
}
WORTH = {"uno": 0.5, "dos": 0.25, "tres": 0.75}


class Scorer:
    """COMET's interface; a hypothesis is worth what `WORTH` says, and its source and reference are looked at."""

    def __init__(self, parameters=("layer.weight",)):
        self.seen = []
        self.parameters = parameters

    def named_parameters(self):
        return [(name, None) for name in self.parameters]

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
        {**{key: KEYS[key][index] for key in KEYS}, "source": "en", "lang": lang, "segment": str(number)}
        | {"text": f"src{number}", "hypothesis": said, "reference": f"ref{number}"}
        for index, ((_, _, lang), texts) in enumerate(SAID.items())
        for number, said in enumerate(texts)
    ]
    write_table(tmp_path / "hypotheses.parquet", pl.DataFrame(rows))
    (tmp_path / "model" / "checkpoints").mkdir(parents=True)
    (tmp_path / "model/hparams.yaml").write_text("class_identifier: regression_metric\n")
    torch.save(CHECKPOINT, tmp_path / "model/checkpoints/model.ckpt")
    return tmp_path


@pytest.fixture
def load(monkeypatch):
    """Sets what COMET's `load_from_checkpoint` does."""

    def put(function):
        package = ModuleType("comet")
        package.load_from_checkpoint = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "comet", package)

    return put


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


def test_scores_are_means_over_sentences_and_in_the_summary_over_repeats(tables, load):
    scorer = Scorer()
    load(lambda path: scorer if path.endswith("model.ckpt") else None)
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


class Payload:
    """Code that a pickle runs where it is loaded as one."""

    def __reduce__(self):
        return (sys.exit, ("ran",))


def cut(path):
    path.write_bytes(path.read_bytes()[:700])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda path: path.write_bytes(b""), "holds no weights"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "holds no weights"),
        (cut, "holds no weights"),
        (lambda path: torch.save([1], path), "holds no weights"),
        (lambda path: torch.save({"state_dict": [1]}, path), "holds no weights"),
        (
            lambda path: torch.save({**CHECKPOINT, "callbacks": Payload()}, path),
            r"or code beside them \(UnpicklingError",
        ),
        (lambda path: torch.save({"state_dict": {}}, path), "has no weights"),
        (
            lambda path: torch.save({"state_dict": {"a": torch.tensor([1, torch.nan])}}, path),
            r"no numbers .* in a; fetch",
        ),
    ],
)
def test_a_damaged_checkpoint_is_one_line_and_runs_nothing(tables, load, change, sentence):
    load(lambda path: pytest.fail("COMET was given the file"))
    change(tables / "model/checkpoints/model.ckpt")
    with pytest.raises(IsoglossError, match=sentence):
        run(tables)


@pytest.mark.parametrize(
    "content", ["", "- 1", "{a", "a: 1", "class_identifier: 3", "a: !!python/name:os.system", "\0"]
)
def test_settings_that_name_no_comet_are_one_line(tables, content):
    (tables / "model/hparams.yaml").write_text(content)
    with pytest.raises(IsoglossError, match=r"hparams.yaml does not say which COMET model it is"):
        run(tables)


def test_what_comet_refuses_is_one_line(tables, load):
    def refuse(_):
        raise RuntimeError("Error(s) in loading state_dict:\n\tsize mismatch")

    load(refuse)
    with pytest.raises(
        IsoglossError, match=r"COMET cannot load it \(RuntimeError: Error\(s\) in loading state_dict:\)"
    ):
        run(tables)


def test_weights_that_comet_would_draw_at_random_are_named(tables, load):
    load(lambda _: Scorer(["layer.weight", "estimator.weight"]))
    with pytest.raises(IsoglossError, match=r"model.ckpt lacks estimator.weight; fetch it again"):
        run(tables)


def test_scores_that_are_no_numbers_are_refused(tables, load, monkeypatch):
    monkeypatch.setitem(WORTH, "uno", float("nan"))
    load(lambda _: Scorer())
    with pytest.raises(IsoglossError, match="scores that are no numbers"):
        run(tables)
