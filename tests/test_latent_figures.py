"""Figures, tables and sentences of paper B: values are the tables', from two languages to all of Belebele's."""

import re
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from scipy.stats import t

from isogloss.languages import language_table
from isogloss.report import wanted
from isogloss.report.catalogue import FIGURES, TABLES
from isogloss.report.entry import load
from isogloss.report.figures.labels import spread
from isogloss.report.figures.scripts import blocks, by_script
from isogloss.report.findings import latent as findings
from isogloss.report.findings import steering as steering_findings
from isogloss.report.shared.answered import with_counts
from isogloss.report.shared.context import Context
from isogloss.report.shared.leanings import leanings
from isogloss.report.shared.means import over_languages
from isogloss.report.shared.steered import beyond_random, shown_setting
from isogloss.report.tables.html import render
from synthetic import SHARES, settings
from synthetic_latent import bounded, latent_tables

CONFIG = settings()
TEN, ALL = tuple(SHARES), tuple(language_table())
CONTEXT = Context("skewed", wanted.figure_settings(CONFIG))
NAMES = [name for name, entry in FIGURES.items() if "latent" in entry.needs.analyses]


def draw(name: str, tables: dict[str, pl.DataFrame], **changed: pl.DataFrame) -> Figure:
    return load(FIGURES[name].drawing)(tables | changed, CONTEXT)


def text_boxes(axes) -> list:
    return [text.get_window_extent() for text in axes.texts if isinstance(text, Annotation) and text.get_text()]


@pytest.fixture(scope="module")
def ten() -> dict[str, pl.DataFrame]:
    return latent_tables(TEN, (1, 5, 9, 13))


@pytest.fixture(scope="module")
def every() -> dict[str, pl.DataFrame]:
    """As many languages as there are; three tasks."""
    return latent_tables(ALL, (1, 13, 25), tasks=("belebele", "mmmlu", "hellaswag"), gammas=(-2.0, 2.0))


@pytest.mark.parametrize("name", NAMES)
def test_draws_two_languages_one_layer(name):
    draw(name, latent_tables(("en", "hi"), (3,))).draw_without_rendering()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "latent_by_teaching"])
def test_draws_every_language_within_a_bounded_size_and_without_overlapping_axes(name, every):
    figure = draw(name, every)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    assert width <= 8.4
    assert height <= 11
    shown = [axes.get_tightbbox() for axes in figure.axes if axes.get_visible() and axes.get_label() != "<colorbar>"]
    assert not [(a, b) for i, a in enumerate(shown) for b in shown[:i] if a.shrunk(0.97, 0.97).overlaps(b)]
    assert all(box.x1 <= 1.02 * figure.bbox.x1 and box.x0 >= -2 for box in shown)


@pytest.mark.parametrize("name", NAMES)
def test_tick_labels_do_not_overlap(name, ten):
    figure = draw(name, ten)
    figure.draw_without_rendering()
    for axes in figure.axes:
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            boxes = [label.get_window_extent() for label in labels if label.get_visible() and label.get_text()]
            assert not any(a.shrunk(0.9, 0.9).overlaps(b) for a, b in pairwise(boxes)), name


def test_undefined_values_leave_gaps_not_errors(ten):
    nothing = pl.lit(None, dtype=pl.Float64)
    empty = {
        name: frame.with_columns(
            [nothing.alias(c) for c in frame.columns if frame[c].dtype == pl.Float64 and not c.startswith(("pc", "ex"))]
        )
        for name, frame in ten.items()
    }
    empty["steering"] = empty["steering"].with_columns(gamma=ten["steering"]["gamma"])
    empty["steering_summary"] = empty["steering_summary"].with_columns(gamma=ten["steering_summary"]["gamma"])
    for name in NAMES:
        draw(name, empty).draw_without_rendering()


def test_languages_of_a_script_and_of_a_family_stand_together():
    codes = by_script(ALL)
    assert sorted(codes) == sorted(ALL)
    scripts = [language_table()[code].script for code in codes]
    assert len(list(dict.fromkeys(scripts))) == 1 + sum(a != b for a, b in pairwise(scripts))
    families = [(language_table()[code].script, language_table()[code].family) for code in codes]
    assert len(set(families)) == 1 + sum(a != b for a, b in pairwise(families))
    assert by_script(ALL[::-1]) == codes
    assert blocks(by_script(TEN))[0][0] == "Latin"
    runs = blocks(codes)
    assert [first for _, first, _ in runs] == [0, *(last + 1 for _, _, last in runs[:-1])]
    assert runs[-1][2] == len(ALL) - 1


def test_matrices_hold_the_tables_pairs_directed(ten):
    rows = {(a, b): v for a, b, v in ten["transfer"].select("lang_a", "lang_b", "positive_transfer").iter_rows()}
    axes = draw("transfer", ten).axes[0]
    matrix = np.ma.filled(axes.images[0].get_array(), np.nan)
    columns = [label.get_text() for label in axes.get_xticklabels()]
    lines = [label.get_text().split()[0] for label in axes.get_yticklabels()]
    assert columns == lines == CONTEXT.ordered(TEN)
    for i, a in enumerate(lines):
        for j, b in enumerate(columns):
            assert np.isnan(matrix[i, j]) if a == b else matrix[i, j] == pytest.approx(100 * rows[a, b])
    assert f"{100 * rows['es', 'it']:.0f}" in {text.get_text() for text in axes.texts}
    right = dict(ten["answers"].select("lang", "accuracy").iter_rows())
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"{a}  {400 * right[a]:.0f}" for a in lines]


def test_cells_that_rest_on_few_questions_are_hatched(ten):
    few = ten["answers"].with_columns(
        pl.when(pl.col("lang") == "hi").then(0.07).otherwise("accuracy").alias("accuracy")
    )
    counts = with_counts(ten["transfer"], few)
    assert set(counts.filter(pl.col("rests_on") < 30)["lang_a"]) == {"hi"}
    assert set(counts.filter(lang_a="hi")["rests_on"]) == {28}
    axes = draw("transfer", ten, answers=few).axes[0]
    assert len([patch for patch in axes.patches if patch.get_hatch()]) == len(TEN) - 1
    assert axes.get_xlabel() == "to\nhatched: fewer than 30 questions"
    assert not [patch for patch in draw("transfer", ten).axes[0].patches if patch.get_hatch()]


def test_a_pair_has_its_consistency_once(ten):
    matrix = np.ma.filled(draw("consistency", ten).axes[0].images[0].get_array(), np.nan)
    assert np.isfinite(matrix).sum() == len(TEN) * (len(TEN) - 1) / 2


def test_answers_are_sorted_with_the_tables_intervals(ten):
    axes = draw("answers", ten).axes[0]
    frame = ten["answers"].sort("accuracy", descending=True)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert [label.split("(")[1] for label in labels] == [f"{code}), n = 400" for code in frame["lang"]]
    drawn = []
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer):
            line, _, (bars,) = container.lines
            ((low, _), (high, _)) = bars.get_segments()[0]
            drawn.append((line.get_xdata()[0], low, high))
    np.testing.assert_allclose(drawn, 100 * frame.select("accuracy", "accuracy_low", "accuracy_high").to_numpy())
    assert [label.get_fontweight() for label in axes.get_yticklabels()].count("bold") == 1


def test_mean_over_languages_has_students_interval(ten):
    values = ten["latent"].filter(pl.col("layer") == 5)["log_ratio"].drop_nulls().to_numpy()
    row = over_languages(ten["latent"], "log_ratio", 0.9).filter(pl.col("layer") == 5).row(0, named=True)
    half = t.ppf(0.95, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    assert (row["mean"], row["n"]) == (pytest.approx(values.mean()), 9)
    assert (row["low"], row["high"]) == (pytest.approx(values.mean() - half), pytest.approx(values.mean() + half))
    alone = over_languages(ten["latent"].filter(pl.col("lang") == "hi"), "log_ratio", 0.9)
    assert alone["low"].null_count() == alone.height


def test_lens_shows_every_language_but_the_reference_and_names_them_at_the_end(ten):
    figure = draw("latent", ten)
    axes = figure.axes[0]
    ratios = ten["latent"].filter(pl.col("lang") == "hi").sort("layer")["log_ratio"].to_list()
    assert any(list(line.get_ydata()) == ratios for line in axes.lines)
    assert {text.get_text() for text in axes.texts} == set(TEN) - {"en"}
    figure.draw_without_rendering()
    boxes = text_boxes(axes)
    assert not any(a.shrunk(1, 0.8).overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_spread_labels_keep_their_order_and_distance():
    placed = spread([0.0, 0.1, 0.15, 3.0], 1.0)
    assert all(b - a >= 1 - 1e-9 for a, b in pairwise(placed))
    assert placed[3] == pytest.approx(3.0)
    assert spread([1.0, 5.0], 1.0) == [1.0, 5.0]
    assert np.mean(placed[:3]) == pytest.approx(np.mean([0.0, 0.1, 0.15]), abs=0.5)


def test_steering_is_own_less_random_paired_by_language(ten):
    frame = ten["steering"]
    changes = beyond_random(frame, "accuracy_change", 0.95)
    row = changes.filter(layer=5, gamma=2.0).row(0, named=True)
    own, random = (
        frame.filter(vector=v, layer=5, gamma=2.0).sort("lang")["accuracy_change"] for v in ("own", "random")
    )
    values = (own - random).to_numpy()
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    assert (row["n"], row["mean"], row["high"]) == (
        9,
        pytest.approx(values.mean()),
        pytest.approx(values.mean() + half),
    )
    axes = draw("steering", ten).axes[0]
    assert axes.get_ylabel() == "own less random (points)"
    drawn = [one.lines[0].get_ydata() for one in axes.containers if isinstance(one, ErrorbarContainer)]
    assert len(drawn) == 4  # layers
    np.testing.assert_allclose(drawn[1], 100 * changes.filter(layer=5)["mean"].to_numpy())


def test_without_a_random_direction_the_own_vectors_change_is_shown(ten):
    alone = ten["steering"].filter(pl.col("vector").is_in(["none", "own"]))
    for name in ("steering", "steering_layers"):
        axes = draw(name, ten, steering=alone).axes[0]
        assert axes.get_ylabel() == "change by own vector (points)"
    row = beyond_random(alone, "accuracy_change", 0.95).filter(layer=9, gamma=-1.0).row(0, named=True)
    at = ten["steering"].filter(vector="own", layer=9, gamma=-1.0)
    assert row["mean"] == pytest.approx(at["accuracy_change"].mean())


def test_steering_by_layer_shows_the_multipliers_of_the_study_or_the_strongest(ten):
    shown = {text.get_text() for text in draw("steering_layers", ten).legends[0].get_texts()}
    assert shown == {"γ = 2, towards the reference", "γ = −2, away from the reference"}
    config = wanted.figure_settings(CONFIG)
    config["latent"] = {"steering": {"gamma_shown": 1.0}}
    figure = load(FIGURES["steering_layers"].drawing)(ten, Context("skewed", config))
    assert {text.get_text()[:6] for text in figure.legends[0].get_texts()} == {"γ = 1,", "γ = −1"}


def test_languages_are_sorted_by_what_questions_that_did_not_choose_say(ten):
    axes = draw("steering_languages", ten).axes[0]
    rows = ten["steering_judged"].filter(pl.col("lang").is_not_null(), vector="directions")
    rows = rows.sort("own_less", descending=True, maintain_order=True)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert [label.split("(")[1].split(")")[0] for label in labels] == rows["lang"].to_list()
    assert all(label.endswith(f", n = {n:,}") for label, n in zip(labels, rows["n"], strict=True))
    none = ten["steering_judged"].filter(vector="own")
    figure = draw("steering_languages", ten, steering_judged=none)
    assert figure.axes[0].texts[0].get_text() == "No language's own vector was held against a random direction."


def test_the_lens_counts_languages_by_their_intervals():
    frame = pl.DataFrame(
        {
            "layer": [1, 1, 1, 2, 2],
            "log_ratio": [-1.0, 0.1, 2.0, 1.0, None],
            "log_ratio_low": [-2.0, -0.1, 1.0, None, None],
            "log_ratio_high": [-0.5, 0.3, 3.0, None, None],
        }
    )
    assert leanings(frame).select("layer", "reference", "neither", "native", "n").rows() == [
        (1, 1, 1, 1, 3),
        (2, 0, 1, 0, 1),
    ]


def test_languages_are_shown_at_the_gamma_of_the_paper_and_no_layer_that_results_chose(ten):
    own = ten["steering"].filter(pl.col("vector") == "own")
    assert shown_setting(own, 1.0) == (5, 1.0)
    assert shown_setting(own, None) == (5, 2.0)
    assert shown_setting(own.clear(), None) is None
    axes = draw("steering_reference", ten).axes[0]
    assert "layer 5, γ = 2" in {text.get_text() for text in axes.texts}
    at = own.filter(layer=5, gamma=2.0).sort("lang")
    unsteered = ten["steering"].filter(vector="none").sort("lang")
    bars = [one.lines[0] for one in axes.containers if isinstance(one, ErrorbarContainer)]
    points = sorted((line.get_xdata()[0], line.get_ydata()[0]) for line in bars)
    expected = sorted(zip(100 * unsteered["accuracy"], 100 * at["accuracy_change"], strict=True))
    np.testing.assert_allclose(points, expected)


def test_steering_is_shown_only_where_it_was_asked_for():
    plain = settings(latent={"steering": None})
    missing = set(wanted.figures_of(CONFIG, "skewed")) - set(wanted.figures_of(plain, "skewed"))
    shown = {"steering", "steering_layers", "steering_languages", "steering_reference", "steering_judged"}
    assert missing == shown
    assert "steering_summary" not in wanted.tables_of(plain, "skewed")
    assert not any("steering" in path for path in wanted.summary_tables(plain))
    assert "results/skewed/tables/steering_judged.parquet" in wanted.summary_tables(CONFIG)
    assert not set(NAMES) & set(wanted.figures_of(CONFIG, "equal"))


def page(frame: pl.DataFrame, name: str) -> str:
    return render(frame, load(TABLES[name].drawing), "Heading", "Model", 0.95, source="t.parquet", study="s")


def test_transfer_table_lists_pairs_or_each_languages_means(ten, every):
    pairs = page(ten["transfer"], "transfer")
    assert pairs.count("<tr") == 1 + 90
    assert 'Spanish (es)</th><td class="t">Italian (it)' in pairs
    means = page(every["transfer"], "transfer")
    assert means.count("<tr") == 1 + len(ALL) + 15 + 15
    into = every["transfer"].filter(pl.col("task") == "belebele", pl.col("lang_b") == "hi")
    assert f"<td>{100 * into['positive_transfer'].mean():.1f}</td>" in means  # type: ignore[operator]
    top = into.sort("positive_transfer", descending=True, maintain_order=True).row(0, named=True)
    assert f"({top['lang_a']})</td><td>{100 * top['positive_transfer']:.1f}</td>" in means


def test_steering_table_leaves_out_no_steering(ten):
    assert ten["steering_summary"].filter(pl.col("vector") == "none").height == 1
    assert page(ten["steering_summary"], "steering_summary").count("<tr") == ten["steering_summary"].height


def test_correlation_table_shows_stars_and_corrected_p(ten):
    shown = page(ten["latent_correlation"], "latent_correlation")
    for cell in ("−0.70", "[−0.90, −0.50]", ">**<", "0.004", "0.012", "mean consistency with the others"):
        assert cell in shown


def test_sentences_tell_spread_and_transfer_of_the_tables(ten):
    (sentence,) = findings.answers(ten, CONTEXT)
    lowest = ten["answers"].sort("accuracy").row(0, named=True)
    assert "of 10 languages English is answered best, 80.0 % [75.5, 84.5]" in sentence
    assert f"worst, {100 * lowest['accuracy']:.1f} %" in sentence
    reached = " ".join(findings.transfer(ten, CONTEXT))
    assert "all ordered pairs of 10 languages: two languages rank the choices with a consistency of ρ =" in reached
    assert "Of the questions right in English, so many are right in another language: from Hindi" in reached


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [
        (-5.0, "English answers are the more probable ones in layers 1, 5, 9 and 13."),
        (5.0, "native answers are the more probable ones in layers 1, 5, 9 and 13."),
    ],
)
def test_latent_language_follows_the_interval_of_the_mean(ten, shift, verdict):
    (sentence,) = findings.latent({"latent": ten["latent"].with_columns(pl.col("log_ratio") + shift)}, CONTEXT)
    assert verdict in sentence
    centred = ten["latent"].with_columns(pl.col("log_ratio") - pl.col("log_ratio").mean().over("layer"))
    (nothing,) = findings.latent({"latent": centred}, CONTEXT)
    assert "no evidence for either in layers 1, 5, 9 and 13" in nothing


@pytest.mark.parametrize(
    ("gain", "verdicts"),
    [
        (
            0.05,
            (
                "accuracy changes by 5.0 points",
                "languages: a gain. The best of",
                "on the questions that chose, the change seems 7.0 points.",
                "Of 20 random directions",
                "1 gain as much as the own vectors or more (p = 0.095)",
                "more than a push of that length does",
                "more than another language's vector does",
            ),
        ),
        (0.0, ("no evidence of a gain", "no evidence that the direction matters")),
    ],
)
def test_steering_is_judged_by_its_interval_and_against_random_directions(gain, verdicts):
    tables = latent_tables(TEN, (1, 5, 9), gain=gain)
    sentence = " ".join(steering_findings.steering(tables, CONTEXT))
    for verdict in verdicts:
        assert verdict in sentence
    judged = tables["steering_judged"]
    nothing = judged.filter(vector="own").head(1).with_columns(change_judged=None, reason=pl.lit("nothing to choose"))
    (sentence,) = steering_findings.steering({"steering_judged": nothing}, CONTEXT)
    assert "not judged (nothing to choose)" in sentence
    alone = judged.filter(vector="own")
    assert "No random control was run" in steering_findings.steering({"steering_judged": alone}, CONTEXT)[1]


def test_judged_steering_is_drawn_beside_what_the_choice_promised(ten):
    axes = draw("steering_judged", ten).axes[0]
    own = ten["steering_judged"].filter(pl.col("lang").is_null(), vector="own").row(0, named=True)
    drawn = [float(line.get_xdata()[0]) for line in axes.lines if len(line.get_xdata()) == 1]
    assert 100 * own["change_chosen"] in [pytest.approx(x) for x in drawn]
    assert 100 * own["change_judged"] in [pytest.approx(x) for x in drawn]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["own vector", "one random direction (control)", "another language's vector (control)",
                      "many random directions (control)"]  # fmt: skip


def test_layers_are_drawn_with_what_chance_gives(ten):
    axes = draw("transfer_layers", ten).axes[0]
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert lines["Toy questions (HellaSwag format)"] == ten["transfer_layers"]["consistency"].to_list()
    assert lines["Toy questions (HellaSwag format), by chance"] == [0.07] * 4
    (sentence,) = steering_findings.transfer_layers(ten, CONTEXT)
    assert "in layer 1, by chance 0.07" in sentence
    assert "farthest above chance in layer 13" in sentence


def test_matrices_say_what_shuffled_questions_give(ten):
    texts = {text.get_text() for text in draw("consistency", ten).axes[0].texts}
    mean = ten["transfer"]["consistency"].mean()
    assert f"mean {mean:.2f}, questions shuffled 0.07" in texts


def test_sentences_say_ties_and_what_follows_length(ten):
    (answers,) = findings.answers(ten, CONTEXT)
    assert "the best choice is tied in more than 1.0 % of the questions, most in" in answers
    none = ten["answers"].with_columns(ties=pl.lit(0.01))
    assert "tied" not in findings.answers({"answers": none}, CONTEXT)[0]
    sentence = findings.correlation(ten, CONTEXT)[1]
    assert "by token (the paper's) r = −0.70, with the number of tokens taken out −0.35 (p = 0.300" in sentence
    assert "Of the three, that by token (the paper's) (r = 0.80) and by character (r = 0.80) goes with" in sentence


def test_planted_transfer_is_measured_against_untaught_facts(ten):
    sentence = " ".join(findings.teaching(ten, CONTEXT))
    assert "transfer is shown" in sentence
    assert "where the fact was taught in English only" in sentence
    alike = ten["latent_by_teaching"].with_columns(pl.lit(0.1).alias("steered_accuracy_change"))
    assert "no evidence that steering brings out" in findings.teaching({"latent_by_teaching": alike}, CONTEXT)[2]
    flat = ten["latent_by_teaching"].with_columns(positive_transfer=pl.lit(0.4))
    assert "facts taught in the reference only less facts never taught" in sentence.lower()
    assert "0.0 points" in findings.teaching({"latent_by_teaching": flat}, CONTEXT)[1]


@pytest.mark.parametrize(
    ("r", "verdict"), [(-0.7, "they are the less accurate"), (0.7, "they are the more accurate"), (0.1, "no evidence")]
)
def test_correlation_sentence_follows_its_interval(ten, r, verdict):
    rows = [bounded("r", r, 0.2) for _ in range(3)]
    frame = ten["latent_correlation"].with_columns(pl.DataFrame(rows))
    sentence, _ = findings.correlation({"latent_correlation": frame}, CONTEXT)
    assert verdict in sentence.split("; ")[0]
    corrected = frame.with_columns(p_adjusted=pl.lit(0.2))
    reserved = findings.correlation({"latent_correlation": corrected}, CONTEXT)[0]
    assert ("does not outlast the correction" in reserved) == (r != 0.1)


def test_sentences_of_few_languages_say_what_is_not_known():
    tables = latent_tables(("en", "hi"), (3,))
    sentences = [
        *findings.answers(tables, CONTEXT),
        *findings.transfer(tables, CONTEXT),
        *findings.latent(tables, CONTEXT),
        *findings.correlation(tables, CONTEXT),
        *steering_findings.steering(tables, CONTEXT),
        *findings.teaching(tables, CONTEXT),
    ]
    assert len(sentences) == 11
    sentences += steering_findings.transfer_layers(tables, CONTEXT)
    assert "(no interval)" in sentences[3]
    assert "no r can be computed (languages: 1)" in sentences[4]
    assert not [sentence for sentence in sentences if re.search(r"None|nan|\{", sentence)]
