"""Every figure and HTML table of the catalogue, from synthetic tables with known values."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import polars as pl
import pytest

from figure_drawings import CONFIG, REPOSITORY, bilingual, draw
from isogloss.report import wanted
from isogloss.report.catalogue import BETWEEN_FIGURES, BETWEEN_TABLES, FIGURES, FINDINGS, TABLES
from isogloss.report.entry import load
from isogloss.report.figures.draw import figure
from isogloss.report.page.markup import headless, svg_size
from isogloss.report.shared.context import Context
from isogloss.tables import write_table
from report_pages import many_languages
from synthetic import SHARES, make_tables, settings, write_results
from synthetic_bilingual import bilingual_tables

DRAWINGS = {**FIGURES, **BETWEEN_FIGURES}


def caption(name: str) -> Path:
    return REPOSITORY / f"workflow/report/{name}.rst"


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


def test_search_and_intervention_are_shown_only_where_they_were_asked_for():
    plain = settings(bilingual={"languages": ["en", "es"], "intervention": None})
    missing = set(wanted.figures_of(CONFIG, "skewed")) - set(wanted.figures_of(plain, "skewed"))
    assert missing == {"learning_rates", "intervention"}
    assert "intervention" not in wanted.tables_of(plain, "skewed")
    assert not {"selectivity", "examples"} & {
        *wanted.tables_of(CONFIG, "equal"),
        *wanted.figures_of(CONFIG, "equal"),
    }
