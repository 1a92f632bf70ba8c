"""The report's landing page: what was asked, done and found, in sentences computed from the tables.

Written as reStructuredText with raw HTML, which Snakemake sets as the report's global text. Snakemake renders that
text with jinja2 first, so no brace of the data may reach it: `safe` turns braces into entities.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl

from isogloss.report.catalogue import FINDINGS
from isogloss.report.entry import load
from isogloss.report.page.between import between_section
from isogloss.report.page.markup import STYLE, as_rst, bullets, paragraph, picture, safe
from isogloss.report.page.papers import PAPER_A, PAPER_B, PAPER_C, PHRASES, asks, caveats, questions
from isogloss.report.page.planted import planted_section
from isogloss.report.shared.classes import language_order
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import TASK_TITLES, listed, name
from isogloss.tables import atomic_path, read_table, table_metadata

CORRECTIONS = {"holm": "Holm's method", "bh": "Benjamini and Hochberg's method"}
COMPARISON = "comparison"  # the folder of results/ of what compares models; no model may be called so
INTRODUCTIONS = {
    "Activation alignment": "What features held out of training gain, none of whose texts was trained on, tells whether"
    " alignment carries over. In-sample are gain and retention of all features of the target layer, as in the paper:"
    " most of them were trained on."
}
"""What stands above the findings of a section."""


def overview(*, tables: Sequence[str], figures: Sequence[str], settings: Mapping[str, Any], output: str) -> None:
    """Write the landing page from the tables results/{model}/tables/{name}.parquet and the key figures (SVG).

    `settings` is the resolved configuration; which tables there are follows from each model's analyses
    (`wanted.overview_tables`).
    """
    by_model: dict[str, dict[str, pl.DataFrame]] = {model: {} for model in (*settings["models"], COMPARISON)}
    for path in map(Path, tables):
        by_model[path.parts[-3]][path.stem] = read_table(path)
    pictures = {Path(path).stem: Path(path).read_bytes() for path in figures}
    html = page(by_model, pictures, settings, table_metadata(tables[0]) if tables else {})
    with atomic_path(Path(output)) as aside:
        aside.write_text(as_rst(html), encoding="utf-8")


def page(
    tables: Mapping[str, Tables],
    pictures: Mapping[str, bytes],
    settings: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> str:
    """The page as HTML, of the tables by model and name, those that compare models by `COMPARISON`.

    `provenance` is that of one of them.
    """
    compared = tables.get(COMPARISON, {})
    tables = {model: frames for model, frames in tables.items() if model != COMPARISON}
    contexts = {model: Context(model, settings) for model in tables}
    parts = [f"<style>{STYLE}</style>", '<div class="isogloss">', *questions(settings)]
    parts += [*_done(tables, contexts, settings), *planted_section(tables, compared, pictures, settings)]
    for model, context in contexts.items():
        parts += _findings(tables[model], pictures if model == next(iter(tables)) else {}, context)
    parts += between_section(compared, pictures, settings)
    parts += [*caveats(settings), *_reproduce(settings, provenance), "</div>"]
    return "\n".join(parts)


def _findings(tables: Tables, pictures: Mapping[str, bytes], context: Context) -> list[str]:
    """The findings of one model, section by section: only of the analyses that were run on it."""
    parts = [f"<h2>Found: {safe(context.title())}</h2>"]
    measured = [finding for finding in FINDINGS if all(table in tables for table in finding.tables)]
    for section, group in groupby(measured, lambda finding: finding.section.lstrip("0123456789 ")):
        findings = list(group)
        parts.append(f"<h3>{section}</h3>")
        if section in INTRODUCTIONS:
            parts.append(paragraph(INTRODUCTIONS[section]))
        parts.append(bullets([text for finding in findings for text in load(finding.function)(tables, context)]))
        parts += [picture(pictures, finding.figure, finding.alternative) for finding in findings if finding.figure]
    return parts


def _done(tables: Mapping[str, Tables], contexts: Mapping[str, Context], settings: Mapping[str, Any]) -> list[str]:
    languages, phrases, statistics = settings["languages"], settings["phrases"], settings["statistics"]
    groups = next(iter(contexts.values())).groups
    named = "; ".join(f"{group} {listed([name(code) for code in codes])}".strip() for group, codes in groups.items())
    reference = name(languages["reference"])
    items = [f"Languages: {named}; reference {reference}."]
    for model, frames in tables.items():
        config = settings["models"][model]
        kept = f", {frames['phrase_counts']['n_phrases'].sum():,} phrases" if "phrase_counts" in frames else ""
        analyses = ", ".join(config["analyses"])
        items.append(f"{config['title']} ({model}): {_origin(config)}{kept}; analyses: {analyses}.")
    items += _of_the_world(tables, settings)
    items += _texts(settings)
    if asks(settings, PHRASES):
        language = name(phrases["language"] or languages["reference"])
        window = f"windows of ±{phrases['window']} tokens round"
        items.append(
            f"Phrases: {language} {'segments with' if phrases['unit'] == 'segment' else window} a feature's strongest"
            f" tokens, from {100 * phrases['threshold']:g} % of its maximum on, and their counterparts in every other"
            " language."
        )
    items += [_questions(frames, contexts[model]) for model, frames in tables.items() if "transfer_summary" in frames]
    items += [_classes(frames, contexts[model]) for model, frames in tables.items() if "selectivity" in frames]
    items.append(
        f"Intervals have {100 * statistics['confidence']:g} % coverage; {_resampled(settings)}"
        f" ({statistics['bootstrap']:,} resamples); families of tests are corrected"
        f" by {CORRECTIONS[statistics['correction']]}."
    )
    return ["<h2>What was done</h2>", bullets(items)]


def _resampled(settings: Mapping[str, Any]) -> str:
    drawn = ["activation intervals bootstrap features, then phrases"] if asks(settings, PHRASES | PAPER_C) else []
    if asks(settings, PAPER_B):
        drawn.append("those of answers and their latent probabilities bootstrap questions")
        drawn.append("those of means over languages are Student's")
    if asks(settings, {"causal"}):
        drawn.append("those of ablations bootstrap texts, of their means over languages are Student's")
    return ", ".join(drawn) or "intervals bootstrap what was measured"


def _questions(tables: Tables, context: Context) -> str:
    latent = context.settings["latent"]
    tasks = [
        f"{TASK_TITLES[row['task']]} in {row['n_languages']} languages ({row['n']:,} questions, prompt"
        f" {latent['tasks'][row['task']]['prompt']})"
        for row in tables["transfer_summary"].iter_rows(named=True)
    ]
    steered = f" Steering: vectors of {latent['held_out']} questions that are held out of what is reported of it."
    return f"Parallel questions of {context.title()}: {listed(tasks)}.{steered if latent['steering'] else ''}"


def _of_the_world(tables: Mapping[str, Tables], settings: Mapping[str, Any]) -> list[str]:
    """What the questions are that a model trained here is asked."""
    toys = [model for model in tables if settings["models"][model]["kind"] == "toy"]
    asked = {task for model in toys if "accuracy" in tables[model] for task in tables[model]["accuracy"]["task"]}
    if not asked:
        return []
    formats = listed([TASK_TITLES[task] for task in sorted(asked)])
    return [f"Questions called {formats} are facts of the toy world in these formats, not the benchmarks' own."]


def _texts(settings: Mapping[str, Any]) -> list[str]:
    """Where documents and parallel text come from that are not the toy world's."""
    documents, parallel = settings["documents"], settings["parallel"]
    items = []
    if isinstance(documents, Mapping):
        origins = dict.fromkeys(map(_source, documents.values()))
        items.append(f"Documents in {listed([name(code) for code in documents])}: {listed(list(origins))}.")
    if isinstance(parallel, Mapping):
        items.append(f"Parallel text: {_source(parallel)}.")
    return items


def _classes(tables: Tables, context: Context) -> str:
    """When a feature is of a class in paper C's analyses of a model."""
    frame, bilingual = tables["selectivity"], context.settings["bilingual"]
    steps, codes = sorted(set(frame["step"])), language_order(frame["class"], bilingual["languages"] or [])
    when = f"at {len(steps)} training steps, {steps[0]:,} to {steps[-1]:,}"
    if len(steps) == 1:
        when = "of the finished model"
    return (
        f"Bilingual features of {context.title()}: SAEs of {frame['layer'].n_unique()} layers {when}. A feature is of a"
        f" language ({listed([name(code) for code in codes])}) if more than {100 * bilingual['threshold']:g} % of its"
        f" counted activations, those above {100 * bilingual['pattern_threshold']:g} % of its maximum, are in that"
        " language's documents, else mixed."
    )


def _origin(config: Mapping[str, Any]) -> str:
    size = config["architecture"]
    shape = f"{size['layers']} decoder layers and width {size['d_model']}"
    if config["kind"] == "toy":
        return f"a Gemma-2 of {shape}, trained here on {config['training']['tokens']:,} tokens"
    where, saes, trained = f"{_source(config['source'])}, {shape}", config["saes"], config["sae"]
    if saes is not None:
        source = saes["release"] if saes["source"] is None else _source(saes["source"])
        return f"{where}; SAEs of {saes['features']:,} features ({saes['kind']}, {source})"
    if trained is not None:
        return f"{where}; SAEs of {trained['features']:,} features ({trained['kind']}), trained here"
    return where


def _source(source: Mapping[str, Any]) -> str:
    """A local folder is what was read, whatever repository stands beside it."""
    return f"local folder {source['folder']}" if source["folder"] else f"{source['id']} at {source['revision']}"


def _reproduce(settings: Mapping[str, Any], provenance: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{package} {version}" for package, version in sorted(provenance.get("versions", {}).items()))
    asked = {"paper A": PAPER_A, "paper B": PAPER_B, "paper C": PAPER_C}
    papers = [paper for paper, analyses in asked.items() if asks(settings, analyses)] or ["paper A"]
    return [
        "<h2>Reproduce and cite</h2>",
        paragraph(
            f"Study {settings['study']}, seed {settings['seed']}. The same configuration, seed and thread count give"
            f" the same numbers. Versions: {versions or 'not recorded'}. Every Parquet table carries study, code digest"
            f" and versions in its metadata. Cite {listed(papers)} for the method, and isogloss by its CITATION.cff"
            " with the study's name and seed."
        ),
    ]
