"""Example features of paper C as HTML (Figs 4 and 7): contexts of all languages side by side, tokens shaded."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, NamedTuple

import polars as pl

from isogloss.config.base import middle
from isogloss.report.shared.classes import LOOKS, class_order, class_title, language_order
from isogloss.report.shared.palette import language_looks
from isogloss.report.shared.wording import named, number
from isogloss.report.tables.sheet import Sheet

CONTEXTS = 5  # of a feature in a language
SHADE = "230,159,0"  # orange, which stays apart from the text for every reader

PART = "◌"  # how the table shows a token that ends within a character (`isogloss.bilingual.examples.token_strings`)
SELECTIONS = {"top": "among the most monosemantic", "median": "about the median of its class"}
"""Why a feature is shown."""

STYLE = """
nav a{margin-right:16px;color:#0072B2}
h2{font-size:16px;font-weight:650;margin:26px 0 4px;padding-top:8px;border-top:2px solid #374151}
.f{margin:10px 0 16px;padding:2px 0 4px 12px;border-left:5px solid}
.f h3{font-size:14px;font-weight:600;margin:0 0 4px}
.f h3 span{font-weight:400;color:#4b5563;margin-left:14px;font-variant-numeric:tabular-nums}
.g{display:grid;grid-template-columns:repeat(auto-fit,minmax(330px,1fr));gap:4px 26px;max-width:1500px}
.g h4{font-size:12px;font-weight:600;color:#4b5563;margin:0}
.c{margin:2px 0;color:#1f2937;font-size:15px;line-height:1.65;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;
font-family:system-ui,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans","Noto Sans CJK JP","Noto Sans Devanagari","Noto Sans Malayalam","Noto Sans Arabic",sans-serif}
.c u{text-decoration-thickness:2px;text-underline-offset:3px}
.no{color:#6b7280;font-style:italic;margin:2px 0}
"""  # noqa: E501 (a style sheet)


class Checkpoint(NamedTuple):
    """A layer of a checkpoint whose features are shown."""

    title: str
    step: int
    layer: int


def checkpoints(frame: pl.DataFrame) -> list[Checkpoint]:
    """Early, middle and last step at the middle layer (Fig. 4), then the outer layers at the last step (Fig. 7)."""
    steps, layers = sorted(set(frame["step"])), sorted(set(frame["layer"]))
    centre, last = middle(layers), steps[-1]
    wanted = [
        Checkpoint("Early", steps[0], centre),
        Checkpoint("Middle of training", steps[(len(steps) - 1) // 2], centre),
        Checkpoint("Last step", last, centre),
        Checkpoint("Last step, first layer", last, layers[0]),
        Checkpoint("Last step, last layer", last, layers[-1]),
    ]
    seen: dict[tuple[int, int], Checkpoint] = {}
    for one in wanted if len(steps) > 1 else wanted[2:]:
        seen.setdefault((one.step, one.layer), one)
    return list(seen.values())


def body(frame: pl.DataFrame) -> str:
    """The examples as HTML: no script, every text of the data escaped."""
    if not frame.height:
        return "<p>No feature was active, or bilingual.examples_per_class is 0: there are no examples.</p>"
    links, sections = "", []
    for i, one in enumerate(checkpoints(frame)):
        heading = escape(f"{one.title}: step {one.step:,}, decoder layer {one.layer}")
        links += f'<a href="#p{i}">{heading}</a>'
        sections.append("\n".join([f'<h2 id="p{i}">{heading}</h2>', *_features(frame, one)]))
    return "\n".join([f"<nav>{links}</nav>", *sections])


def _features(frame: pl.DataFrame, checkpoint: Checkpoint) -> Iterator[str]:
    rows = frame.filter(step=checkpoint.step, layer=checkpoint.layer)
    langs = language_order(frame["lang"])
    if not rows.height:
        yield '<p class="no">No feature is shown here.</p>'
    for code in class_order(rows["class"]):
        members = rows.filter(pl.col("class") == code)
        for feature in sorted(set(members["feature"])):
            yield _feature(members.filter(feature=feature).sort("rank"), langs)


def _feature(rows: pl.DataFrame, langs: Sequence[str]) -> str:
    first = rows.row(0, named=True)
    code = first["class"]
    colour = LOOKS[code].colour if code in LOOKS else language_looks(tuple(langs))[code][0]
    count = f"<span>n = {first['n_activations']:,} activations</span>" if "n_activations" in first else ""
    chosen = f"<span>{SELECTIONS[first['selection']]}</span>" if first.get("selection") in SELECTIONS else ""
    peak = max((value for values in rows["activations"] for value in values), default=0.0)
    columns = "".join(
        f"<div><h4>{escape(named(lang))}</h4>{_contexts(rows.filter(lang=lang), peak)}</div>" for lang in langs
    )
    return (
        f'<div class="f" style="border-color:{colour}"><h3>{escape(class_title(code))}: feature {first["feature"]}'
        f"<span>monosemanticity {number(first['monosemanticity'], 2)}</span>{count}{chosen}</h3>"
        f'<div class="g">{columns}</div></div>'
    )


def _contexts(rows: pl.DataFrame, peak: float) -> str:
    if not rows.height:
        return '<p class="no">no context in this language</p>'
    return "".join(
        f'<p class="c" lang="{escape(row["lang"])}" dir="auto">{_shaded(row, peak)}</p>'
        for row in rows.head(CONTEXTS).iter_rows(named=True)
    )


def _shaded(row: dict[str, Any], peak: float) -> str:
    """The tokens of a context; shade by activation over the feature's largest, the strongest token underlined.

    Tokens lie in elements without space between or padding in them: letters of one word go on being joined.
    """
    pieces = list(_whole(row["tokens"], row["activations"]))
    strongest = max((value for _, value in pieces), default=0.0)
    parts: list[str] = []
    for token, value in pieces:
        text = escape(token.replace("\r", "").replace("\n", "↵").replace("\t", " "))
        if value <= 0 or peak <= 0:
            parts.append(text)
            continue
        marked = f"<u>{text}</u>" if value == strongest else text
        shade = f"background:rgba({SHADE},{0.12 + 0.88 * value / peak:.2f})"
        parts.append(f'<span style="{shade}" title="{100 * value / peak:.0f} %">{marked}</span>')
    return "".join(parts)


def _whole(tokens: Sequence[str], activations: Sequence[float]) -> Iterator[tuple[str, float]]:
    """Tokens with their activations; those that end within a character joined with the one that completes it."""
    value = 0.0
    for at, (token, activation) in enumerate(zip(tokens, activations, strict=True)):
        value = max(value, activation)
        if token == PART and at < len(tokens) - 1:
            continue
        yield token, value
        value = 0.0


EXAMPLES = Sheet(
    body=body,
    style=STYLE,
    note="Shade: activation as a share of the largest shown of the feature (hover for it); underlined: the"
    " strongest token of a context. A feature's class is of all its activations, not of these contexts.",
)
