"""What ablations do to the loss of each language: changes with intervals, and own against other languages."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from isogloss.stats import UNDEFINED, Interval, percentile_interval, student_interval


class Ablation(NamedTuple):
    """A set of features that was ablated."""

    lang: str  # whose features they are, or are matched to
    method: str
    draw: int | None  # of random features; None: those of the language
    features: Int[np.ndarray, " features"]
    reason: str | None  # why there are none


class Losses(NamedTuple):
    """Nats summed over the tokens of the same texts in every language."""

    plain: Float[np.ndarray, "languages texts"]
    ablated: Float[np.ndarray, "sets languages texts"]
    removed: Float[np.ndarray, "sets languages texts"]  # share of the stream's norm, summed over tokens
    tokens: Int[np.ndarray, "languages texts"]


def resampled_changes(
    losses: Losses, *, replicates: int, seed: Sequence[int]
) -> Float[np.ndarray, "estimates sets languages"]:
    """The change of loss in nats a token: of all texts in row 0, below it of bootstrap resamples of the texts.

    A resample takes the same texts in every language and under every ablation, so differences between these are
    paired. Where there is one text, there is no resample.
    """
    sets, languages, texts = losses.ablated.shape
    generator = np.random.default_rng(list(seed))
    drawn = generator.integers(texts, size=(replicates if texts > 1 else 0, texts))
    weights = np.ones((1 + len(drawn), texts))
    for row, texts_drawn in zip(weights[1:], drawn, strict=True):
        row[:] = np.bincount(texts_drawn, minlength=texts)
    nats = (weights @ (losses.ablated - losses.plain).reshape(-1, texts).T).reshape(-1, sets, languages)
    return nats / (weights @ losses.tokens.T)[:, None]


def _interval(replicates: Float[np.ndarray, " replicates"], confidence: float) -> Interval:
    return percentile_interval(replicates, confidence) if len(replicates) else UNDEFINED


def ablation_rows(
    ablations: Sequence[Ablation],
    languages: Sequence[str],
    losses: Losses,
    changes: Float[np.ndarray, "estimates sets languages"],
    *,
    layer: int,
    confidence: float,
) -> pl.DataFrame:
    """The table `ablation`: a row for each set of features and language measured; null where there are no features.

    `loss` and `change` are in nats a token, `removed_pct` is the norm of what was subtracted in percent of the
    stream's, mean over tokens.
    """
    tokens = losses.tokens.sum(axis=1)
    rows: list[dict[str, Any]] = []
    for number, one in enumerate(ablations):
        for column, lang in enumerate(languages):
            row: dict[str, Any] = {
                "layer": layer,
                "ablated": one.lang,
                "method": one.method,
                "features": "language" if one.draw is None else "random",
                "draw": one.draw,
                "lang": lang,
                **dict.fromkeys(("loss", "change", "ci_low", "ci_high", "removed_pct")),
                "n_features": len(one.features),
                "n_texts": losses.tokens.shape[1],
                "n_tokens": int(tokens[column]),
                "reason": one.reason,
            }
            if len(one.features):
                interval = _interval(changes[1:, number, column], confidence)
                row |= {
                    "loss": float(losses.ablated[number, column].sum() / tokens[column]),
                    "change": float(changes[0, number, column]),
                    "ci_low": interval.low,
                    "ci_high": interval.high,
                    "removed_pct": float(100 * losses.removed[number, column].sum() / tokens[column]),
                }
            rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


def summary_rows(
    ablations: Sequence[Ablation],
    languages: Sequence[str],
    changes: Float[np.ndarray, "estimates sets languages"],
    *,
    layer: int,
    n_texts: int,
    confidence: float,
) -> pl.DataFrame:
    """The table `ablation_summary`: a row for each method and language whose features are off, and one over languages.

    `own` is the change in that language, `others` its mean over the other languages, `difference` the first less the
    second; of random features, mean over draws, `own_random` and `others_random`; `beyond_random` is the difference
    less theirs. Intervals of a language are paired bootstrap over texts, those over languages (`ablated` null)
    Student's over the languages that have features.
    """
    rows: list[dict[str, Any]] = []
    for method in dict.fromkeys(one.method for one in ablations):
        of_language = [
            _of_language(ablations, languages, changes, method, lang, layer=layer, confidence=confidence)
            for lang in languages
        ]
        measured = [row for row in of_language if row["difference"] is not None]
        means: dict[str, Any] = {name: _mean(row[name] for row in measured) for name in _MEASURES}
        for name, interval in (("difference", "ci"), ("beyond_random", "beyond_random")):
            values = [row[name] for row in measured if row[name] is not None]
            sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
            bounds = student_interval(means[name], sd, len(values), confidence)
            means |= {f"{interval}_low": bounds.low, f"{interval}_high": bounds.high}
        means |= {"n_features": sum(row["n_features"] for row in measured), "ablated": None}
        means |= {"layer": layer, "method": method, "n_languages": len(measured)}
        means |= {"n_without": len(languages) - len(measured)}
        means |= {"reason": None if measured else "no language has features by this method"}
        rows += [means, *of_language]
    return pl.DataFrame(rows, infer_schema_length=None).with_columns(n_texts=pl.lit(n_texts))


_MEASURES = ("own", "others", "difference", "own_random", "others_random", "beyond_random")


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _of_language(
    ablations: Sequence[Ablation],
    languages: Sequence[str],
    changes: Float[np.ndarray, "estimates sets languages"],
    method: str,
    lang: str,
    *,
    layer: int,
    confidence: float,
) -> dict[str, Any]:
    """The row of a language's features, null where there are none."""
    mine = [number for number, one in enumerate(ablations) if (one.lang, one.method) == (lang, method)]
    (chosen,) = (number for number in mine if ablations[number].draw is None)
    random = [number for number in mine if ablations[number].draw is not None and len(ablations[number].features)]
    row: dict[str, Any] = dict.fromkeys((*_MEASURES, "ci_low", "ci_high", "beyond_random_low", "beyond_random_high"))
    n = len(ablations[chosen].features)
    row |= {"layer": layer, "method": method, "ablated": lang, "n_features": n, "n_languages": int(n > 0)}
    row |= {"n_without": int(n == 0), "reason": ablations[chosen].reason}
    if not n:
        return row
    at = list(languages).index(lang)
    own, others = changes[:, chosen, at], np.delete(changes[:, chosen], at, axis=1).mean(axis=1)
    series = {"own": own, "others": others, "difference": own - others}
    if random:
        drawn = changes[:, random].mean(axis=1)
        series["own_random"], series["others_random"] = drawn[:, at], np.delete(drawn, at, axis=1).mean(axis=1)
        beyond = series["own_random"] - series["others_random"]
        series["beyond_random"] = series["difference"] - beyond
    for name, values in series.items():
        row[name] = float(values[0])
    for name, interval in (("difference", "ci"), ("beyond_random", "beyond_random")):
        if name in series:
            bounds = _interval(series[name][1:], confidence)
            row |= {f"{interval}_low": bounds.low, f"{interval}_high": bounds.high}
    return row
