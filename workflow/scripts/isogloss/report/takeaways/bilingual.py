"""What the figures of paper C show, each in one sentence."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from isogloss.config.base import middle
from isogloss.report.entry import Takeaway
from isogloss.report.findings.sentences import sign_in
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import listed, number
from isogloss.report.takeaways.brief import brief_in, counted, of_how_many, sentence


def selectivity(tables: Tables, _: Context) -> Takeaway:
    """The mixed share and monosemanticity beyond its null at the last step of the middle layer, and at the first."""
    layer = middle(tables["selectivity"]["layer"])
    rows = tables["selectivity"].filter(layer=layer)
    mixed, every = (rows.filter(pl.col("class") == code).sort("step").to_dicts() for code in ("mixed", "all"))
    defined = [row for row in mixed if row["share"] is not None]
    if not defined:
        return Takeaway("Every feature is silent: there are no classes.", _sizes(rows))
    share = f"{brief_in(defined[-1], 'share', '%', factor=100, digits=0)} of the features are mixed"
    if len(defined) > 1:
        first = f"{number(100 * defined[0]['share'], 0)} %"
        share += f" at step {defined[-1]['step']:,}, {_change(defined, 'share')} from {first}"
    last = every[-1]
    excess = "monosemanticity_calibrated_excess"
    verdict = {1: "more than chance", -1: "less than chance", 0: "not told apart from chance"}[sign_in(last, excess)]
    if last[excess] is None:
        return Takeaway(sentence(f"{share}; no feature has two tokens"), _sizes(rows))
    return Takeaway(
        sentence(f"{share}; monosemanticity less its null is {brief_in(last, excess)}: {verdict}"), _sizes(rows)
    )


def _change(rows: list[dict[str, Any]], column: str) -> str:
    """Whether the last interval lies above the first, below it, or overlaps it."""
    first, last = rows[0], rows[-1]
    bounds = [row[f"{column}_{end}"] for row in (first, last) for end in ("low", "high")]
    if None in bounds:
        return "without intervals"
    low, high, low_last, high_last = bounds
    return "up" if low_last > high else "down" if high_last < low else "no change shown"


def _sizes(rows: pl.DataFrame) -> str:
    last = rows.filter(step=rows["step"].max())
    features = last.filter(pl.col("class") == "all")["n_features"].drop_nulls()
    return of_how_many(
        [
            counted(int(features.sum()) if len(features) else None, "feature"),
            counted(rows["layer"].n_unique(), "layer"),
            counted(rows["step"].n_unique(), "checkpoint"),
        ]
    )


def selectivity_layers(tables: Tables, _: Context) -> Takeaway:
    """In how many layers the mixed share changed over training, and from which to which layer it runs at the end."""
    frame = tables["selectivity"]
    mixed = frame.filter(pl.col("class") == "mixed").drop_nulls("share").sort("layer", "step")
    courses = [rows.to_dicts() for _, rows in mixed.group_by("layer", maintain_order=True)]
    if not courses:
        return Takeaway("Every feature is silent: there are no classes.", _sizes(frame))
    ends = sorted((rows[-1] for rows in courses), key=lambda row: row["share"])
    span = [f"{number(100 * row['share'], 0)} % in layer {row['layer']}" for row in (ends[0], ends[-1])]
    text = f"mixed features are {span[0]}" if len(ends) == 1 else f"mixed features run from {span[0]} to {span[1]}"
    if any(len(rows) > 1 for rows in courses):
        changes = [_change(rows, "share") for rows in courses]
        text += f"; over training their share rose in {changes.count('up')} of {counted(len(courses), 'layer')}"
        text += f" and fell in {changes.count('down')}"
    return Takeaway(sentence(text), _sizes(frame))


def span_length(tables: Tables, _: Context) -> Takeaway:
    """On how many tokens in a row a feature is active, in the first and the last step, over layers."""
    frame = tables["selectivity"]
    rows = frame.filter(pl.col("class") == "all").drop_nulls("span_length")
    if not rows.height:
        return Takeaway("No feature is active: span length is not defined.", _sizes(frame))
    steps = sorted(set(rows["step"]))
    steps = steps[:: max(1, len(steps) - 1)]  # the first and the last
    parts = []
    for step in steps:
        lengths = rows.filter(step=step)["span_length"]
        low, high = number(lengths.min(), 2), number(lengths.max(), 2)  # pyright: ignore[reportArgumentType]
        span = low if low == high else f"{low} to {high}"
        parts.append(f"{span}{f' at step {step:,}' if len(steps) > 1 else ''}")
    text = f"a feature is active on so many tokens in a row: {listed(parts)}, over layers"
    return Takeaway(sentence(text), _sizes(frame))


def sae_training(tables: Tables, _: Context) -> Takeaway:
    """What the SAEs of the last checkpoint leave unexplained, and the largest share of dead features at any step."""
    frame = tables["sae_training"].with_columns(dead=100 * pl.col("dead_features") / pl.col("features"))
    last = frame.filter(step=frame["step"].max())["fvu"].drop_nulls()
    span = "an unknown share" if last.is_empty() else _percents(100 * last)
    worst = frame.sort("dead", descending=True, nulls_last=True).row(0, named=True)
    dead = f"at most {number(worst['dead'], 0)} % of features are dead (layer {worst['layer']}, step {worst['step']:,})"
    n = of_how_many(
        [
            counted(frame["layer"].n_unique(), "layer"),
            counted(frame["step"].n_unique(), "checkpoint"),
            counted(int(frame["n_tokens"][0]), "token"),
        ]
    )
    return Takeaway(sentence(f"the SAEs leave {span} of the variance unexplained at the last step; {dead}"), n)


def _percents(values: pl.Series) -> str:
    low, high = (number(value, 0) for value in (values.min(), values.max()))  # pyright: ignore[reportArgumentType]
    return f"{low} %" if low == high else f"{low} to {high} %"


def learning_rates(tables: Tables, _: Context) -> Takeaway:
    """Which learning rate was chosen, and whether it lies at an end of those tried."""
    frame = tables["learning_rates"].sort("learning_rate")
    rates, chosen = frame["learning_rate"].to_list(), frame.filter("chosen")["learning_rate"].to_list()
    if not chosen:
        return Takeaway("No learning rate was chosen.", counted(len(rates), "learning rate"))
    at_end = chosen[0] in (rates[0], rates[-1])
    where = "at an end of those tried, so a better one may lie outside" if at_end else "within those tried"
    text = f"the learning rate {chosen[0]:g} has the lowest validation loss, {where}"
    return Takeaway(sentence(text), counted(len(rates), "learning rate"))


def intervention(tables: Tables, _: Context) -> Takeaway:
    """Whether mixed features help more than matched random ones, by both intervals; else by the interval beside random.

    Of the middle strength and number of features, over all documents.
    """
    frame = tables["intervention_summary"]
    rows = frame.filter(pl.col("class") == "mixed", lang="all").drop_nulls("change")
    n = of_how_many([counted(_documents(frame), "document"), counted(_largest(frame, "n_features"), "feature")])
    if not rows.height:
        return Takeaway("No change of perplexity by mixed features was measured.", n)
    alphas, counts = (sorted(set(rows[column])) for column in ("alpha", "n_features"))
    row = rows.filter(alpha=alphas[len(alphas) // 2], n_features=counts[len(counts) // 2]).row(0, named=True)
    where = f"at α = {row['alpha']:g}, N = {row['n_features']:,}"
    if row["beyond_matched"] is None:
        return Takeaway(sentence(f"{where} mixed features change perplexity by {_change_of(row)}; {_control(row)}"), n)
    draws = brief_in(row, "beyond_matched", interval="beyond_matched_draws", digits=1).partition(" ")[2]
    signs = {sign_in(row, "beyond_matched"), sign_in(row, "beyond_matched_draws")}
    verdict = {1: "they help less", -1: "they help more"}.get(
        signs.pop() if len(signs) == 1 else 0, "no difference shown"
    )
    beyond = brief_in(row, "beyond_matched", digits=1)
    over = f" over documents, {draws} over draws" if draws else ""
    text = f"{where} perplexity with mixed features less that with matched random ones is {beyond}{over}: {verdict}"
    return Takeaway(sentence(text), n)


def _change_of(row: Mapping[str, Any]) -> str:
    return brief_in(row, "change", interval="ci", digits=1)


def _control(row: Mapping[str, Any]) -> str:
    if row["beyond_random"] is None:
        return "no random control was run"
    return f"less the change by random features {brief_in(row, 'beyond_random', digits=1)}"


def _documents(frame: pl.DataFrame) -> int | None:
    n = frame.filter(lang="all")["n"].drop_nulls() if "n" in frame.columns else frame["lang"].clear()
    return int(n[0]) if len(n) else None


def _largest(frame: pl.DataFrame, column: str) -> int | None:
    values = frame[column].drop_nulls()
    return int(values.max()) if len(values) else None  # pyright: ignore[reportArgumentType]
