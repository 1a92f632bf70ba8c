"""What the figures of answers, transfer and the lens show (paper B), each in one sentence."""

from typing import Any

import polars as pl

from isogloss.report.entry import Takeaway
from isogloss.report.findings.sentences import sign, sign_in
from isogloss.report.shared.answered import FEW, with_counts
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.leanings import leanings
from isogloss.report.shared.means import over_languages
from isogloss.report.shared.taught import questions
from isogloss.report.shared.wording import listed, name, number
from isogloss.report.takeaways.brief import brief_in, brief_mean, by_task, counted, of_how_many, ranged

_NO_PAIR = "No two languages were asked the same questions."


def answers(tables: Tables, context: Context) -> Takeaway:
    """From which to which accuracy languages run, and how many lie above chance by their intervals."""
    frame = tables["answers"].drop_nulls("accuracy").sort("accuracy", maintain_order=True)

    def of(_task: str, rows: pl.DataFrame) -> str:
        low, high = rows.row(0, named=True), rows.row(-1, named=True)
        span = f"accuracy is {_percent(high['accuracy'])} in {name(high['lang'])}"
        if rows.height > 1:
            span = (
                f"accuracy runs from {_percent(low['accuracy'])} in {name(low['lang'])} to"
                f" {_percent(high['accuracy'])} in {name(high['lang'])}"
            )
        if low["chance"] is None:
            return span
        above = rows.filter(pl.col("accuracy_low") > pl.col("chance")).height
        return f"{span}; above chance ({_percent(low['chance'])}): {above} of {counted(rows.height, 'language')}"

    if not frame.height:
        return Takeaway("No accuracy is defined.")
    return Takeaway(by_task(frame, of, context), _languages(frame["lang"], frame["n"]))


def transfer(tables: Tables, context: Context) -> Takeaway:
    """The mean positive transfer beside chance, and on how many questions the cells rest."""
    counts = with_counts(tables["transfer"], tables["answers"])
    few = counts.filter(pl.col("rests_on") < FEW).height
    rests = ranged(counts["rests_on"], "question")
    cells = f"a cell rests on {rests} answered rightly" if rests else ""
    note = f"{few} of {counted(counts.height, 'cell')} on fewer than {FEW}" if few else ""
    text = (
        by_task(tables["transfer_summary"], lambda _task, rows: _right_in_both(rows.row(0, named=True)), context)
        or _NO_PAIR
    )
    return Takeaway(text, of_how_many([_pairs(tables), cells, note]))


def _right_in_both(row: dict[str, Any]) -> str:
    if row["positive_transfer"] is None:
        return "transfer is not defined"
    shown = brief_in(row, "positive_transfer", "%", factor=100, digits=0)
    return (
        f"of questions right in one language {shown} are right in the other{_by_chance(row, 'positive_transfer', 100)}"
    )


def consistency(tables: Tables, context: Context) -> Takeaway:
    """How alike the languages rank the choices, beside chance."""

    def of(_task: str, rows: pl.DataFrame) -> str:
        row = rows.row(0, named=True)
        if row["consistency"] is None:
            return "consistency is not defined"
        shown = brief_in(row, "consistency")
        return f"two languages rank the choices alike by ρ = {shown}{_by_chance(row, 'consistency', 1)}"

    n = ranged(tables["transfer"]["n"], "question")
    return Takeaway(by_task(tables["transfer_summary"], of, context) or _NO_PAIR, of_how_many([_pairs(tables), n]))


def _by_chance(row: dict[str, Any], column: str, factor: float) -> str:
    """What it would be by chance, and whether the interval excludes it."""
    chance = row.get(f"{column}_chance")
    if chance is None:
        return ""
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    side = 0 if low is None else sign(low - chance, high - chance)
    verdict = {1: "more than", -1: "less than", 0: "not told apart from"}[side]
    shown = _percent(chance) if factor == 100 else number(chance, 2)
    return f", {verdict} what shuffled questions give ({shown})"


def transfer_layers(tables: Tables, context: Context) -> Takeaway:
    """Consistency in the first and the last probed layer beside chance."""

    def of(_task: str, rows: pl.DataFrame) -> str:
        defined = rows.drop_nulls("consistency").sort("layer").to_dicts()
        if not defined:
            return "consistency is not defined in any layer"
        first, last = defined[0], defined[-1]
        shown = [f"{brief_in(row, 'consistency')} in layer {row['layer']}" for row in (first, last)]
        chance = "" if last["consistency_chance"] is None else f" (by chance {number(last['consistency_chance'], 2)})"
        if first is last:
            return f"consistency is ρ = {shown[0]}{chance}"
        return f"consistency goes from ρ = {shown[0]} to {shown[1]}{chance}"

    frame = tables["transfer_layers"]
    languages = ranged(frame["n_languages"], "language")
    n = of_how_many([languages, _layers(frame), ranged(frame["n"], "question")])
    return Takeaway(by_task(frame, of, context) or _NO_PAIR, n)


def latent(tables: Tables, context: Context) -> Takeaway:
    """In which layers the lens prefers the reference's answers by the mean, and in how many languages."""
    reference = name(context.reference)
    frame = tables["latent"].filter(pl.col("lang") != context.reference)

    def of(_task: str, rows: pl.DataFrame) -> str:
        means = over_languages(rows, "log_ratio", context.confidence).to_dicts()
        if not means:
            return "the log ratio is not defined in any layer"
        leaning = {
            side: [str(row["layer"]) for row in means if sign(row["low"], row["high"]) == side] for side in (-1, 1)
        }
        parts = [
            f"{what} answers in {'layer' if len(leaning[side]) == 1 else 'layers'} {_run(leaning[side])}"
            for side, what in ((-1, reference), (1, "native"))
            if leaning[side]
        ]
        most = max(leanings(rows).to_dicts(), key=lambda row: row["reference"] / row["n"])
        few = f"; {reference} in {most['reference'] or 'none'} of {counted(most['n'], 'language')}"
        few += f" at most (layer {most['layer']})" if most["reference"] else " in any layer"
        return (f"the lens prefers {listed(parts)}" if parts else "the lens prefers neither by the mean") + few

    text = by_task(frame, of, context) or "The log ratio is not defined: no language beside the reference was asked."
    return Takeaway(text, of_how_many([_languages(frame["lang"], frame["n"]), _layers(frame)]))


def _run(layers: list[str]) -> str:
    """Layers in order; of many the first and the last, with how many there are."""
    return listed(layers) if len(layers) <= 4 else f"{layers[0]} to {layers[-1]} ({len(layers)} of them)"


def latent_accuracy(tables: Tables, context: Context) -> Takeaway:
    """Accuracy of native and of the reference's answers in the last layer."""
    frame = tables["latent"].filter(pl.col("lang") != context.reference)

    def of(_task: str, rows: pl.DataFrame) -> str:
        last = rows.filter(layer=rows["layer"].max())
        shown = []
        for column, what in (("accuracy_native", "native"), ("accuracy_reference", name(context.reference))):
            for mean in over_languages(last, column, context.confidence).to_dicts():
                shown.append(f"{what} answers are right in {brief_mean(mean, '%', factor=100, digits=0)}")
        chances = rows["chance"].drop_nulls() if "chance" in rows.columns else []
        by_chance = f" (chance {_percent(chances[0])})" if len(chances) else ""
        layer = f"in layer {last['layer'][0]} "
        return f"{layer}{' and '.join(shown)}{by_chance}" if shown else "accuracy is not defined in the last layer"

    text = by_task(frame, of, context) or "No language beside the reference was asked."
    return Takeaway(text, of_how_many([_languages(frame["lang"], frame["n"]), _layers(frame)]))


def latent_correlation(tables: Tables, context: Context) -> Takeaway:
    """Whether languages in which the lens prefers native answers fare better, by corrected p-values."""
    titles = {"accuracy": "accuracy", "consistency": "consistency", "positive_transfer": "transfer"}

    def of(_task: str, rows: pl.DataFrame) -> str:
        tested = rows.drop_nulls("r").to_dicts()
        if not tested:
            return "there are too few languages for a correlation with the log ratio"
        shown = [
            row
            for row in tested
            if sign_in(row, "r") and row["p_adjusted"] is not None and row["p_adjusted"] < 1 - context.confidence
        ]
        if shown:
            parts = [f"{titles[row['target']]} (r = {brief_in(row, 'r')})" for row in shown]
            return f"the log ratio goes with {listed(parts)}, corrected for {shown[0]['family_size']} tests"
        first = tested[0]
        most = f"{titles[first['target']]} r = {brief_in(first, 'r')}"
        return (
            f"no relation of the log ratio with {listed([titles[row['target']] for row in tested])} is shown ({most})"
        )

    frame = tables["latent_correlation"]
    return Takeaway(by_task(frame, of, context), ranged(frame["n"], "language"))


def projection(tables: Tables, context: Context) -> Takeaway:
    """How much of the spread in the plane lies between the means of languages, in the first and the last layer."""
    frame = tables["projection"]

    def of(_task: str, rows: pl.DataFrame) -> str:
        layers = sorted(set(rows["layer"]))
        shares = [
            (layer, _between_languages(rows.filter(layer=layer))) for layer in dict.fromkeys((layers[0], layers[-1]))
        ]
        parts = [f"{_percent(share)} in layer {layer}" for layer, share in shares if share is not None]
        return (
            f"languages lie apart: their means hold {' and '.join(parts)} of the spread in the plane" if parts else ""
        )

    one = "There is one language only, so none lies apart."
    text = (
        one if frame["lang"].n_unique() < 2 else by_task(frame, of, context) or "The states do not spread in the plane."
    )
    return Takeaway(text, of_how_many([counted(frame["lang"].n_unique(), "language"), _layers(frame), _states(frame)]))


def _states(frame: pl.DataFrame) -> str:
    per = frame.group_by("task", "layer", "lang").len()["len"]
    return f"{ranged(per, 'question')} each"


def _between_languages(rows: pl.DataFrame) -> float | None:
    """Share of the sum of squares of both components that lies between the means of languages."""
    within, total = 0.0, 0.0
    for component in ("pc1", "pc2"):
        centred = rows.select(
            own=pl.col(component) - pl.col(component).mean().over("lang"),
            all=pl.col(component) - pl.col(component).mean(),
        )
        within += float((centred["own"] ** 2).sum())
        total += float((centred["all"] ** 2).sum())
    return 1 - within / total if total > 0 else None


def latent_by_teaching(tables: Tables, context: Context) -> Takeaway:
    """Transfer from the reference of facts taught in it only, beside facts taught nowhere, paired by language."""
    frame = tables["latent_by_teaching"].filter(pl.col("lang") != context.reference)

    def of(task: str, rows: pl.DataFrame) -> str:
        pair = [
            rows.filter(taught=taught).select("lang", value="positive_transfer") for taught in ("reference", "none")
        ]
        both = pair[0].join(pair[1], on="lang", suffix="_none", maintain_order="left")
        both = both.with_columns(difference=100 * (pl.col("value") - pl.col("value_none")), all=pl.lit(0))
        means = over_languages(both, "difference", context.confidence, by=["all"]).to_dicts()
        if not means:
            return "transfer of facts taught in the reference only cannot be held against untaught facts"
        mean = means[0]
        verdict = {1: "transfer is shown", -1: "less than of untaught facts", 0: "no transfer is shown"}
        counts = questions(tables["latent_by_teaching"].filter(task=task), "positive_transfer", context.reference)
        few = f"; untaught: {counted(counts['none'], 'question')} only" if counts.get("none", FEW) < FEW else ""
        shown = brief_mean(mean, "points")
        side = verdict[sign(mean["low"], mean["high"])]
        return f"facts taught in the reference only transfer {shown} beyond untaught ones: {side}{few}"

    text = by_task(frame, of, context) or "No language beside the reference was asked."
    return Takeaway(text, counted(frame["lang"].n_unique(), "language"))


def _pairs(tables: Tables) -> str:
    n = max((rows.height for _, rows in tables["transfer"].group_by("task")), default=0)
    return counted(n, "ordered pair of languages", "ordered pairs of languages")


def _languages(codes: pl.Series, n: pl.Series) -> str:
    return of_how_many([counted(codes.n_unique(), "language"), ranged(n, "question")])


def _layers(frame: pl.DataFrame) -> str:
    return counted(frame["layer"].n_unique(), "layer")


def _percent(share: float) -> str:
    return f"{number(100 * share, 0)} %"
