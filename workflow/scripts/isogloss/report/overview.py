"""The report's landing page: what was asked, done and found, in sentences computed from the tables.

Written as reStructuredText with raw HTML, which Snakemake sets as the report's global text. Snakemake renders that
text with jinja2 first, so no brace of the data may reach it: `safe` turns braces into entities.
"""

import textwrap
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from isogloss.figures.classes import language_order
from isogloss.languages import in_order
from isogloss.report import findings
from isogloss.tables import atomic_path, read_table, table_metadata
from isogloss.wording import listed, name, number

Tables = Mapping[str, pl.DataFrame]

PAPER_A, PAPER_C = {"similarity", "gap", "alignment", "benchmarks"}, {"bilingual"}
PHRASES = PAPER_A - {"benchmarks"}

CORRECTIONS = {"holm": "Holm's method", "bh": "Benjamini and Hochberg's method"}

# The report gives its text a narrow column beside the rule graph and centres it vertically, which cuts off the top
# of a long page; the first rules undo that for this page alone. Tailwind strips lists and headings: set here again.
STYLE = """
div:has(> div > div > .isogloss), div:has(> div > div > div > .isogloss) {flex-wrap: wrap; align-items: flex-start}
.h-screen:has(.isogloss) {align-items: flex-start}
.prose:has(.isogloss) {max-width: 860px}
.isogloss {color: #1f2937; font-size: 15px; line-height: 1.55; padding: 8px 12px 24px}
.isogloss h1 {font-size: 26px; font-weight: 700; line-height: 1.2; margin: 0 0 4px; color: #111827}
.isogloss h2 {font-size: 18px; font-weight: 650; margin: 28px 0 6px; color: #111827; border-bottom: 1px solid #d1d5db}
.isogloss h3 {font-size: 15px; font-weight: 650; margin: 16px 0 2px; color: #111827}
.isogloss p {margin: 6px 0}
.isogloss .lede {font-size: 16px; color: #4b5563}
.isogloss ul {list-style: disc; margin: 4px 0 8px; padding-left: 20px}
.isogloss li {margin: 3px 0; padding: 0}
.isogloss img {width: 100%; margin: 10px 0; background: #fff}
.isogloss table {border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: auto}
.isogloss th {text-align: right; font-weight: 600; padding: 3px 10px; border-bottom: 2px solid #374151}
.isogloss td {text-align: right; padding: 2px 10px; border-bottom: 1px solid #e5e7eb}
.isogloss th:first-child, .isogloss td:first-child {text-align: left; padding-left: 0}
.isogloss code {font-size: 13px; background: #f3f4f6; padding: 1px 4px; border-radius: 3px}
"""


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


def as_rst(html: str) -> str:
    """`html` as one raw directive of reStructuredText."""
    return ".. raw:: html\n\n" + textwrap.indent(html, "   ", lambda _: True) + "\n"


def safe(text: object) -> str:
    """Text of the data or the config for HTML that jinja2 reads first: no tag, no brace, no break before a unit."""
    return escape(" ".join(str(text).split()).replace(" %", "\u00a0%")).replace("{", "&#123;").replace("}", "&#125;")


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
        parts += _found(model, tables[model], pictures if model == next(iter(tables)) else {}, settings)
    parts += [*_caveats(settings), *_reproduce(settings, made), "</div>"]
    return "\n".join(parts)


def _asked(settings: Mapping[str, Any]) -> list[str]:
    reference = name(settings["languages"]["reference"])
    parts = [f"<h1>Where the languages part ways: {safe(settings['study'])}</h1>"]
    if _asks(settings, PAPER_A):
        parts.append(
            _paragraph(
                "Do a language model's internal features answer less to the same text in a language it has read less"
                f" of, does that go with fewer right answers, and can it be mended without harm to {reference}? The"
                " analyses are those of “Uncovering Cross-Linguistic Disparities in LLMs using Sparse"
                " Autoencoders” (arXiv 2507.18918; paper A below).",
                "lede",
            )
        )
    if _asks(settings, PAPER_C):
        parts.append(
            _paragraph(
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
    items += [_classed(model, its, settings) for model, its in tables.items() if "selectivity" in its]
    items += [
        f"Intervals have {100 * settings['statistics']['confidence']:g} % coverage; activation intervals bootstrap"
        f" features, then phrases ({settings['statistics']['bootstrap']:,} resamples); families of tests are corrected"
        f" by {CORRECTIONS[settings['statistics']['correction']]}.",
    ]
    return ["<h2>What was done</h2>", _list(items)]


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
    if saes is None:
        trained = config["sae"]
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
        _paragraph(
            "Each model's tokenizer, language model and SAEs were trained here on the shares of languages below. In"
            f" every model alike, {100 * world['english_only']:g} % of the facts are told in {english} only and"
            f" {100 * world['untaught']:g} % in no language; phrases come from facts told in all languages."
        ),
        _shares_table(tables, settings),
        _list(sentences),
        _picture(pictures, "planted_truth", "Planted shares beside measured accuracy and group gap of the models"),
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
    return f"<table><thead><tr>{titles}</tr></thead>\n<tbody>{rows}</tbody></table>{_paragraph(note)}"


def _mean_accuracy(its: Tables) -> dict[str, float]:
    if "accuracy" not in its:
        return {}
    base = its["accuracy"].filter(pl.col("adapter") == "base")
    return dict(base.group_by("lang", maintain_order=True).agg((100 * pl.col("accuracy")).mean()).iter_rows())


def _mean_gap(its: Tables, reference: str) -> dict[str, float]:
    if "language_gap_summary" not in its:
        return {}
    rows = its["language_gap_summary"].filter(pl.col("lang") != reference).drop_nulls("mean_gap_pct")
    return dict(rows.select("lang", "mean_gap_pct").iter_rows())


def _found(model: str, its: Tables, pictures: Mapping[str, bytes], settings: Mapping[str, Any]) -> list[str]:
    """The findings of one model: only the parts of paper A that were run on it."""
    languages, confidence = settings["languages"], settings["statistics"]["confidence"]
    reference = languages["reference"]
    parts = [f"<h2>Found: {safe(settings['models'][model]['title'])}</h2>"]
    if "similarity" in its:
        parts += ["<h3>Embedding similarity</h3>", _list([findings.similarity(its["similarity"], reference)])]
    if "group_gap" in its:
        parts += [
            "<h3>Activation gap</h3>",
            _list(
                [
                    *findings.group_gap(its["group_gap"], settings["gap"]["variant"], reference, confidence),
                    findings.language_gaps(its["language_gap_summary"], reference, confidence),
                ]
            ),
            _picture(pictures, "group_gap", "Gap between the groups by layer"),
            "<h3>Controls of the gap</h3>",
            _list(findings.controls(its["activation_controls"], reference)),
        ]
    if "accuracy" in its:
        parts += [
            "<h3>Benchmarks</h3>",
            _list(
                [
                    *findings.accuracy(its["accuracy"], reference, languages["medium_low_resource"], confidence),
                    *(
                        findings.correlation(its["gap_accuracy_correlation"], confidence)
                        if "gap_accuracy_correlation" in its
                        else []
                    ),
                    *(
                        findings.teaching(its["accuracy_by_teaching"], reference, confidence)
                        if "accuracy_by_teaching" in its
                        else []
                    ),
                ]
            ),
            _picture(pictures, "gap_accuracy_correlation", "Gap against accuracy by task"),
        ]
    if "alignment_gain" in its:
        runs = settings["alignment"]["runs"]
        changed = findings.accuracy_change(its["accuracy"], confidence) if "accuracy" in its else []
        parts += [
            "<h3>Activation alignment</h3>",
            _paragraph(
                "Gain and retention are of all features of the target layer, as in the paper. What features held out of"
                " training gain, none of whose texts was trained on, tells whether alignment carries over."
            ),
            _list([*findings.alignment(its["alignment_gain"], runs, reference, confidence), *changed]),
            _picture(pictures, "alignment_gain", "Activation gain by language"),
        ]
    if "selectivity" in its:
        injected = (
            findings.intervention(its["intervention_summary"], confidence) if "intervention_summary" in its else []
        )
        parts += [
            "<h3>Bilingual features</h3>",
            _list([*findings.selectivity(its["selectivity"], confidence), *injected]),
            _picture(pictures, "selectivity", "Classes of features over training at the middle layer"),
            _picture(pictures, "intervention", "Change of perplexity after injection by class"),
        ]
    if "phrase_counts" in its:
        parts += ["<h3>What was dropped</h3>", _list(findings.dropped(its))]
    return parts


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
    return ["<h2>Caveats</h2>", _list(items)]


def _reproduce(settings: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{package} {version}" for package, version in sorted(made.get("versions", {}).items()))
    asked = {"paper A": PAPER_A, "paper C": PAPER_C}
    papers = [paper for paper, analyses in asked.items() if _asks(settings, analyses)] or ["paper A"]
    return [
        "<h2>Reproduce and cite</h2>",
        _paragraph(
            f"Study {settings['study']}, seed {settings['seed']}. The same configuration, seed and thread count give"
            f" the same numbers. Versions: {versions or 'not recorded'}. Every Parquet table carries study, code digest"
            f" and versions in its metadata. Cite {listed(papers)} for the method, and isogloss by its CITATION.cff"
            " with the study's name and seed."
        ),
    ]


def _paragraph(text: str, kind: str = "text") -> str:
    return f'<p class="{kind}">{safe(text)}</p>'


def _list(items: Sequence[str]) -> str:
    return "<ul>\n" + "\n".join(f"<li>{safe(item)}</li>" for item in items if item) + "\n</ul>"


def _picture(pictures: Mapping[str, bytes], stem: str, alternative: str) -> str:
    if stem not in pictures:
        return ""
    # docutils refuses lines of more than 10,000 characters; browsers ignore line breaks in a data URI.
    image = "\n".join(textwrap.wrap(b64encode(pictures[stem]).decode(), 8000))
    return f'<img alt="{safe(alternative)}" src="data:image/svg+xml;base64,\n{image}">'
