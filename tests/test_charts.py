"""The interactive charts: valid Vega-Lite that renders, with the tables' own numbers, of any shape of study."""

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs
import pytest
import vl_convert

from isogloss.languages import language, language_table
from isogloss.report import wanted
from isogloss.report.catalogue import BETWEEN_FIGURES, FIGURES
from isogloss.report.charted import CHARTS
from isogloss.report.charts import embed, latent, pairs
from isogloss.report.charts.alignment import blocks
from isogloss.report.charts.base import MOST_LETTERS, Contexts, Models
from isogloss.report.charts.panels import layer_slider, model_choice
from isogloss.report.entry import load
from isogloss.report.shared.context import Context
from isogloss.report.shared.means import over_languages
from isogloss.report.shared.steered import beyond_random
from report_pages import many_languages
from synthetic import compared, make_tables, settings
from synthetic_alignment import make_losses
from synthetic_joined import models_tables

CONFIG = settings()
ENTRIES = {**FIGURES, **BETWEEN_FIGURES}
PAGE = Path(__file__).parents[1] / "workflow" / "report"


def study(config: dict[str, Any], folder: Path | None = None) -> dict[str, tuple[Models, Contexts]]:
    """What each chart of a study is made from, tables and contexts by model; with a folder those between models too."""
    own = wanted.figure_settings(config)
    tables = {model: make_tables(config, model, gap=20.0 - 15 * n) for n, model in enumerate(config["models"])}
    made: dict[str, tuple[Models, Contexts]] = {}
    for name in CHARTS:
        if name in BETWEEN_FIGURES:
            if folder is None:
                continue
            frames = models_tables(config) if name == "models" else compared(folder, config, {"skewed": 20, "equal": 0})
            frames = {f"comparison/{one.removeprefix('comparison/')}": frame for one, frame in frames.items()}
            made[name] = {"": frames}, {"": Context("", own)}
            continue
        having = [model for model in config["models"] if wanted.wanted(FIGURES[name].needs, config, model)]
        losses = {model: make_losses(config) for model in having}
        parts = {
            model: losses[model] if FIGURES[name].loss else {one: tables[model][one] for one in FIGURES[name].tables}
            for model in having
        }
        made[name] = parts, {model: Context(model, own) for model in having}
    return made


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Models, Contexts]]:
    return study(CONFIG, tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def specs(demo: dict[str, tuple[Models, Contexts]]) -> dict[str, dict[str, Any]]:
    return {name: embed.specification(chart(name, *made), validate=True) for name, made in demo.items()}


def chart(name: str, tables: Models, contexts: Contexts) -> Any:
    return load(CHARTS[name])(tables, contexts)


def rows(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for part in spec["datasets"].values() for row in part]


def test_every_chart_is_a_figures_and_has_its_name():
    assert set(CHARTS) <= set(ENTRIES)
    assert {name for name, entry in ENTRIES.items() if entry.chart} == set(CHARTS)
    assert all(load(entry.chart).__name__ == name for name, entry in ENTRIES.items() if entry.chart)


@pytest.mark.parametrize("name", CHARTS)
def test_is_vega_lite_that_renders(name, specs):
    spec = specs[name]
    svg = vl_convert.vegalite_to_svg({**spec, "width": 400} if spec.get("width") == "container" else spec)
    assert svg.count("<path") > 10
    known = spec["usermeta"]["languages"]
    assert next(one for one in spec["params"] if one["name"] == "languages")["value"].keys() == set(known)
    for title in next(one for one in spec["params"] if one["name"] == "panels")["value"]:
        assert title.split("\n")[0].split(" ")[0] in svg


COMPUTED = {"alignment_loss", "latent_accuracy", "steering", "steering_layers"}  # have tests of their own


@pytest.mark.parametrize("name", sorted(set(CHARTS) - COMPUTED))
def test_numbers_are_the_tables(name, demo, specs):
    """Every number of every mark stands in a table, but for means and lines that are computed in words."""
    tables, _ = demo[name]
    known: set[float] = {0.0}
    for frames in tables.values():
        for frame in frames.values():
            known |= {value for column in frame.select(cs.numeric()).iter_columns() for value in column.drop_nulls()}
    shown = rows(specs[name])
    assert shown
    computed = {"latent", "planted_truth_languages"}  # the mean over languages; a slope and its band
    for row in shown:
        if (name in computed and row["lang"] is None) or row.get("features") == "random ones off":
            continue
        numbers = {key: value for key, value in row.items() if isinstance(value, float)}
        assert numbers
        assert not {key: value for key, value in numbers.items() if value not in known}


def test_means_over_languages_are_those_of_the_figure(demo, specs):
    tables, contexts = demo["latent_accuracy"]
    frame = tables["skewed"]["latent"].filter(pl.col("lang") != "en")
    means = over_languages(frame, "accuracy_native", contexts["skewed"].confidence, ("task", "layer"))
    shown = rows(specs["latent_accuracy"])
    native = {(row["task"], row["layer"]): row["accuracy"] for row in shown if row["what"] == "native answers"}
    assert native == {(task, layer): mean for task, layer, mean in means.select("task", "layer", "mean").iter_rows()}


def test_one_model_one_pair_of_languages_and_one_layer_have_charts_too():
    config = settings(1, ("en", "hi"), world={"languages": ["en", "hi"], "bilingual": 0.1})
    config["models"] = {"skewed": config["models"]["skewed"]}
    for name, (tables, contexts) in study(config).items():
        made = chart(name, tables, contexts)
        if made is not None:
            assert vl_convert.vegalite_to_vega(embed.specification(made, validate=True)), name


def test_losses_are_the_tables_or_means_of_blocks_of_steps(demo, specs):
    tables, _ = demo["alignment_loss"]
    run, frame = next(iter(tables["skewed"].items()))
    whole = pl.DataFrame(rows(specs["alignment_loss"])).filter(what=run)
    shown = whole.filter(pl.col("measure").str.starts_with("retention term"))
    assert shown.height == 50
    assert shown["steps"].sum() == frame.height == 150
    means = frame["retention_term"].to_numpy().reshape(50, 3).mean(axis=1)
    assert shown["value"].to_list() == pytest.approx(means.tolist(), rel=1e-5)
    assert shown["step"].to_list() == [2.0 + 3 * block for block in range(50)]
    assert "mean of up to 3 steps" in specs["alignment_loss"]["usermeta"]["note"]
    few = blocks(frame.head(40), ["loss"])
    assert few["loss"].to_list() == frame.head(40)["loss"].to_list()
    assert set(few["steps"]) == {1}


def test_sweeps_show_what_own_vectors_change_beyond_random_ones(demo, specs):
    tables, contexts = demo["steering"]
    frame = tables["skewed"]["steering"]
    expected = beyond_random(frame, "accuracy_change", contexts["skewed"].confidence)
    swept = pl.DataFrame(rows(specs["steering"])).filter(pl.col("measure").str.contains("accuracy"))
    assert swept.height == expected.height
    key = ["layer", "gamma"]
    both = expected.join(swept, on=[*key, "task"], how="inner")
    assert both.height == expected.height
    assert both["value"].to_list() == pytest.approx((100 * both["mean"]).to_list())
    assert both["value_low"].to_list() == pytest.approx((100 * both["low"]).to_list())
    by_layer = pl.DataFrame(rows(specs["steering_layers"]))
    assert by_layer.height < 3 * swept.height
    assert by_layer.join(pl.DataFrame(rows(specs["steering"])), on=[*key, "task", "measure", "value"]).height


def test_the_chosen_rate_is_ringed_and_a_diverged_one_has_no_point(demo):
    tables, contexts = demo["learning_rates"]
    worst = pl.when(pl.col("learning_rate") == pl.col("learning_rate").max()).then(float("nan"))
    frame = tables["skewed"]["learning_rates"].with_columns(loss=worst.otherwise(pl.col("loss")))
    spec = embed.specification(chart("learning_rates", {"skewed": {"learning_rates": frame}}, contexts), validate=True)
    losses = [row for row in rows(spec) if row["measure"].startswith("validation loss")]
    assert len(losses) == frame.height - 1
    assert {row["learning_rate"] for row in losses if row["chosen"]} == set(frame.filter("chosen")["learning_rate"])


@pytest.mark.parametrize("name", sorted(set(CHARTS) - {"sae_quality", "sae_training"}))  # counts are left of these
def test_a_study_without_any_value_has_no_empty_chart(name, demo):
    tables, contexts = demo[name]
    empty = {
        model: {
            one: frame.with_columns(pl.when(False).then(cs.float()).otherwise(None).name.keep())
            for one, frame in frames.items()
        }
        for model, frames in tables.items()
    }
    assert chart(name, empty, contexts) is None


def test_undefined_values_leave_gaps(demo):
    tables, contexts = demo["similarity"]
    holed = pl.when(pl.col("layer") != 1).then(pl.col("cosine")).otherwise(float("nan")).alias("cosine")
    frame = tables["skewed"]["similarity"].with_columns(holed)
    spec = embed.specification(chart("similarity", {"skewed": {"similarity": frame}}, contexts), validate=True)
    assert {row["cosine"] for row in rows(spec) if row["layer"] == 1} == {None}


def test_titles_are_inert_and_cut(demo):
    config = settings()
    hostile = "</script><script>alert(1)</script>\u2028 \u202e'\"" + "x" * 10_000
    config["models"]["skewed"]["title"] = hostile
    own = wanted.figure_settings(config)
    contexts = {model: Context(model, own) for model in config["models"]}
    for name in ("group_gap", "reciprocal_gap", "gap_accuracy_correlation"):
        html = str(embed.chart_fragment(name, chart(name, demo[name][0], contexts), hostile))
        assert len(html) < 200_000
        assert "<script>alert" not in html
        data = re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
        assert data
        assert not set("<>&\u2028") & set(data[1])
        spec = json.loads(data[1])
        titles = next(one for one in spec["params"] if one["name"] == "models")["value"]
        assert titles["skewed"].startswith("</script><script>alert(1)")
        assert len(titles["skewed"]) == MOST_LETTERS


def test_specifications_of_many_layers_are_small():
    config = settings(26)
    made = study(config).items()
    assert sum(len(embed.chart_fragment(name, chart(name, *one), "What it shows")) for name, one in made) < 4_000_000


def test_too_many_pairs_are_pooled_by_script_and_the_chart_says_so(demo, monkeypatch):
    monkeypatch.setattr(pairs, "MOST_CELLS", 100)
    spec = embed.specification(chart("similarity_pairs", *demo["similarity_pairs"]), validate=True)
    shown = rows(spec)
    assert len(shown) <= 100
    assert {row["lang_a"] for row in shown} >= {"Latin", "Devanagari"}
    assert "too many" in spec["usermeta"]["note"]
    assert sum(row["pairs"] for row in shown if row["layer"] == shown[0]["layer"]) == 90


def test_too_many_states_are_thinned_and_the_chart_says_so(demo, monkeypatch):
    tables, contexts = demo["projection"]
    monkeypatch.setattr(latent, "MOST_POINTS", 100)
    spec = embed.specification(chart("projection", tables, contexts))
    shown = pl.DataFrame(rows(spec))
    assert shown.height < tables["skewed"]["projection"].height
    assert shown.group_by("task", "layer", "lang").len()["len"].n_unique() == 1
    assert "too many" in spec["usermeta"]["note"]


def test_controls_follow_what_there_is(demo):
    even = layer_slider([2, 6, 10]).parameter
    uneven = layer_slider([5, 12, 20, 17]).parameter
    assert even
    assert even["bind"] == {"input": "range", "min": 2, "max": 10, "step": 4, "name": "layer "}
    assert uneven
    assert uneven["bind"]["options"] == [5, 12, 17, 20]
    assert uneven["value"] in uneven["bind"]["options"]
    assert layer_slider([3, 3]) == (None, "true")
    contexts = demo["group_gap"][1]
    assert model_choice(contexts, ["equal"]).parameter is None
    both = model_choice(contexts, ["skewed", "equal"]).parameter
    assert both
    assert both["bind"]["labels"] == ["Skewed shares", "Equal shares"]


def test_chips_are_of_every_language_and_a_list_of_many(demo):
    context = demo["group_gap"][1]["skewed"]
    assert str(embed.highlighter(["en", "hi"], context)).count("<button") == 2
    assert "aria-pressed" in embed.highlighter(["hi"], context)
    many = embed.highlighter(list(language_table())[:40], context)
    assert str(many).count("<option") == 41
    assert not embed.highlighter([], context)


def test_scripts_need_no_network_and_no_compiler():
    """The page's policy forbids both; Vega interprets its expressions (`ast`)."""
    text = (PAGE / "charts.js").read_text(encoding="utf-8")
    assert "ast: true" in text
    assert "editor: false" in text
    assert not re.search(r"\beval\(|new Function|innerHTML|https?://|fetch\(", text)


def test_of_122_languages_scripts_have_panels_lines_are_thin_and_rows_can_be_read():
    config = many_languages()
    config["models"]["skewed"]["analyses"] = ["gap", "benchmarks"]
    tables = make_tables(config, "skewed")
    context = Context("skewed", wanted.figure_settings(config))
    specs = {
        name: embed.specification(
            load(CHARTS[name])({"skewed": tables}, {"skewed": context}), validate=name == "reciprocal_gap"
        )
        for name in ("reciprocal_gap", "language_gap", "accuracy", "activation_controls")
    }
    both = specs["reciprocal_gap"]
    titles = next(one for one in both["params"] if one["name"] == "panels")["value"]
    assert titles[0].startswith("Latin (72)")
    assert len(titles) == 9
    assert "121 languages are too many" in both["usermeta"]["note"]
    latin = {row["what"]: row["gap_pct"] for row in rows(both) if row["lang"] == "Latin (72)" and row["layer"] == 0}
    of_latin = [code for code in context.languages if language(code).script == "Latn" and code != "en"]
    expected = tables["reciprocal_gap"].filter(pl.col("lang").is_in(of_latin), layer=0)["symmetric_gap_pct"].mean()
    assert latin["symmetric: half the difference"] == pytest.approx(expected)
    marks = [layer["mark"]["type"] for layer in specs["language_gap"]["layer"]]
    assert "area" not in marks  # 121 bands would cover one another
    for name in ("accuracy", "activation_controls"):
        height = specs[name]["spec"]["height"] if "spec" in specs[name] else specs[name]["height"]
        assert 13 * 121 <= height <= 30 * 122
    legend = str(embed.highlighter(context.languages, context))
    assert legend.count("<option") == 123
    assert legend.count("<circle") + legend.count("<path") == 9  # eight scripts and the others


def test_models_of_which_one_was_measured_are_drawn(demo):
    tables, contexts = demo["models"]
    both = tables[""].items()
    one = {name: frame.filter(model="skewed") if "model" in frame.columns else frame for name, frame in both}
    chart = load(CHARTS["models"])({"": one}, contexts)
    assert chart is not None
    assert {row["model"] for row in rows(embed.specification(chart))} == {"skewed"}
