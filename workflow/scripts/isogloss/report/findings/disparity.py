"""What paper A's tables say, in sentences: every number is read from a table, every direction from its interval."""

from collections.abc import Mapping
from math import factorial
from typing import Any

import numpy as np
import polars as pl

from isogloss.report.findings.sentences import estimate, estimate_in, probability, sign, sign_in, significant
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.teaching import transfers
from isogloss.report.shared.wording import name, number

VARIANTS = ("without_reference", "with_reference")


def group_gap(tables: Tables, context: Context) -> list[str]:
    """Gap of the earliest and the deepest layer; of both variants, in how many layers the interval excludes zero."""
    frame, variant, reference = tables["group_gap"], context.variant, context.reference
    defined = frame.filter(variant=variant).sort("layer").drop_nulls("gap_pct").to_dicts()
    if not defined:
        return ["No layer has a gap: the mean activation is zero everywhere."]
    others = f" other than {name(reference)}" if variant == "without_reference" else f", {name(reference)} among them"
    verdict = {
        1: f"medium-to-low-resource languages activate the features less than high-resource languages{others}",
        -1: f"medium-to-low-resource languages activate the features more than high-resource languages{others}",
        0: "the interval includes zero, so no difference between the groups is shown",
    }
    ends = [("first", defined[0]), ("last", defined[-1])] if len(defined) > 1 else [("only", defined[0])]
    sentences = [
        f"In the {which} layer ({row['layer']}) the gap between the groups, {variant_phrase(variant, reference)}, is "
        f"{estimate_in(row, 'gap_pct', interval='ci')}: {verdict[sign_in(row)]}."
        for which, row in ends
    ]
    without, with_reference = (f"{counted_signs(frame, which, reference)}." for which in VARIANTS)
    return [without, *sentences, f"{with_reference} {selection(reference)}", _of_these_languages(context)]


def _of_these_languages(context: Context) -> str:
    """What the intervals of the groups' gap do not say, and where that stands."""
    groups = [context.settings["languages"][group] for group in ("high_resource", "medium_low_resource")]
    high, low = (sum(lang != context.reference for lang in group) for group in groups)
    return (
        f"These intervals hold for these {high} high- and {low} medium-to-low-resource languages. What holds for such"
        " languages at large is the test over ways to split them."
    )


def variant_phrase(variant: str, reference: str) -> str:
    """How sentences put a variant of the group gap."""
    return f"with {name(reference)} {'left out' if variant == 'without_reference' else 'as high-resource'}"


def selection(reference: str) -> str:
    """Why the variant with the reference is too large."""
    return (
        f"This variant is inflated by selection: {name(reference)} phrases are those that fire the features most, their"
        " translations are not."
    )


def counted_signs(frame: pl.DataFrame, variant: str, reference: str) -> str:
    """In how many layers the interval of a variant lies on either side of zero."""
    signs = [sign_in(row) for row in frame.filter(variant=variant).iter_rows(named=True)]
    return (
        f"The gap between the groups, {variant_phrase(variant, reference)}, has its interval above zero in"
        f" {signs.count(1)}, below zero in {signs.count(-1)} and across zero in {signs.count(0)} of {len(signs)} layers"
    )


def language_gaps(tables: Tables, context: Context) -> list[str]:
    """The languages with the largest and the smallest mean gap."""
    frame = tables["language_gap_summary"].filter(pl.col("lang") != context.reference)
    rows = frame.drop_nulls("mean_gap_pct").sort("mean_gap_pct").to_dicts()
    if not rows:
        return ["No language has a gap."]
    gaps = [f"{name(row['lang'])}, {estimate_in(row, 'mean_gap_pct', interval='ci')}" for row in rows]
    smallest = f" Smallest: {gaps[0]}." if len(gaps) > 3 else ""
    return [f"Largest gaps to {name(context.reference)}, mean over layers: {'; '.join(gaps[:-4:-1])}.{smallest}"]


def controls(tables: Tables, context: Context) -> list[str]:
    """The mean gap beside the controls', and the extremes of the token ratio."""
    rows, reference = tables["activation_controls"].filter(pl.col("lang") != context.reference), name(context.reference)
    columns = ("gap_pct", "gap_equal_tokens_pct", "gap_shuffled_pct", "gap_random_pct")
    gap, equal_tokens, shuffled, random = (number(mean) for mean in rows.select(pl.col(columns).mean()).row(0))
    ratio = rows.group_by("lang", maintain_order=True).agg(pl.col("token_ratio").mean()).sort("token_ratio")
    low, high = ratio.row(0, named=True), ratio.row(-1, named=True)
    return [
        f"The gap, mean over languages and layers, is {gap} %. With the feature of another phrase it is {shuffled} %,"
        f" with a random feature {random} %, both in percent of the own feature's mean: the nearer to zero, the"
        f" more the gap belongs to the features that the texts are about. Where texts have as many"
        f" tokens as in {reference} it is {equal_tokens} %.",
        f"A phrase has from {number(low['token_ratio'], 2)} ({name(low['lang'])}) to {number(high['token_ratio'], 2)}"
        f" ({name(high['lang'])}) times as many tokens as in {reference}.",
    ]


def accuracy(tables: Tables, context: Context) -> list[str]:
    """Per task the reference's accuracy beside the range of the medium-to-low-resource languages, or of all others."""
    sentences: list[str] = []
    base = tables["accuracy"].filter(adapter="base")
    languages = context.settings["languages"]
    compared = languages["medium_low_resource"] or languages["others"]
    called = "medium-to-low-resource" if languages["medium_low_resource"] else "the other"
    for task in base["task"].unique(maintain_order=True):
        rows = base.filter(task=task)
        own = rows.filter(lang=context.reference).to_dicts()
        others = rows.filter(pl.col("lang").is_in(list(compared))).sort("accuracy").to_dicts()
        if not own or not others:
            continue
        first, last = others[0], others[-1]
        sentences.append(
            f"{context.task(task)}{_setting(task, own[0], context)}: {name(context.reference)}"
            f" {estimate_in(own[0], 'accuracy', interval='ci', factor=100)} right;"
            f" {called} languages from {number(100 * first['accuracy'])} % ({name(first['lang'])}) to"
            f" {number(100 * last['accuracy'])} % ({name(last['lang'])}); chance is"
            f" {number(100 * float(np.average(rows['chance'], weights=rows['n'])))} %."
        )
    return sentences


def _setting(task: str, row: Mapping[str, Any], context: Context) -> str:
    """How many examples the prompt has and of how many questions a row is: paper B asks the same tasks otherwise."""
    settings = context.settings["benchmarks"]["tasks"].get(task)
    shots = settings["shots"] if settings else 0
    examples = f", {shots or 'no'} example{'' if shots == 1 else 's'} in the prompt" if settings else ""
    return f"{examples}, {row['n']:,} questions a language"


def correlation(tables: Tables, context: Context) -> list[str]:
    """Per task whether languages with a larger gap have the lower accuracy."""
    verdict = {
        1: "languages with a larger gap are the more accurate ones",
        -1: "languages with a larger gap are the less accurate ones",
        0: "no relation is shown",
    }
    sentences: list[str] = []
    for row in tables["gap_accuracy_correlation"].iter_rows(named=True):
        task = context.task(row["task"])
        if row["r"] is None:
            sentences.append(f"{task}: no correlation can be computed (languages: {row['n']}).")
            continue
        side, r = sign_in(row), estimate_in(row, "r", "", interval="ci")
        doubtful = side and not significant(row, context.confidence)
        over = f"{row['family_size']} task{'s' if row['family_size'] > 1 else ''}"
        shown = f"{verdict[side]}{f', which does not outlast the correction over {over}' if doubtful else ''}"
        sentences.append(
            f"{task}: gap and accuracy correlate with r = {r} over {row['n']} languages{_orders(row)}: {shown}."
        )
    return sentences


def _orders(row: Mapping[str, Any]) -> str:
    """What ranks say, and orders of the languages."""
    if row["spearman"] is None:
        return ""
    tried = f"all {row['n_orders']:,}" if row["n_orders"] == factorial(row["n"]) else f"{row['n_orders'] - 1:,} random"
    return (
        f" ({probability(row['p_permutation'])} over {tried} orders of them; Spearman's ρ"
        f" {number(row['spearman'], 2)}, {probability(row['spearman_p'])})"
    )


def teaching(tables: Tables, context: Context) -> list[str]:
    """Whether the other languages know what only the reference was taught: compared with facts never taught."""
    frame, reference = tables["accuracy_by_teaching"], context.reference
    if not frame.filter(pl.col("lang") != reference, adapter="base", taught="reference").height:
        return []
    pooled = transfers(frame, reference, context.confidence)
    if not pooled:
        return [
            f"No fact was left untaught, so whether facts taught in {name(reference)} only are known in other languages"
            " cannot be judged: guessing need not be right as often as chance."
        ]
    verdict = {
        1: "transfer is shown",
        -1: "they are answered worse than facts never taught, so transfer is not shown",
        0: "the interval includes zero, so transfer is not shown",
    }
    return [
        f"{context.task(one.task)}, the {one.languages} other languages pooled: facts taught in {name(reference)} only"
        f" are answered rightly in {number(100 * one.reference_only)} % of questions, facts never taught in"
        f" {number(100 * one.untaught)} %, a difference of"
        f" {estimate(100 * one.difference, 100 * one.low, 100 * one.high, 'points')}:"
        f" {verdict[sign(one.low, one.high)]}."
        for one in pooled
    ]


def accuracy_change(tables: Tables, context: Context) -> list[str]:
    """Per benchmarked run how many comparisons rose or fell after correction, and the largest changes."""
    sentences: list[str] = []
    changed = tables["accuracy"].filter(pl.col("adapter") != "base")
    for run in changed["adapter"].unique(maintain_order=True):
        rows = changed.filter(adapter=run).sort("difference").to_dicts()
        shown = [row for row in rows if significant(row, context.confidence)]
        up, down = sum(row["difference"] > 0 for row in shown), sum(row["difference"] < 0 for row in shown)
        first, last = (
            f"{context.task(row['task'])} in {name(row['lang'])}"
            f" {estimate_in(row, 'difference', 'points', interval='difference_ci', factor=100)}"
            for row in (rows[0], rows[-1])
        )
        sentences.append(
            f"{run}: of {len(rows)} accuracies compared with the base model's, {up} rose and {down} fell at a p below"
            f" {1 - context.confidence:.2g}, corrected over {rows[0]['family_size']} tests. The changes run from"
            f" {first} to {last}."
        )
    return sentences


def phrases(tables: Tables, _: Context) -> list[str]:
    """How many phrases there are, and what did not become one."""
    total = tables["phrase_counts"].sum().row(0, named=True)
    return [
        f"{total['features_with_phrases']:,} of {total['features_sampled']:,} sampled features have phrases;"
        f" {total['windows']:,} windows were found, {total['duplicates_dropped']:,} duplicates dropped,"
        f" {total['n_phrases']:,} phrases kept."
    ]


def saes(tables: Tables, _: Context) -> list[str]:
    """How many features are dead, and what the worst SAE leaves unexplained."""
    quality = tables["sae_quality"]
    worst = quality.sort("fvu").row(-1, named=True)
    return [
        f"{quality['dead_features'].sum():,} of {quality['features'].sum():,} SAE features never fire; the SAEs leave"
        f" at most {number(100 * worst['fvu'])} % of the variance unexplained (layer {worst['layer']})."
    ]


def reproduction(tables: Tables, _: Context) -> list[str]:
    """How well exported activations were found again."""
    frame = tables["reproduction"]
    if not frame.height:
        return []
    worst = frame.sort("median_correlation").row(0, named=True)
    records = int(frame["records"].sum())
    same_peak = float((frame["same_peak_pct"] * frame["records"]).sum()) / records
    return [
        f"{records:,} exported records were measured again: {number(same_peak)} % have their peak at the recorded"
        f" token; the lowest median correlation of a layer is {worst['median_correlation']:.3f} (layer"
        f" {worst['layer']})."
    ]


def translations(tables: Tables, _: Context) -> list[str]:
    """How many translations are not usable, and in which language most."""
    quality = tables["translation_quality"]
    worst = quality.sort("kept_pct").row(0, named=True)
    every, kept = int(quality["n"].sum()), int(quality["ok"].sum())
    most = f", most of them in {name(worst['lang'])} ({number(100 - worst['kept_pct'])} %)" if every > kept else ""
    return [
        f"{every - kept:,} of {every:,} translations are not usable{most}. A phrase without one in a language is left"
        " out of every comparison with it."
    ]
