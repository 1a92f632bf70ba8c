"""The report's landing page: what was asked, done and found, in sentences computed from the tables.

Written as reStructuredText with raw HTML, which Snakemake sets as the report's global text. Snakemake renders that
text with jinja2 first, so no brace of the data may reach it: `safe` turns braces into entities.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from isogloss.languages import in_order
from isogloss.report import findings
from isogloss.report.figures.classes import language_order
from isogloss.report.found import Tables, found
from isogloss.report.markup import STYLE, as_rst, bullets, paragraph, picture, safe
from isogloss.report.wording import TASK_TITLES, listed, name, number
from isogloss.tables import atomic_path, read_table, table_metadata

PAPER_A, PAPER_B, PAPER_C = {"similarity", "gap", "alignment", "benchmarks"}, {"latent"}, {"bilingual"}
PHRASES = PAPER_A - {"benchmarks"}

CORRECTIONS = {"holm": "Holm's method", "bh": "Benjamini and Hochberg's method"}


def overview(*, tables: Sequence[str], figures: Sequence[str], settings: Mapping[str, Any], output: str) -> None:
    """Write the landing page from the tables results/{model}/tables/{name}.parquet and the key figures (SVG).

    `settings` is the resolved configuration; which tables there are follows from each model's analyses
    (`catalogue.overview_tables`).
    """
    by_model: dict[str, dict[str, pl.DataFrame]] = {model: {} for model in settings["models"]}
    for path in map(Path, tables):
        by_model[path.parts[-3]][path.stem] = read_table(path)
    pictures = {Path(path).stem: Path(path).read_bytes() for path in figures}
    html = page(by_model, pictures, settings, table_metadata(tables[0]) if tables else {})
    with atomic_path(Path(output)) as aside:
        aside.write_text(as_rst(html), encoding="utf-8")


def page(
    tables: Mapping[str, Tables], pictures: Mapping[str, bytes], settings: Mapping[str, Any], made: Mapping[str, Any]
) -> str:
    """The page as HTML; `made` is the provenance of a table."""
    parts = [
        f"<style>{STYLE}</style>",
        '<div class="isogloss">',
        *_asked(settings),
        *_done(tables, settings),
        *_planted(tables, pictures, settings),
    ]
    for model in tables:
        parts += found(model, tables[model], pictures if model == next(iter(tables)) else {}, settings)
    parts += [*_caveats(settings), *_reproduce(settings, made), "</div>"]
    return "\n".join(parts)


def _asked(settings: Mapping[str, Any]) -> list[str]:
    reference = name(settings["languages"]["reference"])
    parts = [f"<h1>Where the languages part ways: {safe(settings['study'])}</h1>"]
    if _asks(settings, PAPER_A):
        parts.append(
            paragraph(
                "Do a language model's internal features answer less to the same text in a language it has read less"
                f" of, does that go with fewer right answers, and can it be mended without harm to {reference}? The"
                " analyses are those of “Uncovering Cross-Linguistic Disparities in LLMs using Sparse"
                " Autoencoders” (arXiv 2507.18918; paper A below).",
                "lede",
            )
        )
    if _asks(settings, PAPER_B):
        parts.append(
            paragraph(
                f"Does the model answer the same question alike in every language, do its layers work in {reference}"
                " or in the language of the question, does that go with what one language knows of another, and can"
                " activations be moved so that it answers better? The analyses are those of “Language-Specific"
                " Latent Process Hinders Cross-Lingual Performance” (arXiv 2505.13141; paper B below).",
                "lede",
            )
        )
    if _asks(settings, PAPER_C):
        parts.append(
            paragraph(
                "While a language model is trained, when do its features come to be of one language, when of several,"
                " and do the latter help a model that is not yet trained to the end? The analyses are those of “How a"
                " Bilingual LM Becomes Bilingual: Tracing Internal Representations with Sparse Autoencoders” (arXiv"
                " 2503.06394; paper C below).",
                "lede",
            )
        )
    return parts


def _asks(settings: Mapping[str, Any], analyses: set[str]) -> bool:
    """Whether any model is asked for any of the analyses."""
    return any(analyses & set(model["analyses"]) for model in settings["models"].values())


def _done(tables: Mapping[str, Tables], settings: Mapping[str, Any]) -> list[str]:
    languages, phrases = settings["languages"], settings["phrases"]
    groups = [
        listed([name(c) for c in in_order(languages[group])]) for group in ("high_resource", "medium_low_resource")
    ]
    items = [
        f"Languages: high-resource {groups[0]}; medium-to-low-resource {groups[1]}; reference"
        f" {name(languages['reference'])}."
    ]
    for model, its in tables.items():
        config = settings["models"][model]
        kept = f", {its['phrase_counts']['n_phrases'].sum():,} phrases" if "phrase_counts" in its else ""
        items.append(
            f"{config['title']} ({model}): {_origin(config)}{kept}; analyses: {', '.join(config['analyses'])}."
        )
    if _asks(settings, PHRASES):
        items.append(
            f"Phrases: {name(languages['reference'])} windows of ±{phrases['window']} tokens round a feature's"
            f" strongest tokens, from {100 * phrases['threshold']:g} % of its maximum on, and their counterparts in"
            " every other language."
        )
    items += [_questioned(model, its, settings) for model, its in tables.items() if "transfer_summary" in its]
    items += [_classed(model, its, settings) for model, its in tables.items() if "selectivity" in its]
    items += [
        f"Intervals have {100 * settings['statistics']['confidence']:g} % coverage; {_resampled(settings)}"
        f" ({settings['statistics']['bootstrap']:,} resamples); families of tests are corrected"
        f" by {CORRECTIONS[settings['statistics']['correction']]}.",
    ]
    return ["<h2>What was done</h2>", bullets(items)]


def _resampled(settings: Mapping[str, Any]) -> str:
    """What the bootstrap draws, as a clause."""
    drawn = ["activation intervals bootstrap features, then phrases"] if _asks(settings, PHRASES | PAPER_C) else []
    if _asks(settings, PAPER_B):
        drawn.append(
            "those of answers and their latent probabilities bootstrap questions, those of means over"
            " languages are Student's"
        )
    return ", ".join(drawn) or "intervals bootstrap what was measured"


def _questioned(model: str, its: Tables, settings: Mapping[str, Any]) -> str:
    """What was asked for paper B."""
    asked = settings["latent"]
    told = [
        f"{TASK_TITLES[row['task']]} in {row['n_languages']} languages ({row['n']:,} questions, prompt"
        f" {asked['tasks'][row['task']]['prompt']})"
        for row in its["transfer_summary"].iter_rows(named=True)
    ]
    steered = (
        f" Steering: vectors of {asked['held_out']} questions that are held out of what is reported of it."
        if asked["steering"]
        else ""
    )
    return f"Parallel questions of {settings['models'][model]['title']}: {listed(told)}.{steered}"


def _classed(model: str, its: Tables, settings: Mapping[str, Any]) -> str:
    """What was classed for paper C."""
    frame, asked = its["selectivity"], settings["bilingual"]
    steps, codes = sorted(set(frame["step"])), language_order(frame["class"], asked["languages"] or [])
    return (
        f"Bilingual features of {settings['models'][model]['title']}: SAEs of {frame['layer'].n_unique()} layers at"
        f" {len(steps)} training steps, {steps[0]:,} to {steps[-1]:,}. A feature is of a language"
        f" ({listed([name(code) for code in codes])}) if more than {100 * asked['threshold']:g} % of its counted"
        f" activations, those above {100 * asked['pattern_threshold']:g} % of its maximum, are in that language's"
        " documents, else mixed."
    )


def _origin(config: Mapping[str, Any]) -> str:
    """Where a model comes from, as a clause."""
    size = config["architecture"]
    shape = f"{size['layers']} decoder layers and width {size['d_model']}"
    if config["kind"] == "toy":
        return f"a Gemma-2 of {shape}, trained here on {config['training']['tokens']:,} tokens"
    saes, source = config["saes"], config["source"]
    # A local folder is what was read, whatever repository stands beside it.
    where = f"local folder {source['folder']}" if source["folder"] else f"{source['id']} at {source['revision']}"
    trained = config["sae"]
    if saes is None and trained is None:
        return f"{where}, {shape}"
    if saes is None:
        return f"{where}, {shape}; SAEs of {trained['features']:,} features ({trained['kind']}), trained here"
    return f"{where}, {shape}; SAEs of {saes['features']:,} features ({saes['kind']}, {_sae_origin(saes)})"


def _sae_origin(saes: Mapping[str, Any]) -> str:
    place = saes["source"]
    if place is None:
        return saes["release"]
    return f"local folder {place['folder']}" if place["folder"] else f"{place['id']} at {place['revision']}"


def _planted(tables: Mapping[str, Tables], pictures: Mapping[str, bytes], settings: Mapping[str, Any]) -> list[str]:
    confidence, reference = settings["statistics"]["confidence"], settings["languages"]["reference"]
    world, english = settings["world"], name(reference)
    tables = {model: its for model, its in tables.items() if settings["models"][model]["kind"] == "toy"}
    if not tables:
        return []
    titles = {model: settings["models"][model]["title"] for model in tables}
    sentences: list[str] = []
    for model, its in tables.items():
        shares = settings["models"][model]["shares"]
        measured = {"mean accuracy": _mean_accuracy(its), f"mean gap to {english}": _mean_gap(its, reference)}
        sentences += [
            findings.planted(titles[model], shares, values, what, confidence)
            for what, values in measured.items()
            if values
        ]
        if "group_gap" in its and len({round(share, 9) for share in shares.values()}) == 1:
            sentences += findings.equal_shares(titles[model], its["group_gap"], reference)
    measured_gaps = [model for model, its in tables.items() if "group_gap" in its]
    for other in measured_gaps[1:]:
        first = measured_gaps[0]
        gaps = (tables[first]["group_gap"], tables[other]["group_gap"])
        sentences.append(findings.contrast(titles[first], titles[other], gaps, reference))
    return [
        "<h2>What was planted, and what was measured</h2>",
        paragraph(
            "Each model's tokenizer, language model and SAEs were trained here on the shares of languages below. In"
            f" every model alike, {100 * world['english_only']:g} % of the facts are told in {english} only and"
            f" {100 * world['untaught']:g} % in no language; phrases come from facts told in all languages."
        ),
        _shares_table(tables, settings),
        bullets(sentences),
        picture(pictures, "planted_truth", "Planted shares beside measured accuracy and group gap of the models"),
    ]


def _shares_table(tables: Mapping[str, Tables], settings: Mapping[str, Any]) -> str:
    reference = settings["languages"]["reference"]
    codes = in_order([*settings["languages"]["high_resource"], *settings["languages"]["medium_low_resource"]])
    head, columns = ["language"], []
    for model, its in tables.items():
        title, shares = settings["models"][model]["title"], settings["models"][model]["shares"]
        head.append(f"{title}: share (%)")
        columns.append({code: 100 * share for code, share in shares.items()})
        for label, values in (("accuracy (%)", _mean_accuracy(its)), ("gap (%)", _mean_gap(its, reference))):
            if values:
                head.append(f"{title}: {label}")
                columns.append(values)
    rows = "\n".join(
        f"<tr><td>{safe(name(code))}</td>{''.join(f'<td>{number(column.get(code))}</td>' for column in columns)}</tr>"
        for code in codes
    )
    titles = "".join(f"<th>{safe(cell)}</th>" for cell in head)
    note = (
        f"Accuracy: mean over tasks. Gap: to {name(reference)}, mean over layers. Intervals stand in the figures and"
        " tables."
    )
    return f"<table><thead><tr>{titles}</tr></thead>\n<tbody>{rows}</tbody></table>{paragraph(note)}"


def _mean_accuracy(its: Tables) -> dict[str, float]:
    if "accuracy" not in its and "answers" not in its:
        return {}
    base = its["accuracy"].filter(pl.col("adapter") == "base") if "accuracy" in its else its["answers"]
    return dict(base.group_by("lang", maintain_order=True).agg((100 * pl.col("accuracy")).mean()).iter_rows())


def _mean_gap(its: Tables, reference: str) -> dict[str, float]:
    if "language_gap_summary" not in its:
        return {}
    rows = its["language_gap_summary"].filter(pl.col("lang") != reference).drop_nulls("mean_gap_pct")
    return dict(rows.select("lang", "mean_gap_pct").iter_rows())


def _caveats(settings: Mapping[str, Any]) -> list[str]:
    reference = name(settings["languages"]["reference"])
    items: list[str] = []
    if _asks(settings, PHRASES):
        items += [
            f"{reference} phrases are the top activators of the very feature that is then measured; their translations"
            " are not chosen so. Part of every gap to the reference is this choice (regression to the mean), and the"
            " p-values of the languages' gaps test a null that this choice alone breaks. The gap between groups without"
            f" {reference} compares translations with translations, and stands beside the other in every table.",
            f"A phrase is a window of {2 * settings['phrases']['window'] + 1} tokens without the context in which its"
            f" feature fired, in {reference} too: gaps compare phrases with phrases, never with the activations"
            " recorded in the corpus.",
            "A gap is a property of the features of these SAEs as much as of the model.",
            "Several features share texts, which the activation intervals ignore: they may be too narrow.",
        ]
    if _asks(settings, PAPER_B):
        items += [
            "The logit lens reads a layer as if it were the last: that it finds little of a language in a layer does"
            " not show that the layer holds none.",
            "Log ratios compare probabilities per token: a text cut into more and easier tokens is favoured, so part of"
            " a language's log ratio is its tokens'. Correlations over languages have many causes in common, the share"
            " of the training texts above all.",
            "The best layer and strength of steering are chosen on the questions that they are reported of: their gain"
            " errs on the high side. Controls at the same layer and strength tell it from what any push does.",
        ]
    if _asks(settings, PAPER_C):
        items += [
            "Each checkpoint and layer has an SAE of its own: a change over training is one of model and SAE together,"
            " and features of two checkpoints are not the same features. Classes and monosemanticity depend on the"
            " thresholds and the clustering of the section bilingual of the configuration.",
            "Injected features come from the fully trained model's reading of the same text: that they help shows what"
            " the unfinished model lacks, not a way to train it.",
        ]
    items.append(
        "Intervals cover the choice of features, phrases, documents and questions, not another training run of the"
        " models or SAEs."
    )
    if settings["translation"]["backend"] == "opus-mt" and _asks(settings, PHRASES):
        items.append(
            "Phrases are machine-translated windows, often broken sentences: a gap is one of model, translator and"
            " language together. The controls show the gap over the better half of the round trips where there are any."
        )
    return ["<h2>Caveats</h2>", bullets(items)]


def _reproduce(settings: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{package} {version}" for package, version in sorted(made.get("versions", {}).items()))
    asked = {"paper A": PAPER_A, "paper B": PAPER_B, "paper C": PAPER_C}
    papers = [paper for paper, analyses in asked.items() if _asks(settings, analyses)] or ["paper A"]
    return [
        "<h2>Reproduce and cite</h2>",
        paragraph(
            f"Study {settings['study']}, seed {settings['seed']}. The same configuration, seed and thread count give"
            f" the same numbers. Versions: {versions or 'not recorded'}. Every Parquet table carries study, code digest"
            f" and versions in its metadata. Cite {listed(papers)} for the method, and isogloss by its CITATION.cff"
            " with the study's name and seed."
        ),
    ]
