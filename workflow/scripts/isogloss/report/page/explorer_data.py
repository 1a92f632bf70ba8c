"""What the feature explorer shows, from its tables: languages, models, layers, features, texts, each text once."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

import polars as pl

from isogloss.languages import language
from isogloss.report.page.explorer_words import Version, kept_by, version_words
from isogloss.report.shared.context import Context
from isogloss.report.shared.wording import name
from isogloss.report.tables.examples import PART

PAGE = "https://www.neuronpedia.org/"  # a link: nothing is fetched from there


class Text(NamedTuple):
    """A text with its tokens, those that end within a character joined with the one that completes it."""

    tokens: list[str]
    activations: list[float]


class Group(NamedTuple):
    """A layer's features of one SAE."""

    layer: int
    sae: str  # "phrases" or "bilingual"
    features: list[dict[str, Any]]


class Texts:
    """The distinct texts of a model, numbered."""

    def __init__(self) -> None:
        self.tokens: list[list[str]] = []
        self._known: dict[tuple[str, ...], int] = {}

    def number(self, tokens: Sequence[str]) -> int:
        """Of a text by its tokens."""
        key = tuple(tokens)
        if key not in self._known:
            self._known[key] = len(self.tokens)
            self.tokens.append(list(key))
        return self._known[key]


def joined(tokens: Sequence[str], activations: Sequence[float]) -> Text:
    """The text of these tokens as a reader sees it: a token within a character goes with the one that completes it."""
    shown = Text([], [])
    value = 0.0
    for at, (token, activation) in enumerate(zip(tokens, activations, strict=True)):
        value = max(value, activation)
        if token == PART and at < len(tokens) - 1:
            continue
        shown.tokens.append(token.replace("\r", "").replace("\n", "↵").replace("\t", " "))
        shown.activations.append(value)
        value = 0.0
    return shown


def short(value: float | None) -> float | None:
    """A number to four digits, as JSON has it."""
    return None if value is None or not isfinite(value) else float(f"{value:.4g}")


def languages(codes: Iterable[str], context: Context, colours: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What the page must know of each language."""
    home = language(context.reference).script
    return {
        code: {"name": name(code), "colour": colours[code], "same": language(code).script == home} for code in codes
    }


def groups(spans: pl.DataFrame, features: pl.DataFrame, reference: str, texts: Texts) -> list[Group]:
    """A model's features by layer and SAE, in the tables' order; their texts go to `texts`."""
    result: list[Group] = []
    for (layer, sae), rows in features.group_by("layer", "sae", maintain_order=True):
        own = spans.filter(layer=layer, sae=sae).partition_by("feature", as_dict=True, maintain_order=True)
        of = rows.partition_by("feature", as_dict=True, maintain_order=True)
        shown = [_feature(own.get(key, spans.clear()), part, reference, texts) for key, part in of.items()]
        result.append(Group(layer, sae, shown))  # type: ignore[arg-type]
    return result


def _feature(spans: pl.DataFrame, rows: pl.DataFrame, reference: str, texts: Texts) -> dict[str, Any]:
    """A feature with the short keys that explorer.js reads (its head says what each is)."""
    first = rows.row(0, named=True)
    bars, phrases = _bars(rows), spans.filter(kind="phrase")
    versions: list[Version] = []
    shown: list[dict[str, Any]] = []
    for _, part in phrases.group_by("item", maintain_order=True):
        item, own = _item(part, reference, texts)
        shown.append(item)
        versions += own
    contexts: dict[str, list[list[Any]]] = {}
    for row in spans.filter(kind="context").sort("lang", "item", maintain_order=True).iter_rows(named=True):
        contexts.setdefault(row["lang"], []).append(_span(row, texts))
    largest = spans["activations"].explode().max() if spans.height else None
    facts = {
        "f": first["feature"],
        "l": first["lists"],
        "c": first["class"],
        "s": short(first["largest_share"]),
        "g": short(first["gap_pct"]),
        "x": short(first["monosemanticity_excess"]),
        "m": short(first["monosemanticity"]),
        "k": first["class_bilingual"],
        "np": first["neuronpedia"] and PAGE + first["neuronpedia"],
        "mx": short(max(first["histogram_max"] or 0.0, float(largest or 0.0))),  # type: ignore[arg-type]
        "n": first["n_texts"],
        "on": first["measured"],
        "b": bars,
        "h": {row["lang"]: row["histogram"] for row in rows.iter_rows(named=True) if row["histogram"] is not None},
        "p": shown,
        "t": contexts,
        "say": kept_by({code: bar[0] for code, bar in bars.items()}, versions, reference),
    }
    return {key: value for key, value in facts.items() if value not in (None, {}, [], "")}


def _bars(rows: pl.DataFrame) -> dict[str, list[Any]]:
    """By language mean activation, interval, of how many, share of the firings, texts fired."""
    columns = ["lang", "mean_activation", "ci_low", "ci_high", "n", "share", "n_fired"]
    return {
        lang: [short(mean), short(low), short(high), n, short(share), fired]
        for lang, mean, low, high, n, share, fired in rows.select(columns).iter_rows()
    }


def _span(row: Mapping[str, Any], texts: Texts) -> list[Any]:
    """Number of the text, tokens before and after those shown, strongest activation; then token, value, token, ..."""
    after = row["n_tokens"] - row["first"] - len(row["tokens"])
    shown = joined(row["tokens"], row["activations"])
    fired = [part for at, value in enumerate(shown.activations) if value > 0 for part in (at, short(value))]
    return [texts.number(shown.tokens), row["first"], after, short(max(shown.activations, default=0.0)), fired]


def _item(part: pl.DataFrame, reference: str, texts: Texts) -> tuple[dict[str, Any], list[Version]]:
    """A phrase in every language, what to say of each translation, and what they add up to."""
    rows = {row["lang"]: row for row in part.iter_rows(named=True)}
    origin = next(iter(rows.values()))["origin"]
    home = rows.get(origin) if origin in rows else rows.get(reference)
    versions: list[Version] = []
    spans: dict[str, list[Any]] = {}
    words: dict[str, str] = {}
    for lang, row in rows.items():
        if row["text"] is None:
            words[lang] = "no usable translation"
            continue
        spans[lang] = _span(row, texts)
        if home is None or home["text"] is None or lang == home["lang"]:
            continue
        versions.append(Version.of(home, row, joined))
        words[lang] = version_words(versions[-1], home["lang"])
    item = {"o": origin, "v": spans, "w": words}
    return item, versions if origin == reference else []
