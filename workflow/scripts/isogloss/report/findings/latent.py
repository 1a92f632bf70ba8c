"""What paper B's tables say, in sentences: every number is read from a table, every direction from its interval."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from isogloss.report.findings.sentences import estimate, estimate_in, probability, sign, sign_in, significant
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.means import over_languages
from isogloss.report.shared.wording import listed, name, number

MOST_TIES = 0.01
"""Up to this share of questions, tied answers are not worth a sentence."""


def answers(tables: Tables, context: Context) -> list[str]:
    """Per task the highest and the lowest accuracy beside the reference's, and how many languages beat guessing."""
    sentences: list[str] = []
    for (task,), frame in tables["answers"].drop_nulls("accuracy").group_by("task", maintain_order=True):
        rows = frame.sort("accuracy").to_dicts()
        low, high = rows[0], rows[-1]
        own = [row for row in rows if row["lang"] == context.reference and row is not high]
        chance = low["chance"]
        above = sum(row["accuracy_low"] > chance for row in rows if row["accuracy_low"] is not None)
        beside = f" {name(context.reference)} {_percent(own[0], 'accuracy')}." if own else ""
        sentences.append(
            f"{context.task(str(task))}, {high['n']:,} questions that are the same in every language, no example in"
            f" the prompt: of {len(rows)} languages {name(high['lang'])} is answered best,"
            f" {_percent(high, 'accuracy')} right, {name(low['lang'])} worst, {_percent(low, 'accuracy')}.{beside}"
            f" In {above} of {len(rows)} the interval lies above chance ({100 * chance:.3g} %)."
            f"{_ties(rows)}"
        )
    return sentences


def _ties(rows: list[dict[str, Any]]) -> str:
    """Where the best choice is tied in more than a hundredth of the questions."""
    if not (often := [row for row in rows if row["ties"] > MOST_TIES]):
        return ""
    worst = max(often, key=lambda row: row["ties"])
    return (
        f" In {len(often)} of {len(rows)} languages the best choice is tied in more than {_share(MOST_TIES)} of the"
        f" questions, most in {name(worst['lang'])} ({_share(worst['ties'])}): there the order of the choices decides."
    )


def transfer(tables: Tables, context: Context) -> list[str]:
    """Per task the means over all ordered pairs, and how far the reference's answers reach into the others."""
    sentences: list[str] = []
    for row in tables["transfer_summary"].iter_rows(named=True):
        pairs = tables["transfer"].filter(task=row["task"], lang_a=context.reference)
        sentences.append(
            f"{context.task(row['task'])}, all ordered pairs of {row['n_languages']} languages: two languages rank the"
            f" choices with a consistency of ρ = {estimate_in(row, 'consistency', '')} (1: alike; by chance"
            f" {number(row['consistency_chance'], 2)}). Of the questions right in one language"
            f" {_percent(row, 'positive_transfer')} are right in the other, too (by chance"
            f" {_share(row['positive_transfer_chance'])}); of those wrong {_percent(row, 'negative_transfer')} have the"
            f" same wrong answer (by chance {_share(row['negative_transfer_chance'])}). With the second language's"
            f" accuracy taken out, {_percent(row, 'transfer_above_chance')} transfer; a leaning to a position or"
            " wording that both share stays in. By chance: languages that are right as often and lean to the same"
            " places among the choices, but have nothing else in common."
        )
        sentences += _reach(pairs, context)
    return sentences


def _reach(pairs: pl.DataFrame, context: Context) -> list[str]:
    rows = pairs.drop_nulls("positive_transfer").sort("positive_transfer").to_dicts()
    if not rows:
        return []
    ends = [f"{name(row['lang_b'])} {_percent(row, 'positive_transfer')}" for row in (rows[0], rows[-1])]
    alike = sorted(row["consistency"] for row in rows if row["consistency"] is not None)
    ranks = f"; consistency with it runs from ρ = {number(alike[0], 2)} to {number(alike[-1], 2)}" if alike else ""
    span = f"from {ends[0]} to {ends[1]}" if len(rows) > 1 else ends[0]
    reference = name(context.reference)
    return [f"Of the questions right in {reference}, so many are right in another language: {span}{ranks}."]


def latent(tables: Tables, context: Context) -> list[str]:
    """Per task in which layers the lens prefers the reference's answers, in which native ones, by intervals."""
    sentences: list[str] = []
    reference = name(context.reference)
    others = tables["latent"].filter(pl.col("lang") != context.reference)
    for (task,), frame in others.group_by("task", maintain_order=True):
        rows = over_languages(frame, "log_ratio", context.confidence).to_dicts()
        if not rows:
            continue
        sides = (
            (-1, f"{reference} answers are the more probable ones"),
            (1, "native answers are the more probable ones"),
            (0, "no evidence for either"),
        )
        verdicts: list[str] = []
        for side, what in sides:
            if layers := [str(row["layer"]) for row in rows if sign(row["low"], row["high"]) == side]:
                verdicts.append(f"{what} in {'layer' if len(layers) == 1 else 'layers'} {listed(layers)}")
        lowest, last = min(rows, key=lambda row: row["mean"]), rows[-1]
        sentences.append(
            f"{context.task(str(task))}, each layer read as if it were the last (logit lens), mean over {rows[0]['n']}"
            f" languages: {'; '.join(verdicts)}. The log ratio of native to {reference} answers is lowest in layer"
            f" {lowest['layer']}, {_mean(lowest, '')} nats a token, and {_mean(last, '')} in the last."
        )
    return sentences


_TARGETS = {
    "accuracy": ("accuracy", "are the more accurate", "are the less accurate"),
    "consistency": ("consistency", "agree more with the others", "agree less with the others"),
    "positive_transfer": ("transfer", "receive more transfer", "receive less transfer"),
}


def correlation(tables: Tables, context: Context) -> list[str]:
    """Per task and target whether languages in which the layers work more natively fare better or worse."""
    sentences: list[str] = []
    for (task,), rows in tables["latent_correlation"].group_by("task", maintain_order=True):
        measured = "; ".join(_correlated(row, context) for row in rows.iter_rows(named=True))
        sentences += [
            f"{context.task(str(task))}, languages whose own answers the layers prefer (log ratio, mean over layers):"
            f" {measured}.",
            _length(rows),
        ]
    return sentences


def _correlated(row: Mapping[str, Any], context: Context) -> str:
    what, more, less = _TARGETS[row["target"]]
    if row["r"] is None:
        return f"with {what} no r can be computed (languages: {row['n']})"
    side = sign_in(row, "r")
    verdict = "no evidence of a relation" if not side else f"they {more if side > 0 else less}"
    if side and not significant(row, context.confidence):
        verdict += f", which does not outlast the correction over tasks and targets ({row['family_size']} tests)"
    return f"with {what} r = {estimate_in(row, 'r', '')}, {verdict}"


_NORMALISED = {"": "by token (the paper's)", "total_": "not normalised", "character_": "by character"}
_FOLLOWS = 0.5  # correlation with the token ratio from which on the log ratio is said to go with it


def _length(rows: pl.DataFrame) -> str:
    """What the length of the texts has to do with it: of the log ratio with accuracy, each way to normalise it."""
    row = next(rows.filter(target="accuracy").iter_rows(named=True), None)
    if row is None or row["length_r"] is None:
        return "Whether the log ratio follows the length of the texts cannot be said of so few languages."
    parts = [
        f"{label} r = {number(row[f'{prefix}r'], 2)}, with the number of tokens taken out"
        f" {number(row[f'{prefix}partial_r'], 2)}{_permuted(row[f'{prefix}partial_p'])}"
        for prefix, label in _NORMALISED.items()
    ]
    length = {label: row[f"{prefix}length_r"] for prefix, label in _NORMALISED.items()}
    follows = [f"{label} (r = {number(r, 2)})" for label, r in length.items() if r is not None and abs(r) >= _FOLLOWS]
    which = f"Of the three, that {listed(follows)} goes" if follows else "None of the three goes"
    return (
        f"The log ratio with accuracy, three ways to count: {'; '.join(parts)}. {which} with how many more tokens a"
        " language's texts have than the reference's."
    )


def _permuted(p: float | None) -> str:
    return "" if p is None else f" ({probability(p)} over orders of the languages)"


def _paired(
    first: pl.DataFrame, second: pl.DataFrame, column: str, what: str, verdicts: Mapping[int, str], context: Context
) -> str:
    """Mean over languages of a column's difference between two frames, and the verdict by the sign of its interval.

    Nothing where no language has both.
    """
    both = first.join(second, on="lang", suffix="_second", maintain_order="left").with_columns(
        difference=pl.col(column) - pl.col(f"{column}_second"), all=pl.lit(0)
    )
    return "".join(
        f"{what}: {_mean(mean, 'points', 100)}, {verdicts[sign(mean['low'], mean['high'])]}."
        for mean in over_languages(both, "difference", context.confidence, by=["all"]).iter_rows(named=True)
    )


# Of which facts taught in the reference only are held against untaught ones: how sentences say it, and the verdict by
# the sign of the difference's interval.
_COMPARED = {
    "positive_transfer": (
        "Facts taught in the reference only less facts never taught",
        {1: "transfer is shown", -1: "less than of facts never taught", 0: "no evidence of transfer"},
    ),
    "steered_accuracy_change": (
        "What steering adds to facts taught in the reference only less what it adds to facts never taught",
        {
            1: "steering brings out what the reference knows",
            -1: "less than on facts never taught",
            0: "no evidence that steering brings out what the reference knows",
        },
    ),
}


def teaching(tables: Tables, context: Context) -> list[str]:
    """The toy world: what transfers of facts taught in the reference only, beside those taught elsewhere."""
    sentences: list[str] = []
    reference = name(context.reference)
    where = {"all": "every language", "reference": f"{reference} only", "none": "no language"}
    others = tables["latent_by_teaching"].filter(pl.col("lang") != context.reference)
    for (task,), rows in others.group_by("task", maintain_order=True):
        means = over_languages(rows, "positive_transfer", context.confidence, by=["taught"]).to_dicts()
        by_class = {mean["taught"]: mean for mean in means}
        parts = [
            f"{_mean(by_class[taught], '%', 100)} where the fact was taught in {languages}"
            for taught, languages in where.items()
            if taught in by_class
        ]
        if parts:
            only, never = (rows.filter(taught=taught) for taught in ("reference", "none"))
            sentences.append(
                f"{context.task(str(task))}, mean over languages: of the questions right in {reference}, so"
                f" many are right in another language: {listed(parts)}."
            )
            sentences += [_paired(only, never, column, *words, context) for column, words in _COMPARED.items()]
    return sentences


def _mean(row: Mapping[str, Any], unit: str, factor: float = 1) -> str:
    """A mean over languages, a row of `over_languages`."""
    low, high = (None if row[end] is None else factor * row[end] for end in ("low", "high"))
    return estimate(factor * row["mean"], low, high, unit)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{number(100 * value)} %"


def _percent(row: Mapping[str, Any], column: str) -> str:
    return estimate_in(row, column, "%", factor=100)
