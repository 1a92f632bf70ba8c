"""What the figures of steering show (paper B, sec. 4.3), each in one sentence."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from isogloss.report.entry import Takeaway
from isogloss.report.findings.sentences import sign, sign_in
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.steered import beyond_random, controlled, judged_by_language, shown_setting, strongest
from isogloss.report.shared.wording import name, signed
from isogloss.report.takeaways.brief import brief, brief_in, brief_mean, by_task, counted, of_how_many, ranged


def steering(tables: Tables, context: Context) -> Takeaway:
    """In how many settings own vectors change accuracy more than a random direction, and where most."""
    frame = tables["steering"]

    def of(_task: str, rows: pl.DataFrame) -> str:
        return _settings(beyond_random(rows, "accuracy_change", context.confidence), "settings of layer and γ", frame)

    text = by_task(frame, of, context) or "No own vector was run."
    return Takeaway(text, _of_steered(frame.filter(vector="own")))


def steering_layers(tables: Tables, context: Context) -> Takeaway:
    """The same at the multipliers that are shown: in how many layers."""
    frame = tables["steering"]
    shown = strongest(frame.filter(vector="own")["gamma"], context.settings["latent"]["steering"]["gamma_shown"])

    def of(_task: str, rows: pl.DataFrame) -> str:
        changes = beyond_random(rows, "accuracy_change", context.confidence).filter(pl.col("gamma").is_in(shown))
        return _settings(changes, "settings", frame)

    text = by_task(frame, of, context) or "No own vector was run."
    return Takeaway(text, _of_steered(frame.filter(vector="own")))


def _settings(changes: pl.DataFrame, what: str, frame: pl.DataFrame) -> str:
    """How many settings have an interval above and below zero, and the largest mean; intervals are not corrected."""
    if not changes.height:
        return "no change of accuracy is defined"
    signs = [sign(low, high) for low, high in changes.select("low", "high").iter_rows()]
    top = max(changes.to_dicts(), key=lambda row: row["mean"])
    beside = "than a random direction does" if controlled(frame) else "than no steering (no random control was run)"
    most = f"at most {brief_mean(top, 'points', factor=100)}"
    return (
        f"own vectors raise accuracy more {beside} in {signs.count(1)} of {changes.height} {what}, lower it in"
        f" {signs.count(-1)}; {most}"
    )


def steering_languages(tables: Tables, context: Context) -> Takeaway:
    """In which languages the own vector adds more than random directions, by an interval that is not corrected."""
    rows = judged_by_language(tables["steering_judged"])

    def of(_task: str, of_task: pl.DataFrame) -> str:
        ranked = of_task.sort("own_less", descending=True, maintain_order=True).to_dicts()
        signs = [sign_in(row, "own_less") for row in ranked]
        top = ranked[0]
        most = f"most in {name(top['lang'])}, {brief_in(top, 'own_less', 'points', factor=100)}"
        return (
            f"own vectors raise accuracy more than random directions in {signs.count(1)} of"
            f" {counted(len(ranked), 'language')}, less in {signs.count(-1)}; {most} (not corrected for"
            f" {counted(len(ranked), 'language')})"
        )

    if not rows.height:
        return Takeaway("No language's own vector was held against a random direction.")
    languages = counted(rows["lang"].n_unique(), "language")
    directions = ranged(rows["n_directions"], "random direction")
    return Takeaway(by_task(rows, of, context), of_how_many([languages, ranged(rows["n"], "question"), directions]))


def steering_reference(tables: Tables, context: Context) -> Takeaway:
    """In how many languages accuracy rises and falls at the setting shown, which no result chose."""
    frame = tables["steering"]
    gamma_shown = context.settings["latent"]["steering"]["gamma_shown"]

    def of(_task: str, rows: pl.DataFrame) -> str:
        own = rows.filter(vector="own")
        setting = shown_setting(own, gamma_shown)
        if setting is None:
            return "no own vector was run"
        changes = own.filter(layer=setting[0], gamma=setting[1]).drop_nulls("accuracy_change").to_dicts()
        if not changes:
            return "no change of accuracy is defined"
        signs = [sign_in(row, "accuracy_change") for row in changes]
        return (
            f"at layer {setting[0]}, γ = {signed(setting[1])}, accuracy rises by its interval in {signs.count(1)} of"
            f" {counted(len(changes), 'language')} and falls in {signs.count(-1)}"
        )

    return Takeaway(by_task(frame, of, context) or "No own vector was run.", _of_steered(frame.filter(vector="own")))


def steering_judged(tables: Tables, context: Context) -> Takeaway:
    """What own vectors change where nothing chose their setting, beside what the choice promised and random ones."""
    means = tables["steering_judged"].filter(pl.col("lang").is_null())

    def of(_task: str, rows: pl.DataFrame) -> str:
        by_vector = {row["vector"]: row for row in rows.iter_rows(named=True)}
        own = by_vector.get("own")
        if own is None or own["change_judged"] is None:
            reason = "no own vector was run" if own is None else own["reason"] or "no change is defined"
            return f"steering was not judged: {reason}"
        verdict = {1: "a gain", -1: "a loss", 0: "no gain is shown"}[sign_in(own, "change_judged")]
        judged = brief_in(own, "change_judged", "points", factor=100)
        promised = brief(100 * own["change_chosen"], None, None, "points")
        return (
            f"on questions that did not choose where, own vectors change accuracy by {judged}: {verdict}"
            f" ({promised} where chosen{_random(by_vector)})"
        )

    own = means.filter(vector="own")
    languages = ranged(own["n_languages"], "language")
    return Takeaway(
        by_task(means, of, context) or "Steering was not judged.",
        of_how_many([languages, ranged(own["n"], "question")]),
    )


def _random(by_vector: Mapping[str, Mapping[str, Any]]) -> str:
    many = by_vector.get("directions")
    if many is None or many["n_as_large"] is None:
        return ""
    return f"; {many['n_as_large']} of {many['n_directions']} random directions do as well"


def _of_steered(own: pl.DataFrame) -> str:
    layers, languages = own["layer"].n_unique(), own["lang"].n_unique()
    return of_how_many([counted(languages, "language"), counted(layers, "layer"), ranged(own["n"], "question")])
