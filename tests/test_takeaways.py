"""What figures of paper A and the planted truth show in a sentence: short, computed, said where there is nothing."""

import polars as pl
import pytest

from isogloss.report import wanted
from isogloss.report.catalogue import BETWEEN_FIGURES, FIGURES
from isogloss.report.entry import Takeaway, load
from isogloss.report.shared.context import Context
from synthetic import SHARES, compared, make_tables, settings
from synthetic_alignment import make_losses

CONFIG = settings()
MOST_WORDS = 28  # an interval is two
PLANTED = [name for name, entry in BETWEEN_FIGURES.items() if entry.takeaway and "planted" in entry.takeaway]
PAPER_A = [name for name, entry in FIGURES.items() if entry.takeaway and entry.category[0] in "1234"]


def said(name: str, config: dict | None = None, model: str = "skewed", **changed: pl.DataFrame) -> Takeaway:
    config = config or CONFIG
    context = Context(model, wanted.figure_settings(config))
    tables = make_tables(config, model) | make_losses(config) | changed
    return load(FIGURES[name].takeaway)(tables, context)


def whole(takeaway: Takeaway) -> bool:
    text = takeaway.text
    return (text[0].isdigit() or text[0].isupper()) and text.endswith(".") and len(text.split()) <= MOST_WORDS


def test_every_figure_of_paper_a_and_the_planted_truth_has_one():
    assert [name for name, entry in FIGURES.items() if entry.category[0] in "1234" and not entry.takeaway] == []
    assert PLANTED == ["planted_truth", "planted_truth_languages", "gap_accuracy_worlds"]


@pytest.mark.parametrize("name", PAPER_A)
def test_one_short_whole_sentence_and_of_how_many(name):
    takeaway = said(name)
    assert whole(takeaway), takeaway
    assert any(digit in takeaway.n for digit in "0123456789")


@pytest.mark.parametrize("name", PAPER_A)
@pytest.mark.parametrize(("layers", "languages"), [(1, ("en", "es", "ml")), (26, tuple(SHARES))])
def test_one_layer_and_one_pair_or_many(name, layers, languages):
    config = settings(layers, languages)
    if name not in wanted.figures_of(config, "skewed"):
        return
    assert whole(said(name, config))
    tables = make_tables(config, "skewed")
    pair = {one: tables[one] for one in FIGURES[name].tables if one in tables and "lang" in tables[one].columns}
    assert whole(
        said(name, config, **{one: frame.filter(pl.col("lang").is_in(["en", "ml"])) for one, frame in pair.items()})
    )


@pytest.mark.parametrize("name", PAPER_A)
def test_undefined_values_are_said_not_raised(name):
    tables = make_tables(CONFIG, "skewed") | make_losses(CONFIG)
    names = list(CONFIG["alignment"]["runs"]) if FIGURES[name].loss else FIGURES[name].tables
    keys = {"layer", "lang", "lang_a", "lang_b", "task", "taught", "run", "variant", "group", "adapter", "step", "n"}
    kept = {one for one in tables["language_gap"].columns if one.startswith("n_")} | keys
    empty = {
        one: tables[one].with_columns(
            pl.lit(None, dtype=kind).alias(column)
            for column, kind in tables[one].schema.items()
            if kind.is_float() and column not in kept
        )
        for one in names
    }
    if name != "accuracy_by_teaching":  # an accuracy is never undefined
        assert whole(said(name, **empty))
    assert whole(said(name, **{one: tables[one].clear() for one in names}))


def test_the_corrected_gap_leads_and_what_the_reference_adds_is_said():
    frame = pl.DataFrame(
        {
            "layer": [0, 1, 0, 1],
            "variant": ["without_reference"] * 2 + ["with_reference"] * 2,
            "gap_pct": [10.0, 20.0, 30.0, 50.0],
            "ci_low": [-1.0, 15.0, 20.0, 40.0],
            "ci_high": [12.0, 25.0, 40.0, 60.0],
            "n_features": [80] * 4,
            "n_phrases": [300] * 4,
        }
    )
    takeaway = said("group_gap", group_gap=frame)
    assert takeaway.text == (
        "Without English the groups' gap (15.0 % on average) is above zero in 1 of 2 layers; with English it is 25.0"
        " points larger."
    )
    assert takeaway.n == "2 layers, 80 features, 300 phrases"


def test_transfer_is_shown_only_where_its_interval_excludes_zero():
    frame = make_tables(CONFIG, "skewed")["accuracy_by_teaching"]
    assert said("accuracy_by_teaching").text.endswith("transfer is shown in 3 of 3 tasks.")
    null = frame.with_columns(accuracy=pl.lit(0.5))
    assert said("accuracy_by_teaching", accuracy_by_teaching=null).text.endswith("no transfer is shown.")
    taught = frame.filter(pl.col("taught") != "none")
    assert "cannot be told" in said("accuracy_by_teaching", accuracy_by_teaching=taught).text


def test_gap_and_accuracy_have_r_within_scripts_beside_r():
    text = said("gap_accuracy_correlation").text
    assert "r = −0.90 [−0.98, −0.60]" in text
    assert "within scripts r is" in text
    across = make_tables(CONFIG, "skewed")["gap_accuracy_correlation"].with_columns(ci_high=pl.lit(0.1))
    assert "no relation" in said("gap_accuracy_correlation", gap_accuracy_correlation=across).text


@pytest.mark.parametrize("name", PLANTED)
def test_the_planted_truth_says_the_papers_gap_and_one_seed(name, tmp_path):
    tables = compared(tmp_path, CONFIG, {"skewed": 20.0, "equal": 0.0})
    context = Context("", wanted.figure_settings(CONFIG))
    takeaway = load(BETWEEN_FIGURES[name].takeaway)
    one = takeaway(tables, context)
    assert whole(one), one
    assert ("9 languages" if name == "gap_accuracy_worlds" else "1 seed") in one.n
    nothing = {one: frame.clear() for one, frame in tables.items()}
    assert whole(takeaway(nothing, context))
    if name == "planted_truth":
        assert "one seed cannot show" in one.text
        assert "the papers' gap among them" in one.text
        truth = tables["comparison/planted_truth"]
        seeds = truth.with_columns(
            n_seeds=pl.lit(3, pl.Int32),
            reason=pl.lit(None, pl.String),
            verdict=pl.when(pl.col("measure").str.contains("retrieval"))
            .then(pl.lit("passes"))
            .otherwise(pl.lit("fails")),
        )
        text = takeaway({**tables, "comparison/planted_truth": seeds}, context).text
        assert text.endswith("; the papers' gap fails.")
        assert text.split(" of ")[0].isdigit()
