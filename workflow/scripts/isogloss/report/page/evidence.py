"""The evidence of the page: sections by analysis, each with figures, their takeaways and captions, and tables."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from isogloss.report.catalogue import BETWEEN, BETWEEN_FIGURES, BETWEEN_TABLES, FIGURES, FINDINGS, TABLES
from isogloss.report.charts.embed import chart_fragment
from isogloss.report.entry import Entry, Takeaway, load
from isogloss.report.findings.between import between
from isogloss.report.page.captions import Caption, caption
from isogloss.report.page.markup import headless, slug, svg_size, svg_uri, tidy
from isogloss.report.shared.study import COMPARISON, Study
from isogloss.report.tables.html import WIDE, fragment
from isogloss.report.wanted import wanted

MOST_MODELS = 2
"""Of so many models the page has pictures and tables, in the study's order; of the others report.html."""
PLANTED = "the-planted-truth"
"""Key of the section that says what was planted, there wherever models were trained here."""
PRINTED_ROWS = 40
"""Tables of more rows, or of more columns than an upright page holds, stay closed in print: their files have them."""
KEY_FIGURES = (
    ("What was planted", ("planted_truth",)),
    ("Paper A", ("reciprocal_gap", "gap_accuracy_correlation", "group_gap", "retrieval", "accuracy")),
    ("Paper B", ("latent", "transfer_layers", "answers")),
    ("Paper C", ("selectivity", "models")),
)
"""The figure of each study that stands above the evidence: the first that there is."""


class Picture(NamedTuple):
    """A figure of one model as it is drawn for print."""

    title: str  # the model's; "" where models are compared
    source: Markup  # data URI
    size: tuple[int, int]
    alternative: str


class Table(NamedTuple):
    """A table of one model."""

    name: str
    model: str
    heading: str
    title: str
    html: Markup
    long: bool  # stays closed in print


class Shown(NamedTuple):
    """A figure on the page."""

    name: str
    title: str
    takeaways: list[tuple[str, Takeaway]]  # by the model's title
    chart: Markup  # in place of pictures, where there is one
    pictures: list[Picture]
    caption: Caption
    tables: list[Table]  # those of its own name
    models: int  # that have it


class Section(NamedTuple):
    """An analysis."""

    key: str
    title: str
    findings: list[tuple[str, list[str]]]  # sentences by the model's title
    figures: list[Shown]
    tables: list[Table]  # that stand under no figure


def sections(study: Study, pictures: Mapping[str, Mapping[str, str]]) -> list[Section]:
    """The sections of a study, those without anything left out.

    `pictures` are paths of figures (SVG) by model, `COMPARISON` among them, and name.
    """
    entries = {**FIGURES, **TABLES, **BETWEEN_FIGURES, **BETWEEN_TABLES}
    findings = [one for one in FINDINGS if one.section[:1].isdigit()]
    categories = sorted({one.category for one in entries.values()} | {one.section for one in findings})
    made = (_section(category, study, pictures) for category in categories)
    planted = any(model["kind"] == "toy" for model in study.settings["models"].values())
    return [one for one in made if one.figures or one.tables or one.findings or (planted and one.key == PLANTED)]


def dropped(study: Study) -> list[tuple[str, list[str]]]:
    """What was dropped on the way, in sentences by the model's title."""
    return _findings("What was dropped", study)


def _section(category: str, study: Study, pictures: Mapping[str, Mapping[str, str]]) -> Section:
    title = category.lstrip("0123456789 ")
    tables = {
        name: list(_tables(entry, study, model_names))
        for entries, model_names in ((TABLES, list(study.tables)), (BETWEEN_TABLES, [""]))
        for name, entry in entries.items()
        if entry.category == category
    }
    figures = [
        _shown(entry, study, models, pictures, tables.pop(name, []))
        for entries, models in ((FIGURES, list(study.tables)), (BETWEEN_FIGURES, [""]))
        for name, entry in entries.items()
        if entry.category == category
    ]
    return Section(
        slug(title),
        title,
        _findings(category, study),
        [one for one in figures if one.models],
        [table for group in tables.values() for table in group]
        + [t for f in figures if not f.models for t in f.tables],
    )


def _findings(section: str, study: Study) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    for model, frames in study.tables.items():
        present = [
            one
            for one in FINDINGS
            if one.section == section
            and wanted(one.needs, study.settings, model)
            and all(table in frames for table in one.tables)
        ]
        sentences = [text for one in present for text in load(one.function)(frames, study.context(model)) if text]
        if sentences:
            found.append((study.title(model), [tidy(text) for text in sentences]))
    if section == BETWEEN and "models" in study.compared:
        found.append(("All models", [tidy(text) for text in between(study.compared, study.context()) if text]))
    return found


def _shown(
    entry: Entry, study: Study, models: Sequence[str], pictures: Mapping[str, Mapping[str, str]], tables: list[Table]
) -> Shown:
    drawn = {model: frames for model in models if (frames := _drawn(entry, study, model, pictures)) is not None}
    contexts = {model: study.context(model) for model in drawn}
    takeaways: list[tuple[str, Takeaway]] = []
    if entry.takeaway:
        said = ((model, load(entry.takeaway)(drawn[model], contexts[model])) for model in drawn)
        takeaways = [(study.title(model) if model else "", one) for model, one in said if one.text]
    alternative = " ".join([f"{entry.title}.", *(f"{title}: {one.text}" for title, one in takeaways)])
    chart = load(entry.chart)(drawn, contexts) if entry.chart and drawn else None
    shown = []
    for model in list(drawn)[: 0 if chart is not None else MOST_MODELS]:
        title = study.title(model) if model else ""
        path = pictures[model or COMPARISON].get(entry.name)
        of_model = " ".join([f"{entry.title}. {title}", *(one.text for label, one in takeaways if label == title)])
        if path:
            svg = headless(Path(path).read_bytes())  # title and takeaway stand above it on the page
            shown.append(Picture(title, Markup(svg_uri(svg)), svg_size(svg), of_model))
    first = next(iter(drawn), "")
    return Shown(
        entry.name,
        entry.title,
        takeaways,
        Markup(chart_fragment(entry.name, chart, alternative) if chart is not None else ""),
        shown,
        caption(entry.name, study.settings, first) if drawn else Caption("", "", ""),
        tables,
        len(drawn),
    )


def _drawn(entry: Entry, study: Study, model: str, pictures: Mapping[str, Mapping[str, str]]):
    """The tables of a figure that the study draws of a model; None where it does not."""
    path = pictures.get(model or COMPARISON, {}).get(entry.name)
    return study.of_entry(entry, model) if path else None


def _tables(entry: Entry, study: Study, models: Sequence[str]) -> Iterator[Table]:
    settings = study.settings
    asked = [model for model in models if not model or wanted(entry.needs, settings, model)]
    having = [model for model in asked if study.of_entry(entry, model) is not None]
    for model in having[:MOST_MODELS]:
        frames = study.of_entry(entry, model) or {}
        frame = next(iter(frames.values()))
        title = study.title(model) if model else "All models compared"
        folder = model or COMPARISON
        html = fragment(
            frame,
            load(entry.drawing),
            name=entry.name,
            heading=entry.title,
            title=title,
            confidence=settings["statistics"]["confidence"],
            source=f"results/{folder}/tables/{entry.tables[0]}.parquet",
            study=settings["study"],
            toy=all(settings["models"][one]["kind"] == "toy" for one in ([model] if model else study.tables)),
        )
        columns = html.partition("</thead>")[0].count("<th")
        yield Table(
            entry.name,
            folder,
            entry.title,
            title,
            Markup(html),
            frame.height > PRINTED_ROWS or columns > WIDE,
        )


def key_figures(made: Sequence[Section]) -> list[tuple[str, Shown]]:
    """Of each study the figure that stands above the evidence, under the study's heading."""
    by_name = {one.name: one for section in made for one in section.figures}
    chosen = (
        (heading, next((by_name[name] for name in names if name in by_name), None)) for heading, names in KEY_FIGURES
    )
    return [(heading, one) for heading, one in chosen if one is not None]
