"""What steering does where nothing chose its setting, and what the layers agree on, in sentences."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from isogloss.report.findings.sentences import estimate_in, probability, sign_in
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import number, signed

_GAINS = {1: "a gain", -1: "a loss", 0: "no evidence of a gain"}
_DIRECTION = {
    1: "more than a push of that length does",
    -1: "less than a push in a random direction",
    0: "no evidence that the direction matters",
}
_OTHER = {
    1: "more than another language's vector does",
    -1: "less than another language's vector",
    0: "no evidence that the language matters",
}


def steering(tables: Tables, context: Context) -> list[str]:
    """Per task what the own vectors change in questions that did not choose layer and γ, and what controls do there."""
    sentences: list[str] = []
    means = tables["steering_judged"].filter(pl.col("lang").is_null())
    for (task,), rows in means.group_by("task", maintain_order=True):
        by_vector = {row["vector"]: row for row in rows.iter_rows(named=True)}
        own = by_vector.get("own")
        start = f"{context.task(str(task))}, steering by each language's own vector"
        if own is None or own["change_judged"] is None:
            reason = own["reason"] if own else "no own vector was run"
            sentences.append(f"{start}: not judged ({reason}).")
            continue
        where = [f"layer {own[f'layer_{end}']}, γ = {signed(own[f'gamma_{end}'])}" for end in ("first", "second")]
        settings = where[0] if where[0] == where[1] else f"{where[0]} by one half, {where[1]} by the other"
        sentences.append(
            f"{start}: accuracy changes by {_points(own, 'change_judged')}, mean over {own['n_languages']} languages:"
            f" {_GAINS[sign_in(own, 'change_judged')]}. The best of {own['n_settings']} settings of layer and strength"
            f" γ was chosen on one half of the questions and judged on the other, both ways ({settings}); on the"
            f" questions that chose, the change seems {number(100 * own['change_chosen'])} points."
        )
        sentences.append(f"What controls do there:{_random(by_vector)}{_other(by_vector.get('other'))}")
    return sentences


def _random(by_vector: Mapping[str, Mapping[str, Any]]) -> str:
    """One random direction chosen and judged likewise; and many where the own vectors are judged."""
    text = ""
    if single := by_vector.get("random"):
        text = (
            f" A random direction, chosen and judged likewise, changes it by {_points(single, 'change_judged')} (seems"
            f" {number(100 * single['change_chosen'])})."
        )
    if (many := by_vector.get("directions")) is None:
        return text or " No random control was run."
    return (
        f"{text} Of {many['n_directions']} random directions of the same length in the same settings, on {many['n']}"
        f" questions, {many['n_as_large']} gain as much as the own vectors or more ({probability(many['p'])}); own"
        f" vectors less their mean: {_points(many, 'own_less')}, {_DIRECTION[sign_in(many, 'own_less')]}."
    )


def _other(row: Mapping[str, Any] | None) -> str:
    if row is None or row["own_less"] is None:
        return ""
    return (
        f" Own vectors less the next language's there: {_points(row, 'own_less')}, {_OTHER[sign_in(row, 'own_less')]}."
    )


def _points(row: Mapping[str, Any], column: str) -> str:
    return estimate_in(row, column, "points", factor=100)


def transfer_layers(tables: Tables, context: Context) -> list[str]:
    """Per task how alike the languages' ranks are in the first and last probed layer, and where above chance most."""
    sentences: list[str] = []
    for (task,), frame in tables["transfer_layers"].group_by("task", maintain_order=True):
        rows = frame.drop_nulls(["consistency", "consistency_chance"]).sort("layer").to_dicts()
        if not rows:
            sentences.append(f"{context.task(str(task))}, ranks by layer: no two languages can be compared.")
            continue
        first, last = rows[0], rows[-1]
        top = max(rows, key=lambda row: row["consistency"] - row["consistency_chance"])
        ends = [
            f"{estimate_in(row, 'consistency', '')} in layer {row['layer']}, by chance"
            f" {number(row['consistency_chance'], 2)}"
            for row in ([first, last] if len(rows) > 1 else [last])
        ]
        above = estimate_in(top, "transfer_above_chance", "%", factor=100)
        sentences.append(
            f"{context.task(str(task))}, choices ranked by what each layer prefers, mean over all ordered pairs:"
            f" consistency ρ = {'; '.join(ends)}. It is farthest above chance in layer {top['layer']}"
            f" ({number(top['consistency'], 2)} against {number(top['consistency_chance'], 2)}), where positive"
            f" transfer above chance is {above}."
        )
    return sentences
