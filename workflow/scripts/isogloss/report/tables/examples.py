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


def body(frame: pl.DataFrame, prefix: str) -> str:
    """The examples as HTML: no script, every text of the data escaped; ids begin with `prefix`."""
    if not frame.height:
        return "<p>No feature was active, or bilingual.examples_per_class is 0: there are no examples.</p>"
    links, sections = "", []
    for i, one in enumerate(checkpoints(frame)):
        heading = escape(f"{one.title}: step {one.step:,}, decoder layer {one.layer}")
        links += f'<a href="#{escape(prefix)}-{i}">{heading}</a>'
        sections.append("\n".join([f'<h4 id="{escape(prefix)}-{i}">{heading}</h4>', *_features(frame, one)]))
    return "\n".join([f'<div class="contexts">\n<p class="links">{links}</p>', *sections, "</div>"])


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
        f"<div><p class='l'>{escape(named(lang))}</p>{_contexts(rows.filter(lang=lang), peak)}</div>" for lang in langs
    )
    return (
        f'<div class="f" style="border-color:{colour}"><h5>{escape(class_title(code))}: feature {first["feature"]}'
        f"<span>monosemanticity {number(first['monosemanticity'], 2)}</span>{count}{chosen}</h5>"
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
    note="Shade: activation as a share of the largest shown of the feature (hover for it); underlined: the"
    " strongest token of a context. A feature's class is of all its activations, not of these contexts.",
)
