"""The stage that writes results/summary.html, the page, and results/overview.rst, which report.html begins with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from isogloss.report.charts.embed import highlighter, runtime
from isogloss.report.page.banner import banner
from isogloss.report.page.evidence import dropped, key_figures, sections
from isogloss.report.page.explorer import explorer_section
from isogloss.report.page.markup import as_rst, without_braces
from isogloss.report.page.methods import methods, reproduce
from isogloss.report.page.papers import caveats, questions
from isogloss.report.page.planted import planted_truth
from isogloss.report.scorecard.rows import bottom_line, not_concluded, scorecard
from isogloss.report.shared.study import COMPARISON, Study, read_study
from isogloss.report.shared.wording import name
from isogloss.resources import CAPTIONS
from isogloss.tables import atomic_path, table_metadata

STYLES = ("summary.css", "charts.css", "table.css", "explorer.css")
SCRIPTS = ("summary.js", "charts.js", "table.js", "explorer.js")


def summary(
    *, tables: Sequence[str], figures: Sequence[str], settings: Mapping[str, Any], output: str, landing: str
) -> None:
    """Write the page and the landing text from the tables and figures of all models.

    `tables` are paths results/{model}/tables/{name}.parquet and results/{model}/alignment/{run}.parquet, `figures`
    results/{model}/figures/{name}.svg, `settings` is the resolved configuration. Which there are follows from each
    model's analyses (`wanted.summary_tables`, `wanted.summary_figures`).
    """
    pictures: dict[str, dict[str, str]] = {model: {} for model in (*settings["models"], COMPARISON)}
    for path in map(Path, figures):
        pictures[path.parts[-3]][path.stem] = str(path)
    study = read_study(tables, settings)
    provenance = table_metadata(tables[0]) if tables else {}
    with atomic_path(Path(output)) as aside:
        aside.write_text(page(study, pictures, provenance), encoding="utf-8")
    with atomic_path(Path(landing)) as aside:
        aside.write_text(landing_text(study), encoding="utf-8")


def page(study: Study, pictures: Mapping[str, Mapping[str, str]], provenance: Mapping[str, Any]) -> str:
    """The whole page as HTML; `pictures` are paths by model and name, `provenance` is a table's metadata."""
    made, rows = sections(study, pictures), scorecard(study)
    charted = any(figure.chart for section in made for figure in section.figures)
    whole = {**study.tables, COMPARISON: study.compared}
    return _environment().get_template("summary.html.j2").render(
        styles=[Markup(text) for text in _assets(STYLES)],
        scripts=[Markup(text) for text in ([runtime()] if charted else []) + _assets(SCRIPTS)],
        study=study.settings["study"],
        seed=study.settings["seed"],
        banner=banner(study),
        questions=questions(study.settings),
        scorecard=rows,
        bottom_line=bottom_line(rows),
        not_concluded=not_concluded(study),
        confidence=100 * study.settings["statistics"]["confidence"],
        reference=name(study.settings["languages"]["reference"]),
        key_figures=key_figures(made),
        chips=highlighter(study.context().languages, study.context()) if charted else "",
        sections=made,
        figures={figure.name for section in made for figure in section.figures},
        planted=planted_truth(study),
        explorer=Markup(explorer_section(whole, study.settings)),
        dropped=dropped(study),
        caveats=caveats(study.settings),
        methods=methods(study),
        reproduce=reproduce(study.settings, provenance),
        models=len(study.tables),
    )  # fmt: skip


def landing_text(study: Study) -> str:
    """What report.html begins with, as reStructuredText: banner and scorecard, static, for a narrow column."""
    template, rows = _environment().get_template("landing.html.j2"), scorecard(study)
    html = template.render(
        study=study.settings["study"],
        banner=banner(study),
        scorecard=rows,
        bottom_line=bottom_line(rows),
        not_concluded=not_concluded(study),
        confidence=100 * study.settings["statistics"]["confidence"],
    )
    return as_rst(without_braces(html))


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(CAPTIONS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _assets(names: Sequence[str]) -> list[str]:
    """The texts of the styles or scripts that there are."""
    return [path.read_text(encoding="utf-8") for name in names if (path := CAPTIONS / name).is_file()]
