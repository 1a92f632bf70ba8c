"""What was done, for the page's folded methods: languages, models, texts, questions and intervals, in sentences."""

from collections.abc import Mapping
from typing import Any

from isogloss.report.page.papers import PAPER_A, PAPER_B, PAPER_C, PHRASES, asks
from isogloss.report.shared.classes import language_order
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.study import Study
from isogloss.report.shared.wording import listed, name

CORRECTIONS = {"holm": "Holm's method", "bh": "Benjamini and Hochberg's method"}


def methods(study: Study) -> list[str]:
    """Sentences on what was run, on what, and how intervals were made."""
    settings, tables = study.settings, study.tables
    contexts = {model: study.context(model) for model in tables}
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
    return items


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
        f"{context.task(row['task'])} in {row['n_languages']} languages ({row['n']:,} questions, prompt"
        f" {latent['tasks'][row['task']]['prompt']})"
        for row in tables["transfer_summary"].iter_rows(named=True)
    ]
    steered = f" Steering: vectors of {latent['held_out']} questions that are held out of what is reported of it."
    return f"Parallel questions of {context.title()}: {listed(tasks)}.{steered if latent['steering'] else ''}"


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


def reproduce(settings: Mapping[str, Any], provenance: Mapping[str, Any]) -> list[str]:
    """How to get the same numbers again, and what to cite; `provenance` is the metadata of one of the tables."""
    versions = ", ".join(f"{package} {version}" for package, version in sorted(provenance.get("versions", {}).items()))
    papers_of = {"paper A": PAPER_A, "paper B": PAPER_B, "paper C": PAPER_C}
    papers = [paper for paper, analyses in papers_of.items() if asks(settings, analyses)] or ["paper A"]
    return [
        f"Study {settings['study']}, seed {settings['seed']}. The same configuration, seed and thread count give the"
        " same numbers. Every Parquet table carries study, code digest and versions in its metadata.",
        f"Versions: {versions or 'not recorded'}.",
        f"Cite {listed(papers)} for the method, and isogloss by its CITATION.cff with the study's name and seed.",
    ]
