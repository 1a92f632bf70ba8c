"""What the tables say, in sentences: every number is read from a table, every direction from its interval."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import pearsonr

from isogloss.report.sentences import estimate, sign
from isogloss.report.teaching import transfers
from isogloss.report.wording import TASK_TITLES, name, number

VARIANTS = ("without_reference", "with_reference")


def group_gap(frame: pl.DataFrame, variant: str, reference: str, confidence: float) -> list[str]:
    """Gap of the earliest and the deepest layer; of both variants, in how many layers the interval excludes zero."""
    rows = frame.filter(pl.col("variant") == variant).sort("layer").to_dicts()
    defined = [row for row in rows if row["gap_pct"] is not None]
    if not defined:
        return ["No layer has a gap: the mean activation is zero everywhere."]
    where, ones = _variant(variant, reference)
    verdict = {
        1: f"medium-to-low-resource languages activate the features less than {ones}",
        -1: f"medium-to-low-resource languages activate the features more than {ones}",
        0: "the interval includes zero, so no difference between the groups is shown",
    }
    ends = [("first", defined[0]), ("last", defined[-1])] if len(defined) > 1 else [("only", defined[0])]
    sentences = [
        f"In the {which} layer ({row['layer']}) the gap between the groups, {where}, is "
        f"{estimate(row['gap_pct'], row['ci_low'], row['ci_high'], confidence)}:"
        f" {verdict[sign(row['ci_low'], row['ci_high'])]}."
        for which, row in ends
    ]
    without, with_it = (f"{_counted(frame, which, reference)}." for which in VARIANTS)
    return [*sentences, without, f"{with_it} {_selected(reference)}"]


def _variant(variant: str, reference: str) -> tuple[str, str]:
    """How sentences put a variant of the group gap, and the languages that it compares the others with."""
    if variant == "without_reference":
        return f"with {name(reference)} left out", f"high-resource languages other than {name(reference)}"
    return f"with {name(reference)} as high-resource", f"high-resource languages, {name(reference)} among them"


def _selected(reference: str) -> str:
    """Why the variant with the reference is too large."""
    return (
        f"This variant is inflated by selection: {name(reference)} phrases are the features' top activators, their"
        " translations are not."
    )


def _counted(frame: pl.DataFrame, variant: str, reference: str) -> str:
    """In how many layers the interval of a variant lies on either side of zero."""
    signs = _signs(frame.filter(pl.col("variant") == variant))
    where, _ = _variant(variant, reference)
    return (
        f"The gap between the groups, {where}, has its interval above zero in {signs.count(1)}, below zero in"
        f" {signs.count(-1)} and across zero in {signs.count(0)} of {len(signs)} layers"
    )


def _signs(frame: pl.DataFrame) -> list[int]:
    return [sign(low, high) for low, high in frame.select("ci_low", "ci_high").iter_rows()]


def language_gaps(summary: pl.DataFrame, reference: str, confidence: float) -> str:
    """The languages with the largest and the smallest mean gap."""
    rows = summary.filter(pl.col("lang") != reference).drop_nulls("mean_gap_pct").sort("mean_gap_pct").to_dicts()
    if not rows:
        return "No language has a gap."

    def said(row: Mapping[str, Any]) -> str:
        return f"{name(row['lang'])}, {estimate(row['mean_gap_pct'], row['ci_low'], row['ci_high'], confidence)}"

    largest = "; ".join(said(row) for row in rows[:-4:-1])
    smallest = f" Smallest: {said(rows[0])}." if len(rows) > 3 else ""
    return f"Largest gaps to {name(reference)}, mean over layers: {largest}.{smallest}"


def similarity(frame: pl.DataFrame, reference: str) -> str:
    """Range of the cosines, and of those of shuffled pairs."""
    rows = frame.filter(pl.col("lang") != reference).sort("cosine")
    low, high = rows.row(0, named=True), rows.row(-1, named=True)
    shuffled = rows["cosine_shuffled"].drop_nulls()
    beside = f" Shuffled pairs reach {number(float(shuffled.max()), 2)} at most." if len(shuffled) else ""  # type: ignore[arg-type]
    return (
        f"The mean cosine to {name(reference)} runs from {number(low['cosine'], 2)} ({name(low['lang'])}, layer"
        f" {low['layer']}) to {number(high['cosine'], 2)} ({name(high['lang'])}, layer {high['layer']}).{beside}"
    )


def accuracy(frame: pl.DataFrame, reference: str, low_resource: Sequence[str], confidence: float) -> list[str]:
    """Per task the reference's accuracy beside the range of the medium-to-low-resource languages."""
    sentences: list[str] = []
    base = frame.filter(pl.col("adapter") == "base")
    for task in base["task"].unique(maintain_order=True):
        rows = base.filter(pl.col("task") == task)
        own = rows.filter(pl.col("lang") == reference).to_dicts()
        others = rows.filter(pl.col("lang").is_in(list(low_resource))).sort("accuracy").to_dicts()
        if not own or not others:
            continue
        first, last = others[0], others[-1]
        value, low, high = (None if own[0][c] is None else 100 * own[0][c] for c in ("accuracy", "ci_low", "ci_high"))
        sentences.append(
            f"{TASK_TITLES[task]}: {name(reference)} {estimate(value or 0.0, low, high, confidence)};"
            f" medium-to-low-resource languages from {number(100 * first['accuracy'])} % ({name(first['lang'])}) to"
            f" {number(100 * last['accuracy'])} % ({name(last['lang'])}); chance is"
            f" {number(100 * float(np.average(rows['chance'], weights=rows['n'])))} %."
        )
    return sentences


def correlation(frame: pl.DataFrame, confidence: float) -> list[str]:
    """Per task whether languages with a larger gap have the lower accuracy."""
    verdict = {
        1: "languages with a larger gap are the more accurate ones",
        -1: "languages with a larger gap are the less accurate ones",
        0: "no relation is shown",
    }
    return [
        f"{TASK_TITLES[row['task']]}: gap and accuracy correlate with r = "
        f"{estimate(row['r'], row['ci_low'], row['ci_high'], confidence, '')} over {row['n']} languages:"
        f" {verdict[sign(row['ci_low'], row['ci_high'])]}{_corrected(row, confidence)}."
        if row["r"] is not None
        else f"{TASK_TITLES[row['task']]}: no correlation can be computed (languages: {row['n']})."
        for row in frame.iter_rows(named=True)
    ]


def _corrected(row: Mapping[str, Any], confidence: float) -> str:
    """A reservation where the interval excludes zero but the test, corrected over tasks, does not tell."""
    told = sign(row["ci_low"], row["ci_high"]) != 0
    kept = row["p_adjusted"] is not None and row["p_adjusted"] < 1 - confidence
    return ", which does not outlast the correction over tasks" if told and not kept else ""


def alignment(frame: pl.DataFrame, runs: Mapping[str, Any], reference: str, confidence: float) -> list[str]:
    """Per run the gain of its languages at its target layer, what held-out features gain, and the retention."""
    sentences: list[str] = []
    for run, settings in runs.items():
        layer = settings["target_layer"]
        rows = frame.filter(
            pl.col("run") == run, pl.col("layer") == layer, pl.col("lang").is_in(settings["languages"])
        ).sort("gain_pct")
        measured = rows.drop_nulls("gain_pct").to_dicts()
        if not measured:
            sentences.append(f"{run}: no gain is defined at layer {layer}: nothing was active there before.")
            continue
        first, last = measured[0], measured[-1]

        def said(row: Mapping[str, Any]) -> str:
            return f"{name(row['lang'])} {estimate(row['gain_pct'], row['ci_low'], row['ci_high'], confidence)}"

        signs = [sign(row["ci_low"], row["ci_high"]) for row in measured]
        spread = f"gain of {said(last)}" if len(measured) == 1 else f"gains from {said(first)} to {said(last)}"
        counted = (
            ""
            if len(measured) == 1
            else f" ({signs.count(1)} of {len(measured)} languages rise, {signs.count(-1)} fall by their intervals)"
        )
        kept = (
            "not defined"
            if last["retention_pct"] is None
            else estimate(last["retention_pct"], last["retention_ci_low"], last["retention_ci_high"], confidence)
        )
        sentences.append(
            f"{run} (target layer {layer}): {spread}{counted}; {name(reference)} retains {kept}."
            + _held_out(measured, confidence)
        )
    return sentences


def _held_out(rows: Sequence[Mapping[str, Any]], confidence: float) -> str:
    """What the features held out of training gained, by their intervals."""
    held = sorted(
        (row for row in rows if row["gain_held_out_pct"] is not None), key=lambda row: row["gain_held_out_pct"]
    )
    if not held:
        return " No gain of held-out features is defined."

    def said(row: Mapping[str, Any]) -> str:
        value = estimate(row["gain_held_out_pct"], row["held_out_ci_low"], row["held_out_ci_high"], confidence)
        return f"{name(row['lang'])} {value}"

    signs = [sign(row["held_out_ci_low"], row["held_out_ci_high"]) for row in held]
    if len(held) == 1:
        verdict = {1: "alignment carries over", -1: "they fall", 0: "that it carries over is not shown"}[signs[0]]
        return f" Features held out of training: {said(held[0])}, so {verdict}."
    return (
        f" Features held out of training: from {said(held[0])} to {said(held[-1])}; {signs.count(1)} of {len(held)}"
        f" languages rise, {signs.count(-1)} fall by their intervals."
    )


def accuracy_change(frame: pl.DataFrame, confidence: float) -> list[str]:
    """Per benchmarked run how many comparisons rose or fell after correction, and the largest changes."""
    sentences: list[str] = []
    changed = frame.filter(pl.col("adapter") != "base")
    for run in changed["adapter"].unique(maintain_order=True):
        rows = changed.filter(pl.col("adapter") == run).sort("difference").to_dicts()
        told = [row for row in rows if row["p_adjusted"] is not None and row["p_adjusted"] < 1 - confidence]
        up, down = sum(row["difference"] > 0 for row in told), sum(row["difference"] < 0 for row in told)

        def said(row: Mapping[str, Any]) -> str:
            value, low, high = (
                None if row[c] is None else 100 * row[c]
                for c in ("difference", "difference_ci_low", "difference_ci_high")
            )
            changed_by = estimate(value or 0.0, low, high, confidence, "points")
            return f"{TASK_TITLES[row['task']]} in {name(row['lang'])} {changed_by}"

        sentences.append(
            f"{run}: of {len(rows)} accuracies compared with the base model's, {up} rose and {down} fell at a corrected"
            f" p below {1 - confidence:.2g}. The changes run from {said(rows[0])} to {said(rows[-1])}."
        )
    return sentences


def controls(frame: pl.DataFrame, reference: str) -> list[str]:
    """The mean gap beside the controls', and the extremes of the token ratio."""
    rows = frame.filter(pl.col("lang") != reference)
    mean = rows.select(pl.col("gap_pct", "gap_equal_tokens_pct", "gap_shuffled_pct", "gap_random_pct").mean()).row(
        0, named=True
    )
    ratio = rows.group_by("lang").agg(pl.col("token_ratio").mean()).sort("token_ratio")
    low, high = ratio.row(0, named=True), ratio.row(-1, named=True)
    return [
        f"Mean over languages and layers: gap {number(mean['gap_pct'])} %; where texts have as many tokens as in"
        f" {name(reference)}, {number(mean['gap_equal_tokens_pct'])} %; with the feature of another phrase"
        f" {number(mean['gap_shuffled_pct'])} % and with a random feature {number(mean['gap_random_pct'])} %, both in"
        " percent of the own-feature mean.",
        f"Tokens per phrase, as a multiple of {name(reference)}: from {number(low['token_ratio'], 2)}"
        f" ({name(low['lang'])}) to {number(high['token_ratio'], 2)} ({name(high['lang'])}).",
    ]


def teaching(frame: pl.DataFrame, reference: str, confidence: float) -> list[str]:
    """Whether the other languages know what only the reference was taught: compared with facts never taught."""
    base = frame.filter(pl.col("adapter") == "base", pl.col("lang") != reference)
    if "reference" not in set(base["taught"]):
        return []
    found = transfers(frame, reference, confidence)
    if not found:
        return [
            f"No fact was left untaught, so whether facts taught in {name(reference)} only are known in other languages"
            " cannot be judged: guessing need not be right as often as chance."
        ]
    verdict = {
        1: "transfer is shown",
        -1: "they are answered worse than untaught facts, so transfer is not shown",
        0: "the interval includes zero, so transfer is not shown",
    }
    return [
        f"{TASK_TITLES[its.task]}, the {its.languages} other languages pooled: facts taught in {name(reference)} only"
        f" are answered rightly in {number(100 * its.reference_only)} % of questions, untaught facts in"
        f" {number(100 * its.untaught)} %, a difference of"
        f" {estimate(100 * its.difference, 100 * its.low, 100 * its.high, confidence, 'points')}:"
        f" {verdict[sign(its.low, its.high)]}."
        for its in found
    ]


def dropped(tables: Mapping[str, pl.DataFrame]) -> list[str]:
    """What did not become a phrase or a translation, and what is known of the SAEs."""
    total = tables["phrase_counts"].sum().row(0, named=True)
    sentences = [
        f"{total['features_with_phrases']:,} of {total['features_sampled']:,} sampled features have phrases;"
        f" {total['windows']:,} windows were found, {total['duplicates_dropped']:,} duplicates dropped,"
        f" {total['n_phrases']:,} phrases kept."
    ]
    if "sae_quality" in tables:
        quality = tables["sae_quality"]
        worst = quality.sort("fvu").row(-1, named=True)
        sentences.append(
            f"{quality['dead_features'].sum():,} of {quality['features'].sum():,} SAE features are dead; the SAEs leave"
            f" at most {number(100 * worst['fvu'])} % of the variance unexplained (layer {worst['layer']})."
        )
    if "reproduction" in tables and tables["reproduction"].height:
        again = tables["reproduction"]
        worst = again.sort("median_correlation").row(0, named=True)
        records = int(again["records"].sum())
        same_peak = float((again["same_peak_pct"] * again["records"]).sum()) / records
        sentences.append(
            f"{records:,} exported records were measured again: {number(same_peak)} % have their peak at the recorded"
            f" token; the lowest median correlation of a layer is {worst['median_correlation']:.3f} (layer"
            f" {worst['layer']})."
        )
    if "translation_quality" in tables:
        quality = tables["translation_quality"]
        worst = quality.sort("kept_pct").row(0, named=True)
        every, kept = int(quality["n"].sum()), int(quality["ok"].sum())
        sentences.append(
            f"{every - kept:,} of {every:,} translations are not usable"
            + (f", most of them in {name(worst['lang'])} ({number(100 - worst['kept_pct'])} %)" if every > kept else "")
            + ". A phrase without one in a language is left out of every comparison with it."
        )
    return sentences


def planted(
    title: str, shares: Mapping[str, float], measured: Mapping[str, float], what: str, confidence: float
) -> str:
    """Whether `measured` (by language) goes with the planted shares, on a log scale."""
    codes = [code for code in measured if code in shares]
    if len({round(shares[code], 9) for code in codes}) == 1:
        values = [measured[code] for code in codes]
        low, high = min(codes, key=measured.__getitem__), max(codes, key=measured.__getitem__)
        return (
            f"{title}: all shares are equal; {what} runs from {number(measured[low])} % ({name(low)}) to"
            f" {number(measured[high])} % ({name(high)})."
        )
    logs = pl.Series([shares[code] for code in codes]).log()
    values = [measured[code] for code in codes]
    if len(codes) < 4 or max(values) == min(values):
        return f"{title}: too few languages, or too alike, to relate {what} to the planted shares."
    result = pearsonr(logs.to_numpy(), values)
    low, high = (float(bound) for bound in result.confidence_interval(confidence))
    trend = {1: "rises with", -1: "falls with", 0: "shows no trend with"}[sign(low, high)]
    strength = estimate(float(result.statistic), low, high, confidence, "")  # pyright: ignore[reportAttributeAccessIssue]
    return f"{title}: {what} {trend} the planted share (log scale), r = {strength} over {len(codes)} languages."


def equal_shares(title: str, frame: pl.DataFrame, reference: str) -> list[str]:
    """What the group gap of a model with equal shares says about the measure itself."""
    return [
        f"{title}. {_counted(frame, 'without_reference', reference)}. The shares are equal, so what remains of a gap"
        " comes from elsewhere: script, tokens or the choice of phrases.",
        f"{title}. {_counted(frame, 'with_reference', reference)}. {_selected(reference)}",
    ]


def contrast(first: str, second: str, gaps: tuple[pl.DataFrame, pl.DataFrame], reference: str) -> str:
    """In how many layers two models' gaps have intervals that do not overlap, in both variants."""
    parts: list[str] = []
    for variant in VARIANTS:
        a, b = (frame.filter(pl.col("variant") == variant).drop_nulls("ci_low") for frame in gaps)
        both = a.join(b, on="layer", suffix="_b")
        larger = int((both["ci_low"] > both["ci_high_b"]).sum())
        smaller = int((both["ci_high"] < both["ci_low_b"]).sum())
        parts.append(
            f"{_variant(variant, reference)[0]}, larger in {larger}, smaller in {smaller} and not told apart in"
            f" {both.height - larger - smaller} of {both.height} layers"
        )
    return (
        f"{first} and {second} differ in the shares, which tokenizer, language model and SAEs all follow. The group gap"
        f" of {first} is, {'; '.join(parts)} (told apart: intervals do not overlap)."
    )
