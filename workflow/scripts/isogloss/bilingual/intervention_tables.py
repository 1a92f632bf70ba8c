"""The tables of an intervention: every injection's perplexities and scores, and what they come to (paper C, sec. 5)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from isogloss.bilingual.draws import MATCHED, MIXED, RANDOM, DescribedLayer, Draw
from isogloss.bilingual.translation_tasks import Task
from isogloss.stats import UNDEFINED, Interval, hierarchical_bootstrap, percentile_interval, student_interval
from isogloss.text.translation_score import TranslationScore

NONE, ALL = "none", "all"
_CHANGES = (
    *("change", "ci_low", "ci_high", "beyond_random", "beyond_random_low", "beyond_random_high"),
    *("beyond_matched", "beyond_matched_low", "beyond_matched_high"),
    *("change_draws_low", "change_draws_high", "beyond_matched_draws_low", "beyond_matched_draws_high"),
)
_DOSE = ("injected_norm", "mean_firings", "selective_share")


class Documents(NamedTuple):
    """The documents whose perplexity is taken."""

    names: list[str]  # the language versions of a document share one
    langs: list[str]
    ids: list[list[int]]  # BOS first


class Variant(NamedTuple):
    """A row of the tables, before languages."""

    name: str  # class
    alpha: float
    n_features: int
    repeat: int
    n_used: int
    mask: int | None  # its number among the distinct ones; None: nothing is injected
    injected_norm: float = 0.0  # mean over tokens, α included
    mean_firings: float | None = None
    selective_share: float | None = None


def variant_of(draw: Draw, alpha: float, mask: int, norm: float, described: DescribedLayer) -> Variant:
    """A draw at a strength; `norm` is the mean of what it adds at α = 1. Controls are of no class by their firings."""
    by_firings = described.by_firings[draw.features]
    return Variant(
        draw.name,
        alpha,
        draw.n_features,
        draw.repeat,
        len(draw.features),
        mask,
        alpha * norm,
        float(described.firings[draw.features].mean()) if len(draw.features) else None,
        None if draw.name in (RANDOM, MATCHED) else float((by_firings == draw.name).mean()),
    )


class Translated(NamedTuple):
    """What became of one direction's sentences under one variant."""

    task: Task
    hypotheses: list[str]
    score: TranslationScore


def write_results(
    output: str,
    summary: str,
    key: Mapping[str, int],
    variants: Sequence[Variant],
    perplexities: Float[np.ndarray, "variants documents"],
    read: Documents,
    translated: Sequence[Sequence[Translated]],
    languages: Sequence[str],
    resampling: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> None:
    """Write the table `intervention` and its summary; `key` is what all rows have in common."""
    import polars as pl

    from isogloss.tables import write_table
    from isogloss.tables.bilingual import INTERVENTION

    scores = [_scores(directions) for directions in translated]
    rows: list[dict[str, Any]] = []
    totals: list[dict[str, Any]] = []
    for lang in [*languages, ALL]:
        here = np.array([lang in (of_document, ALL) for of_document in read.langs])
        names = [name for name, is_here in zip(read.names, here, strict=True) if is_here]
        for variant, values, score in zip(variants, perplexities[:, here], scores, strict=True):
            rows.append(
                {
                    **key,
                    **_columns(variant, score.get(lang)),
                    "lang": lang,
                    "perplexity": values.mean(),
                    "n": len(names),
                }
            )
        totals += [
            {**key, "lang": lang, **total, "n": len(names)}
            for total in summarise(lang, variants, perplexities[:, here], names, scores, **resampling)
        ]
    integers = {"step": pl.Int64} | dict.fromkeys(["layer", "n_features", "repeat", "repeats", "n_used", "n"], pl.Int32)
    floats = dict.fromkeys(["chrf", "bleu", "comet", *_DOSE, *_CHANGES], pl.Float64)
    keys = [(variant.name, variant.alpha, variant.n_features, variant.repeat) for variant in variants]
    order = {key: number for number, key in enumerate(keys)}
    rows.sort(key=lambda row: order[row["class"], row["alpha"], row["n_features"], row["repeat"]])
    totals.sort(key=lambda row: order[row["class"], row["alpha"], row["n_features"], 0])
    for path, table, contract in ((output, rows, INTERVENTION), (summary, totals, None)):
        types = {name: kind for name, kind in (integers | floats).items() if name in table[0]}
        frame = pl.DataFrame(table, schema_overrides=types, infer_schema_length=None)
        write_table(path, frame, metadata, contract)


def _columns(variant: Variant, score: TranslationScore | None) -> dict[str, Any]:
    return {
        "class": variant.name,
        "alpha": variant.alpha,
        "n_features": variant.n_features,
        "repeat": variant.repeat,
        "n_used": variant.n_used,
        "chrf": score.chrf if score else None,
        "bleu": score.bleu if score else None,
        "comet": None,
        **{name: getattr(variant, name) for name in _DOSE},
    }


def summarise(
    lang: str,
    variants: Sequence[Variant],
    perplexities: Float[np.ndarray, "variants documents"],
    names: Sequence[str],
    scores: Sequence[Mapping[str, TranslationScore]],
    *,
    bootstrap: int,
    confidence: float,
    seed: int,
) -> list[dict[str, Any]]:
    """A row for each class, α and N, repeats averaged; the first of `variants` is the baseline.

    `perplexities` are those of one language's documents, or of all; equal `names` are drawn together.
    """
    groups: dict[tuple[str, float, int], list[int]] = {}
    for number, variant in enumerate(variants):
        groups.setdefault((variant.name, variant.alpha, variant.n_features), []).append(number)
    values = np.stack([perplexities[numbers].mean(axis=0) for numbers in groups.values()])
    _, document = np.unique(names, return_inverse=True)
    replicates = hierarchical_bootstrap(
        values, document, replicates=bootstrap, seed=(seed, *lang.encode()), equal="values"
    )
    estimates = np.concatenate([values.mean(axis=1)[None], replicates])
    changes = estimates - estimates[:, :1]
    row_of = {group: number for number, group in enumerate(groups)}
    rows = []
    for (name, alpha, n), numbers in groups.items():
        change = changes[:, row_of[name, alpha, n]]
        interval = percentile_interval(change[1:], confidence)
        random = row_of.get((RANDOM, alpha, n)) if name != RANDOM else None
        matched = row_of.get((MATCHED, alpha, n)) if name == MIXED else None
        of_draws = [numbers] if matched is None else [numbers, groups[MATCHED, alpha, n]]
        over_draws = _over_draws(perplexities, of_draws[:1], variants, confidence)
        matched_draws = UNDEFINED if matched is None else _over_draws(perplexities, of_draws, variants, confidence)
        of_repeats = [scores[number][lang] for number in numbers if lang in scores[number]]
        chrf, bleu = np.mean(of_repeats, axis=0).tolist() if of_repeats else (None, None)
        rows.append(
            {
                "class": name,
                "alpha": alpha,
                "n_features": n,
                "perplexity": estimates[0, row_of[name, alpha, n]],
                "change": change[0],
                "ci_low": interval.low,
                "ci_high": interval.high,
                **_beyond("beyond_random", changes, change, random, confidence),
                "chrf": chrf,
                "bleu": bleu,
                "comet": None,
                **_beyond("beyond_matched", changes, change, matched, confidence),
                "change_draws_low": over_draws.low,
                "change_draws_high": over_draws.high,
                "beyond_matched_draws_low": matched_draws.low,
                "beyond_matched_draws_high": matched_draws.high,
                **_of_draws([variants[number] for number in numbers]),
            }
        )
    return rows


def _beyond(
    column: str,
    changes: Float[np.ndarray, "replicates groups"],
    change: Float[np.ndarray, " replicates"],
    control: int | None,
    confidence: float,
) -> dict[str, float | None]:
    """A change less a control's, with its interval; the first replicate is the estimate. Null without a control."""
    if control is None:
        return {column: None, f"{column}_low": None, f"{column}_high": None}
    beyond = change - changes[:, control]
    interval = percentile_interval(beyond[1:], confidence)
    return {column: beyond[0], f"{column}_low": interval.low, f"{column}_high": interval.high}


def _over_draws(
    perplexities: Float[np.ndarray, "variants documents"],
    groups: Sequence[Sequence[int]],
    variants: Sequence[Variant],
    confidence: float,
) -> Interval:
    """Student's interval over draws of a change, or of that of one group less another's, draw by draw.

    None where all draws of the last group are the same features.
    """
    means = perplexities.mean(axis=1)
    values = means[list(groups[0])] - (means[list(groups[1])] if len(groups) > 1 else means[0])
    if len({variants[number].mask for number in groups[-1]}) < 2:
        return UNDEFINED
    return student_interval(float(values.mean()), float(values.std(ddof=1)), len(values), confidence)


def _of_draws(variants: Sequence[Variant]) -> dict[str, Any]:
    """What the draws of a class, α and N are, the dose on average."""
    dose = {field: _mean([getattr(variant, field) for variant in variants]) for field in _DOSE}
    return {"n_used": variants[0].n_used, "repeats": len(variants), **dose}


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _scores(translated: Sequence[Translated]) -> dict[str, TranslationScore]:
    """The scores into each language: the mean over the languages that it was translated from."""
    by_target: dict[str, list[TranslationScore]] = {}
    for direction in translated:
        by_target.setdefault(direction.task.target, []).append(direction.score)
    return {target: TranslationScore(*np.mean(scores, axis=0).tolist()) for target, scores in by_target.items()}


def write_hypotheses(
    path: str, variants: Sequence[Variant], translated: Sequence[Sequence[Translated]], metadata: Mapping[str, Any]
) -> None:
    """Write every translation, with its source and reference text: what COMET reads."""
    import polars as pl

    from isogloss.tables import TableWriter

    text = ["class", "source", "lang", "segment", "text", "hypothesis", "reference"]
    numbers = {"alpha": pl.Float64, "n_features": pl.Int32, "repeat": pl.Int32}
    schema = numbers | dict.fromkeys(text, pl.String)
    with TableWriter(path, pl.DataFrame(schema=schema).to_arrow().schema, metadata) as writer:
        for variant, tasks in zip(variants, translated, strict=True):
            for task, hypotheses, _ in tasks:
                frame = pl.DataFrame(
                    {
                        "segment": task.segments,
                        "text": task.texts,
                        "hypothesis": hypotheses,
                        "reference": task.references,
                    }
                )
                constants = {
                    "class": variant.name,
                    "alpha": variant.alpha,
                    "n_features": variant.n_features,
                    "repeat": variant.repeat,
                    "source": task.source,
                    "lang": task.target,
                }
                writer.write(frame.with_columns(**{name: pl.lit(value) for name, value in constants.items()}))
