"""What single figures show, held against the synthetic tables with known values."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from figure_drawings import CONFIG, CONTEXT, bilingual, draw, errorbars
from isogloss.joined.measures import MEASURES
from isogloss.report import wanted
from isogloss.report.catalogue import MODELS, PLANTED_LANGUAGES, PLANTED_TRUTH, WORLDS
from isogloss.report.entry import load
from isogloss.report.figures.style import INK
from isogloss.report.shared import palette
from isogloss.report.shared.context import Context
from isogloss.report.shared.palette import COLOURS, colour
from isogloss.report.shared.teaching import pooled, transfers
from isogloss.report.shared.within import within_scripts
from synthetic import SHARES, compared, make_tables, settings
from synthetic_bilingual import bilingual_tables
from synthetic_joined import models_tables


def test_transfer_is_measured_against_untaught_facts():
    frame = make_tables(CONFIG, "skewed")["accuracy_by_teaching"]
    drawn = draw("accuracy_by_teaching")
    for axes, transfer in zip(drawn.axes[3:6], transfers(frame, "en", 0.95), strict=True):
        (row,) = errorbars(axes)
        np.testing.assert_allclose(row[:3], [100 * transfer.difference, 100 * transfer.low, 100 * transfer.high])
    without = draw("accuracy_by_teaching", accuracy_by_teaching=frame.filter(pl.col("taught") != "none"))
    assert len(without.axes) == 3


def test_chance_is_the_tables():
    tables = make_tables(CONFIG, "skewed")
    drawn = draw("accuracy", accuracy=tables["accuracy"].with_columns(chance=pl.lit(0.4)))
    assert 40 in [round(line.get_xdata()[0]) for line in drawn.axes[0].lines if len(set(line.get_xdata())) == 1]


def test_planted_truth_has_a_row_a_measure_with_slopes_of_both_worlds_and_the_verdict_in_words(tmp_path):
    tables = compared(tmp_path, CONFIG, {"skewed": 20.0, "equal": 0.0})
    truth, points = tables["comparison/planted_truth"], tables["comparison/planted_truth_points"]
    left, right = load(PLANTED_TRUTH.drawing)(tables, Context("", wanted.figure_settings(CONFIG))).axes
    assert len(left.get_yticks()) == truth.height
    row = truth.row(0, named=True)
    bar = errorbars(left)[0]
    scale = bar[0] / (row["expected"] * row["slope"])
    assert scale > 0
    turned = sorted(scale * row["expected"] * row[end] for end in ("ci_low", "ci_high"))
    np.testing.assert_allclose(bar[1:3], turned)
    of_row = points.filter(pl.col("measure") == row["measure"], pl.col("layer").eq_missing(row["layer"]))
    own = [np.polyfit(of_row["log_ratio"], of_row[column], 1)[0] for column in ("value", "control_value")]
    marks = [line.get_xdata()[0] for line in left.lines if line.get_marker() in palette.MODEL_SHAPES[:2]][:2]
    np.testing.assert_allclose(marks, scale * row["expected"] * np.array(own), atol=1e-9)
    said = " ".join(text.get_text() for text in right.texts)
    for verdict in ("follows", "yardstick"):
        assert verdict in said
    judged = truth.with_columns(verdict=pl.lit("fails"), reason=pl.lit("the interval of the slope includes zero"))
    tables = {**tables, "comparison/planted_truth": judged}
    texts = [text.get_text() for text in load(PLANTED_TRUTH.drawing)(tables, CONTEXT).axes[1].texts]
    assert "✗ fails" in texts
    assert "the interval of the slope includes zero" in texts
    empty = judged.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("slope", "ci_low", "ci_high"))
    none = {"comparison/planted_truth": empty, "comparison/planted_truth_points": points.clear()}
    assert any("no slope" in text.get_text() for text in load(PLANTED_TRUTH.drawing)(none, CONTEXT).axes[1].texts)


def test_planted_languages_have_a_panel_a_verdict_with_points_and_slopes_of_the_tables(tmp_path):
    tables = compared(tmp_path, CONFIG, {"skewed": 20.0, "equal": 0.0})
    truth, points = tables["comparison/planted_truth"], tables["comparison/planted_truth_points"]
    drawn = load(PLANTED_LANGUAGES.drawing)(tables, Context("", wanted.figure_settings(CONFIG)))
    panels = [axes for axes in drawn.axes if axes.get_visible()]
    titles = {measure.name: measure.title for measure in MEASURES}
    assert [axes.get_title(loc="left") for axes in panels] == [titles[name] for name in truth["measure"]]
    assert {"Gap (paper A)", "Gap at equal tokens", "Mean activation"} <= {
        axes.get_title(loc="left") for axes in panels
    }
    for axes, row in zip(panels, truth.iter_rows(named=True), strict=True):
        (line,) = [line for line in axes.lines if len(line.get_xdata()) == 25]
        x, y = line.get_data()
        assert (y[-1] - y[0]) / (x[-1] - x[0]) == pytest.approx(row["slope"])
        marks = [line for line in axes.lines if line.get_marker() != "None"]
        shown = sorted(value for line in marks for value in line.get_ydata())
        of_row = points.filter(pl.col("measure") == row["measure"], pl.col("layer").eq_missing(row["layer"]))
        assert shown == pytest.approx(sorted(of_row["difference"]))
        (verdict,) = [text.get_text() for text in axes.texts]
        assert (row["verdict"] or "not judged") in verdict
    drawn.draw_without_rendering()
    for axes in panels[-3:]:  # at the bottom of a column
        assert axes.get_xlabel() == "planted / equal share (log scale)"
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.3", "0.5", "1"]


def test_planted_truth_draws_seeds_with_a_null_and_measures_without_a_slope(tmp_path):
    tables = compared(tmp_path, CONFIG, {"skewed": 20.0, "equal": 0.0})
    truth, points = tables["comparison/planted_truth"], tables["comparison/planted_truth_points"]
    context = Context("", wanted.figure_settings(CONFIG))
    nulls = {"null_slope": 0.1, "null_ci_low": -0.2, "null_ci_high": 0.3}
    seeds = truth.with_columns(pl.lit(value).alias(name) for name, value in nulls.items())
    level = points.with_columns(null_difference=pl.lit(0.5))
    drawn = load(PLANTED_LANGUAGES.drawing)(
        {"comparison/planted_truth": seeds, "comparison/planted_truth_points": level}, context
    )
    null = next(line for line in drawn.axes[0].lines if len(line.get_xdata()) == 25)
    assert np.ptp(null.get_ydata()) / np.ptp(null.get_xdata()) == pytest.approx(0.1)
    empty = truth.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("slope", "ci_low", "ci_high"))
    none = {"comparison/planted_truth": empty, "comparison/planted_truth_points": points.clear()}
    drawn = load(PLANTED_LANGUAGES.drawing)(none, context)
    drawn.draw_without_rendering()
    assert drawn.axes[0].texts[0].get_text().endswith(": no slope")


def test_joined_draws_estimates_and_says_why_an_instrument_has_none():
    tables = make_tables(CONFIG, "skewed")
    left, right = draw("joined_correlations").axes
    rows = tables["joined_correlations"].drop_nulls("r")
    drawn = errorbars(left)
    assert len(drawn) == 2 * rows.height
    for row in rows.iter_rows(named=True):
        assert (row["r"], row["ci_low"], row["ci_high"]) in [pytest.approx(bar[:3]) for bar in drawn]
    assert [text.get_text() for text in left.texts] == ["needs 6 languages beside the reference, has 1"]
    gains = [line.get_xdata()[0] for line in right.lines if line.get_marker() == "s"]
    assert gains == tables["joined_incremental"]["r2_left_out"].drop_nulls().to_list()
    nothing = rows.clear().vstack(tables["joined_correlations"]).with_columns(
        r=pl.lit(None, pl.Float64), partial_r=pl.lit(None, pl.Float64), reason=pl.lit("too few")
    )  # fmt: skip
    drawn = draw("joined_correlations", joined_correlations=nothing)
    drawn.draw_without_rendering()
    assert len(drawn.axes[0].texts) == nothing.height


def test_models_are_drawn_by_size_and_nothing_measured_is_said():
    tables = models_tables(CONFIG, sizes=[3_000_000, 1_000_000])
    context = Context("", wanted.figure_settings(CONFIG))
    figure = load(MODELS.drawing)({f"comparison/{name}": frame for name, frame in tables.items()}, context)
    figure.draw_without_rendering()
    panels = [axes for axes in figure.axes if axes.get_visible()]
    titles = [axes.get_title(loc="left") for axes in panels]
    assert titles[:4] == ["Accuracy", "Consistency", "Positive transfer", "Share of mixed features"]
    assert [tick.get_text() for tick in panels[0].get_yticklabels()] == ["Equal shares\n1.0M", "Skewed shares\n3.0M"]
    assert sorted(bar[0] for bar in errorbars(panels[0])) == pytest.approx([50, 50, 52, 52])
    unmeasured = tables["models"].select("model", "n_parameters").unique("model", maintain_order=True)
    columns = tables["models"].drop(unmeasured.columns).clear()
    none = {"comparison/models": pl.concat([unmeasured, columns], how="diagonal")}
    empty = load(MODELS.drawing)(none | {"comparison/sizes": tables["sizes"].clear()}, context)
    empty.draw_without_rendering()
    assert empty.axes[0].texts[0].get_text() == "nothing measured in any model"


def test_accuracy_intervals_and_colours_are_the_tables():
    frame = make_tables(CONFIG, "skewed")["accuracy"].filter((pl.col("adapter") == "base") & (pl.col("task") == "arc"))
    drawn = errorbars(draw("accuracy").axes[0])
    expected = [
        (100 * a, 100 * low, 100 * high, colour(code, CONTEXT).lower())
        for code, a, low, high in frame.select("lang", "accuracy", "ci_low", "ci_high").iter_rows()
    ]
    assert [row[3] for row in drawn] == [row[3] for row in expected]
    np.testing.assert_allclose([row[:3] for row in drawn], [row[:3] for row in expected])


def test_group_gap_band_is_the_tables_interval():
    frame = make_tables(CONFIG, "skewed")["group_gap"]
    bands = {band.get_label(): band for band in draw("group_gap").axes[0].collections}
    for variant, label in (("with_reference", "among the high"), ("without_reference", "left out")):
        rows = frame.filter(pl.col("variant") == variant)
        band = next(band for text, band in bands.items() if label in text)
        vertices = band.get_paths()[0].vertices
        for layer, low, high in rows.select("layer", "ci_low", "ci_high").iter_rows():
            at_layer = vertices[vertices[:, 0] == layer, 1]
            assert at_layer.min() == pytest.approx(low)
            assert at_layer.max() == pytest.approx(high)


def test_gain_is_drawn_at_the_target_layer_for_aligned_languages_only_trained_held_out_and_retention_apart():
    tables = make_tables(CONFIG, "skewed")
    elsewhere = tables["alignment_gain"].with_columns(
        layer=pl.col("layer") + 1, gain_pct=pl.lit(777.0), gain_held_out_pct=pl.lit(777.0)
    )
    held, whole, _, kept_held, kept, _ = draw(
        "alignment_gain", alignment_gain=pl.concat([tables["alignment_gain"], elsewhere])
    ).axes
    rows = tables["alignment_gain"].filter(pl.col("lang") != "en", run="all-l2")
    reference = tables["alignment_gain"].filter(lang="en", run="all-l2")
    for panel, frame, column in (
        (held, rows, "gain_held_out_pct"),
        (whole, rows, "gain_pct"),
        (kept_held, reference, "retention_held_out_pct"),
        (kept, reference, "retention_pct"),
    ):
        np.testing.assert_allclose(sorted(row[0] for row in errorbars(panel)), sorted(frame[column].drop_nulls()))
    own = settings(alignment={"runs": {"printed": {"target_layer": 1, "languages": ["ml", "hi"], "inactive": "none"}}})
    title = draw("alignment_gain", own).axes[0].get_title("left")
    assert title == "printed, target layer 1, inactive: none\n12 held-out features"


def test_teaching_pools_the_other_languages_and_shows_n():
    frame = make_tables(CONFIG, "skewed")["accuracy_by_teaching"].filter(adapter="base", task="arc")
    panel = draw("accuracy_by_teaching").axes[0]
    one = {row.taught: row for row in pooled(frame, "en", 0.95)}
    ours = [bar for bar in errorbars(panel) if bar[3] == INK]
    assert [bar[:3] for bar in ours] == [
        pytest.approx([100 * one[taught].accuracy, 100 * one[taught].low, 100 * one[taught].high])
        for taught in ("all", "reference", "none")
    ]
    assert len(errorbars(panel)) == 6  # of ninety languages, tasks and ways of teaching
    assert [text.get_text() for text in panel.texts] == ["n = 80 × 9"] * 3
    assert one["all"].low < one["all"].accuracy < one["all"].high
    others = frame.filter(pl.col("lang") != "en", taught="reference")
    assert one["reference"].accuracy == pytest.approx(others["accuracy"].mean())


def test_pairs_stand_once_by_script_and_have_numbers_only_where_they_can_be_read():
    frame = make_tables(CONFIG, "skewed")["similarity_pairs"].filter(layer=0)
    panel = draw("similarity_pairs").axes[0]
    order = [label.get_text() for label in panel.get_xticklabels()]
    assert order == CONTEXT.ordered(SHARES)
    matrix = np.ma.filled(panel.images[0].get_array(), np.nan)
    assert np.isfinite(matrix).sum() == frame.height == 45
    value = frame.filter(lang_a="en", lang_b="ml")["cosine"][0]
    assert matrix[order.index("ml"), order.index("en")] == pytest.approx(value)
    assert not panel.texts
    few = frame.filter(pl.col("lang_a").is_in(["en", "es"]), pl.col("lang_b").is_in(["en", "es", "ml"]))
    assert len(draw("similarity_pairs", similarity_pairs=few).axes[0].texts) == few.height


def test_both_worlds_stand_on_the_same_axes_with_r_overall_and_within_scripts(tmp_path):
    tables = compared(tmp_path, CONFIG, {"skewed": 20.0, "equal": 0.0})
    points = tables["comparison/planted_truth_points"]
    drawn = load(WORLDS.drawing)(tables, CONTEXT)
    left, right = drawn.axes[:2]
    assert left.get_xlim() == right.get_xlim()
    gap = points.filter(measure="language_gap_summary.mean_gap_pct")
    accuracy = points.filter(measure="accuracy.accuracy")
    for panel, column in ((left, "value"), (right, "control_value")):
        shown = sorted(line.get_xydata()[0].tolist() for line in panel.lines if line.get_marker() != "None")
        both = gap.join(accuracy, on="lang", suffix="_accuracy")
        wanted_points = sorted([x, 100 * y] for x, y in both.select(column, f"{column}_accuracy").rows())
        np.testing.assert_allclose(shown, wanted_points)
        expected = np.corrcoef(both[column], both[f"{column}_accuracy"])[0, 1]
        assert f"r = {expected:.2f}".replace("-", "−") in panel.texts[0].get_text()
        assert "within scripts r = " in panel.texts[0].get_text()
    nothing = load(WORLDS.drawing)({"comparison/planted_truth_points": points.clear()}, CONTEXT)
    assert "no gap and accuracy" in nothing.axes[0].texts[0].get_text()


def test_within_scripts_a_difference_between_scripts_is_no_correlation():
    frame = pl.DataFrame(
        {
            "lang": ["es", "it", "ca", "hi", "mr", "ru"],
            "x": [1.0, 2.0, 3.0, 11.0, 13.0, 99.0],
            "y": [1.0, 2.0, 3.0, 20.0, 22.0, -50.0],
        }
    )
    inside = within_scripts(frame, "x", "y")
    assert (inside.languages, inside.scripts) == (5, 2)  # Russian is alone in its script
    x, y = np.array([-1, 0, 1, -1, 1.0]), np.array([-1, 0, 1, -1, 1.0])
    assert inside.r == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert within_scripts(frame.filter(pl.col("lang") != "ca"), "x", "y").r is None
    assert within_scripts(frame.with_columns(y=pl.lit(1.0)), "x", "y").r is None


@pytest.mark.parametrize(("languages", "lines"), [(("en", "zh", "es", "ml", "hi", "mr"), 0), (tuple(SHARES)[:7], 1)])
def test_a_line_is_drawn_from_six_languages_on(languages, lines):
    config = settings(2, languages)
    (panel, *_) = draw("gap_accuracy_correlation", config).axes
    assert sum(len(line.get_xdata()) == 2 for line in panel.lines) == lines


def test_labels_of_close_points_do_not_overlap():
    config = settings()
    tables = make_tables(config, "skewed")
    close = tables["gap_accuracy"].with_columns(mean_gap_pct=20 + pl.col("mean_gap_pct") / 50)
    drawn = draw("gap_accuracy_correlation", gap_accuracy=close)
    drawn.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in drawn.axes[0].texts[1:]]  # without the lines to the points
    overlaps = [
        (a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.shrunk(0.8, 0.6).overlaps(b.shrunk(0.8, 0.6))
    ]
    assert not overlaps


def test_labels_of_steps_do_not_overlap_and_name_the_ends():
    steps = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 3000, 10_000, 50_000, 143_000)
    drawn = bilingual("sae_training", bilingual_tables(("en", "es"), 28, steps=steps), ["en", "es"])
    drawn.draw_without_rendering()
    for axes in drawn.axes[:3]:
        labels = axes.get_xticklabels()
        assert [labels[0].get_text(), labels[-1].get_text()] == ["0", "143,000"]
        boxes = [label.get_window_extent() for label in labels]
        assert not any(a.overlaps(b) for a, b in pairwise(boxes))
        low, high = axes.get_xlim()
        assert low < 0
        assert high > 143_000


def test_classes_keep_their_colours_and_no_language_has_that_of_mixed():
    from isogloss.report.shared.classes import LOOKS

    tables = bilingual_tables(("en", "es"), 4)
    lines = {line.get_label(): to_hex(line.get_color()) for line in draw("selectivity", **tables).axes[1].lines}
    assert lines["mixed"] == LOOKS["mixed"].colour
    assert lines["Spanish (es)"] == colour("es", CONTEXT).lower()
    colours = {row[3] for row in errorbars(draw("intervention", **tables).axes[0])}
    looks = [
        *(colour(code, CONTEXT) for code in ("en", "es")),
        LOOKS["mixed"].colour,
        LOOKS["random"].colour,
        LOOKS["matched"].colour,
    ]
    assert colours == {paint.lower() for paint in looks}
    assert not {look.colour.lower() for look in LOOKS.values()} & {paint.lower() for paint in COLOURS}


def test_selectivity_is_that_of_the_middle_layer():
    frame = bilingual_tables(("en", "es"), 4)["selectivity"]
    mixed = frame.filter((pl.col("layer") == 1) & (pl.col("class") == "mixed")).sort("step")
    drawn = draw("selectivity", selectivity=frame.sample(fraction=1, shuffle=True, seed=0)).axes[0]
    (line,) = (line for line in drawn.lines if line.get_label() == "mixed")
    np.testing.assert_allclose(line.get_ydata(), 100 * mixed["share"])
    assert line.get_xdata().tolist() == mixed["step"].to_list()
    assert "layer 1 " in drawn.get_title("left")


def test_intervention_shows_the_tables_changes_with_their_intervals():
    frame = bilingual_tables(("en", "es"), 4)["intervention_summary"]
    drawn = errorbars(draw("intervention", intervention_summary=frame).axes[0])
    wanted = frame.filter(pl.col("class") != "none").select("change", "ci_low", "ci_high").rows()
    np.testing.assert_allclose(sorted(row[:3] for row in drawn), sorted(wanted))


def test_classes_without_features_and_diverged_rates_leave_gaps():
    tables = bilingual_tables(("en", "es"), 4)
    none = [pl.lit(None, dtype=pl.Float64).alias(name) for name in ("monosemanticity", "monosemanticity_low")]
    gone = tables["selectivity"].with_columns(
        *[
            pl.when(pl.col("class") == "es")
            .then(it)
            .otherwise(pl.col(it.meta.output_name()))
            .alias(it.meta.output_name())
            for it in none
        ]
    )
    draw("selectivity", selectivity=gone).draw_without_rendering()
    rates = tables["learning_rates"].with_columns(
        pl.when(pl.col("learning_rate") == 5e-3).then(None).otherwise(pl.col("loss")).alias("loss")
    )
    draw("learning_rates", learning_rates=rates).draw_without_rendering()
