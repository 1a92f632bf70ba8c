"""Every figure and HTML table of the catalogue, from synthetic tables with known values."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text

from isogloss.joined.measures import MEASURES
from isogloss.report import wanted
from isogloss.report.catalogue import (
    BETWEEN_FIGURES,
    BETWEEN_TABLES,
    FIGURES,
    FINDINGS,
    MODELS,
    PLANTED_LANGUAGES,
    PLANTED_TRUTH,
    TABLES,
    WORLDS,
)
from isogloss.report.entry import load
from isogloss.report.figures.draw import figure
from isogloss.report.figures.style import INK
from isogloss.report.page.markup import headless, svg_size
from isogloss.report.shared import palette
from isogloss.report.shared.context import Context
from isogloss.report.shared.palette import COLOURS, colour
from isogloss.report.shared.teaching import pooled, transfers
from isogloss.report.shared.within import within_scripts
from isogloss.tables import write_table
from report_pages import many_languages
from synthetic import SHARES, compared, make_tables, settings, write_results
from synthetic_alignment import make_losses
from synthetic_bilingual import bilingual_tables
from synthetic_joined import models_tables

REPOSITORY = Path(__file__).parents[1]
CONFIG = settings()
CONTEXT = Context("skewed", wanted.figure_settings(CONFIG))
DRAWINGS = {**FIGURES, **BETWEEN_FIGURES}


def caption(name: str) -> Path:
    return REPOSITORY / f"workflow/report/{name}.rst"


def draw(name: str, config: dict | None = None, **changed: pl.DataFrame) -> Figure:
    config = config or CONFIG
    context = Context("skewed", wanted.figure_settings(config))
    return load(FIGURES[name].drawing)(make_tables(config, "skewed") | make_losses(config) | changed, context)


def errorbars(axes) -> list[tuple[float, float, float, str]]:
    """Estimate, low, high and colour of each horizontal error bar."""
    found = []
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer):
            line, _, (bars,) = container.lines
            for x, ((low, _), (high, _)) in zip(line.get_xdata(), bars.get_segments(), strict=True):
                found.append((x, low, high, to_hex(line.get_color())))
    return found


def test_every_entry_has_a_drawing_and_a_caption():
    captions = {path.stem for path in caption("any").parent.glob("*.rst")}
    assert captions == {"summary", *DRAWINGS, *TABLES, *BETWEEN_TABLES}
    for entry in (*DRAWINGS.values(), *TABLES.values(), *BETWEEN_TABLES.values()):
        assert load(entry.drawing) is not None
    for finding in FINDINGS:
        assert callable(load(finding.function))
        assert finding.figure in {"", *FIGURES}


@pytest.mark.parametrize("name", FIGURES)
def test_draws_with_labelled_axes(name):
    for axes in draw(name).axes:
        if axes.get_visible() and axes.get_label() != "<colorbar>" and name != "accuracy_change":
            assert axes.get_xlabel() or not axes.get_subplotspec().is_last_row(), name


@pytest.mark.parametrize(
    ("name", "labels"),
    {
        "similarity": ["decoder layer (0-based)", "cosine similarity to the reference"],
        "retrieval": ["decoder layer (0-based)", "mean reciprocal rank of the reference's text"],
        "similarity_pairs": ["language", "cosine similarity"],
        "reciprocal_gap": ["decoder layer (0-based)"],
        "group_gap": ["decoder layer (0-based)", "activation gap between the groups (%)"],
        "group_activation": ["mean activation (SAE units)"],
        "language_gap": ["gap to English (%)", "tokens /\nEnglish's tokens"],
        "activation_controls": ["gap, mean over layers (%)", "tokens / English's tokens"],
        "accuracy": ["accuracy (%)"],
        "accuracy_by_teaching": ["accuracy (%)"],
        "gap_accuracy_correlation": ["mean gap over layers (%)", "accuracy (%)"],
        "alignment_gain": ["gain of held-out features (%)", "mean activation, all features\n(SAE units)"],
        "alignment_gain_layers": ["target layer\n(decoder layer, 0-based)", "retention of the reference (%)"],
        "alignment_loss": ["optimiser step", "loss\n(squared SAE units)", "pairs with the feature off (%)"],
        "selectivity": [
            "training step (log scale)",
            "share of the features\nthat are not silent (%)",
            "monosemanticity (0 to 1)",
            "monosemanticity less its null",
        ],
        "selectivity_layers": ["share of mixed features (%)", "monosemanticity of all features (0 to 1)"],
        "span_length": ["training step (log scale)", "span length of all features (tokens)"],
        "intervention": ["change of perplexity (below zero: better)"],
        "learning_rates": ["learning rate of the SAE", "validation loss (squared error a token)"],
        "sae_training": ["variance unexplained (%)", "active features a token (L0)", "dead features (%)"],
        "answers": ["accuracy (%)"],
        "transfer": [
            "from (n questions right in it)",
            "to",
            "right in the row's language,\nright in the column's, too (%)",
        ],
        "consistency": ["language", "consistency (Spearman's ρ of the choices' ranks)"],
        "latent": ["decoder layer (0-based)", "log ratio of answers (nats a token)\n← reference      native →"],
        "latent_accuracy": ["decoder layer (0-based)", "accuracy, mean over languages (%)"],
        "latent_correlation": ["mean log ratio over\nlayers (nats a token)", "accuracy (%)"],
        "projection": ["component 1 (40 %)", "component 2 (15 %)"],
        "steering": ["γ (above 0: towards\nthe reference)", "own less random (points)"],
        "steering_layers": ["layer steered (0-based)", "own less random (ρ)"],
        "steering_languages": ["own vector less random directions:\nchange of accuracy (points)"],
        "steering_reference": ["accuracy without\nsteering (%)", "change of consistency\nwith the reference (ρ)"],
        "latent_by_teaching": ["accuracy (%)", "log ratio, native to\nreference (nats a token)"],
        "joined_correlations": ["r with accuracy over languages", "R² of languages left out of the fit"],
        "training": ["training tokens (millions)", "cross-entropy (nats a token)", "share of the training tokens (%)"],
        "sae_quality": ["variance unexplained (%)", "active features a token (L0)", "dead features (%)"],
    }.items(),
)
def test_axes_name_what_they_show_and_its_unit(name, labels):
    shown = {text for axes in draw(name).axes for text in (axes.get_xlabel(), axes.get_ylabel())}
    assert set(labels) <= shown


@pytest.mark.parametrize(("layers", "languages"), [(26, tuple(SHARES)), (2, ("en", "es", "ml"))])
def test_draws_many_layers_and_few_languages(layers, languages):
    config = settings(layers, languages)
    for name in ("similarity", "language_gap", "alignment_gain_layers", "gap_accuracy_correlation"):
        draw(name, config)


def written(folder: Path, stem: str, name: str = "group_gap", **more: str) -> tuple[Path, Path]:
    """A figure's SVG and PNG as the stage writes them."""
    table = folder / f"results/skewed/tables/{name}.parquet"
    if not table.is_file():
        write_table(table, make_tables(CONFIG, "skewed")[name])
    svg, png = folder / f"{stem}.svg", folder / f"{stem}.png"
    entry = FIGURES[name]
    said = {"drawing": entry.drawing, "title": entry.title, "takeaway": entry.takeaway, **more}
    config = wanted.figure_settings(CONFIG)
    figure(tables=[str(table)], output=str(svg), picture=str(png), model="skewed", settings=config, **said)
    return svg, png


def texts(svg: Path) -> list[str]:
    return [element.text or "" for element in ElementTree.parse(svg).iter() if element.tag.endswith("}text")]


def test_writes_svg_and_png_with_text_as_text_and_the_same_bits(tmp_path):
    first, second = (written(tmp_path, stem) for stem in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    shown = texts(first[0])
    assert shown[0] not in ("", shown[-1])
    assert {"Gap between groups", "decoder layer (0-based)"} <= set(shown)
    assert "sans-serif" in first[0].read_text()
    assert first[1].read_bytes().startswith(b"\x89PNG")


def test_a_title_with_markup_dollars_or_no_end_stays_text(tmp_path):
    hostile = "<script>alert(1)</script> $\\frac{1}$ " + "long " * 2000
    shown = texts(written(tmp_path, "a", title=hostile)[0])
    assert any("<script>alert(1)</script>" in text for text in shown)
    assert any("$\\frac{1}$" in text for text in shown)
    assert sum(map(len, shown)) < 1500
    assert any(text.endswith("…") for text in shown)


@pytest.mark.filterwarnings("error:constrained_layout not applied")
def test_122_languages_are_drawn_by_script_with_room_for_the_axes():
    config = many_languages()
    config["models"]["skewed"]["analyses"] = ["gap", "benchmarks"]
    tables, context = make_tables(config, "skewed"), Context("skewed", wanted.figure_settings(config))
    for name in ("similarity", "reciprocal_gap", "gap_accuracy_correlation"):
        drawn = load(FIGURES[name].drawing)(tables, context)
        drawn.draw_without_rendering()
        panels = [axes for axes in drawn.axes if axes.get_visible()]
        assert len(panels) <= 9
        assert min(axes.get_window_extent().width for axes in panels) > 0.15 * drawn.bbox.width, name
        labels = [text.get_text() for legend in drawn.legends for text in legend.get_texts()]
        assert len(labels) <= 12
        assert ("Latin" in labels) == (name != "reciprocal_gap")


def test_the_page_shows_a_figure_without_what_stands_above_its_axes(tmp_path):
    svg = written(tmp_path, "a")[0]
    cut = tmp_path / "cut.svg"
    cut.write_bytes(headless(svg.read_bytes()))
    above = set(texts(svg)) - set(texts(cut))
    assert "Gap between groups" in above
    assert "decoder layer (0-based)" in texts(cut)
    sizes = [svg_size(path.read_bytes()) for path in (svg, cut)]
    assert sizes[0][0] == sizes[1][0]
    assert 20 < sizes[0][1] - sizes[1][1] < 100  # so many points of words
    left, top, width, height = map(float, ElementTree.parse(cut).getroot().get("viewBox", "").split())
    assert (left, round(width), round(top + height)) == (0, *sizes[0])
    assert headless(cut.read_bytes()) == cut.read_bytes()
    assert headless(b"<svg/>") == b"<svg/>"


DRAW_ALL = """
import sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from isogloss.report import wanted
from isogloss.report.catalogue import BETWEEN_FIGURES, FIGURES
from isogloss.report.figures.draw import figure
from synthetic import settings
config = settings()
config["explorer"]["features"] = 0  # the explorer has tests of its own
inputs = {(entry, "skewed"): wanted.figure_inputs(config, name, "skewed") for name, entry in FIGURES.items()}
inputs |= {(entry, ""): wanted.between_figure_inputs(name) for name, entry in BETWEEN_FIGURES.items()}
for (entry, model), tables in inputs.items():
    svg = Path(sys.argv[1], f"{entry.name}.svg")
    figure(tables=tables, output=str(svg), picture=str(svg.with_suffix(".png")), drawing=entry.drawing,
           title=entry.title, takeaway=entry.takeaway, model=model, settings=wanted.figure_settings(config))
from isogloss.report.page.summary import summary
summary(tables=wanted.summary_tables(config), figures=[], settings=config,
        landing=str(Path(sys.argv[1], "overview.rst")),
        output=str(Path(sys.argv[1], "summary.html")))
"""


@pytest.mark.workflow
def test_pictures_and_page_do_not_depend_on_the_hash_seed(tmp_path):
    write_results(tmp_path, CONFIG, {"skewed": 20.0, "equal": 0.0})
    paths = [str(REPOSITORY / "workflow/scripts"), str(REPOSITORY / "tests")]
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", DRAW_ALL, f"seed{seed}", *paths],
            cwd=tmp_path,
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
        )
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / f"seed{seed}").iterdir()} for seed in ("1", "2"))
    assert set(first) == {
        *(f"{name}.{kind}" for name in DRAWINGS for kind in ("svg", "png")),
        "overview.rst",
        "summary.html",
    }
    assert [name for name in first if first[name] != second[name]] == []


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


def test_undefined_values_leave_gaps_not_errors():
    tables = make_tables(CONFIG, "skewed")
    nothing = pl.lit(None, dtype=pl.Float64)
    empty = dict.fromkeys(("gap_pct", "ci_low", "ci_high"), nothing)
    draw("group_gap", group_gap=tables["group_gap"].with_columns(**empty))
    draw(
        "language_gap",
        language_gap=tables["language_gap"].with_columns(
            pl.when(pl.col("layer") == 1).then(None).otherwise(pl.col("gap_pct")).alias("gap_pct")
        ),
    )
    draw(
        "gap_accuracy_correlation",
        gap_accuracy_correlation=tables["gap_accuracy_correlation"].with_columns(r=nothing, ci_low=nothing),
    )
    draw(
        "alignment_gain",
        alignment_gain=tables["alignment_gain"].with_columns(
            **dict.fromkeys(("gain_pct", "ci_low", "ci_high", "gain_held_out_pct", "before", "after"), nothing)
        ),
    )


def test_a_study_without_groups_is_drawn_in_one_panel():
    no_groups = {"reference": "en", "others": ["es", "hi"], "high_resource": [], "medium_low_resource": []}
    context = Context("skewed", {**wanted.figure_settings(CONFIG), "languages": no_groups})
    frame = make_tables(CONFIG, "skewed")["similarity"].filter(pl.col("lang").is_in(["en", "es", "hi"]))
    figure = load(FIGURES["similarity"].drawing)({"similarity": frame}, context)
    assert [axes.get_visible() for axes in figure.axes] == [True, False]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["Spanish (es)", "Hindi (hi)", "shuffled pairs, same colours"]


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


def test_only_what_the_analyses_yield_is_wanted():
    fetched = {"reproduction", "translation_quality"}
    assert set(wanted.figures_of(CONFIG, "skewed")) == set(FIGURES)
    assert set(wanted.tables_of(CONFIG, "skewed")) == set(TABLES) - fetched
    pretrained = settings()
    pretrained["translation"]["backend"] = "opus-mt"
    pretrained["models"]["skewed"]["traits"] = ["exports", "checkpoints", "injected"]
    trained_here = {"training", "sae_quality", "accuracy_by_teaching", "latent_by_teaching"}
    assert set(wanted.figures_of(pretrained, "skewed")) == set(FIGURES) - trained_here
    assert set(wanted.tables_of(pretrained, "skewed")) == set(TABLES) - trained_here
    assert wanted.compares(CONFIG)
    assert "results/comparison/figures/planted_truth.svg" in wanted.summary_figures(CONFIG)
    alone = settings()
    alone["models"]["equal"]["analyses"] = ["latent"]
    assert not wanted.compares(alone)
    assert wanted.between_figures(alone) == ["models"]
    assert wanted.between_tables(alone) == ["models", "sizes"]
    del alone["models"]["equal"], alone["models"]["skewed"]["control"]
    assert not wanted.between(alone)
    assert not any("comparison" in path for path in (*wanted.summary_figures(alone), *wanted.summary_tables(alone)))
    equal = wanted.figures_of(CONFIG, "equal")
    assert "group_gap" in equal
    assert not {"similarity", "alignment_gain", "accuracy_change", "alignment_loss"} & set(equal)
    single = settings(alignment={"runs": {"ml-l0": {"target_layer": 0, "languages": ["ml"], "benchmark": []}}})
    drawn = set(wanted.figures_of(single, "skewed"))
    assert "alignment_gain_layers" in drawn
    assert not {"alignment_gain", "accuracy_change"} & drawn


def test_figures_findings_and_tables_do_not_import_one_another():
    below = {
        "shared": {"entry", "wanted"},
        "figures": {"shared", "wanted", "entry"},
        "charts": {"shared", "figures"},
        "findings": {"shared"},
        "takeaways": {"shared", "findings", "entry", "wanted"},
        "tables": {"shared", "entry"},
        "page": {"shared", "findings", "figures", "tables", "charts", "scorecard", "wanted", "catalogue", "entry"},
    }
    package = REPOSITORY / "workflow/scripts/isogloss/report"
    for room, allowed in below.items():
        for path in (package / room).glob("*.py"):
            imported = set(re.findall(r"^\s*from isogloss\.report\.(\w+)", path.read_text(), flags=re.MULTILINE))
            assert imported <= allowed | {room}, path


def test_the_catalogue_imports_nothing_heavy():
    code = (
        "import sys; from isogloss.report import catalogue, wanted;"
        "print({'polars', 'matplotlib', 'seaborn', 'torch', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY / "workflow/scripts", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def bilingual(name: str, tables: dict[str, pl.DataFrame], languages: list[str]) -> Figure:
    config = settings()
    config["bilingual"]["languages"] = languages
    return load(FIGURES[name].drawing)(tables, Context("skewed", wanted.figure_settings(config)))


@pytest.mark.parametrize(
    ("languages", "layers", "steps"),
    [
        (("en", "ja"), 28, (0, 1, 10, 1000, 988_240)),
        (("en", "hi", "ml"), 4, (1, 27, 1328)),
        (("en", "hi", "ml"), 1, (7,)),
    ],
)
def test_draws_any_number_of_languages_layers_and_steps(languages, layers, steps):
    tables = bilingual_tables(languages, layers, steps=steps, alphas=(0.05, 0.1), n_features=(1000, 3000, 5000))
    for name, entry in FIGURES.items():
        if "bilingual" in entry.needs.analyses:
            bilingual(name, tables, list(languages)).draw_without_rendering()


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


def test_search_and_intervention_are_shown_only_where_they_were_asked_for():
    plain = settings(bilingual={"languages": ["en", "es"], "intervention": None})
    missing = set(wanted.figures_of(CONFIG, "skewed")) - set(wanted.figures_of(plain, "skewed"))
    assert missing == {"learning_rates", "intervention"}
    assert "intervention" not in wanted.tables_of(plain, "skewed")
    assert not {"selectivity", "examples"} & {
        *wanted.tables_of(CONFIG, "equal"),
        *wanted.figures_of(CONFIG, "equal"),
    }
