"""The scorecard's rows on paper A and the planted truth."""

import polars as pl

from isogloss.joined.measures import MEASURES
from isogloss.joined.planted_truth import ONE_SEED
from isogloss.report.findings.sentences import sign, sign_in
from isogloss.report.scorecard.row import (
    FAILED,
    NONE,
    OPEN,
    PARTLY,
    PASSED,
    Control,
    Measured,
    Row,
    counted,
    mean_over_languages,
    measured,
    shown,
)
from isogloss.report.shared.study import Study
from isogloss.report.shared.wording import name, number

_BY_NAME = {measure.name: measure for measure in MEASURES}


def planted(study: Study) -> Row | None:
    """How many internal measures find the planted shares, and the one that leads the report."""
    if "planted_truth" not in study.compared:
        return None
    truth = study.compared["planted_truth"].filter(pl.col("layer").is_null())
    judged = [row for row in truth.iter_rows(named=True) if _BY_NAME[row["measure"]].judged]
    passing = sum(row["verdict"] == "passes" for row in judged)
    following = sum(row["reason"] == ONE_SEED for row in judged)
    one_seed = all(row["n_seeds"] == 1 for row in judged)
    says = f"{passing} of {len(judged)} measures pass"
    if one_seed:
        says = f"{following} of {len(judged)} follow the shares"
    here, control = [], Control(NONE)
    headline = truth.filter(measure=study.settings["report"]["headline"])
    for row in headline.iter_rows(named=True):
        title = _BY_NAME[row["measure"]].title
        n = f"{counted(row['n_languages'], 'language')}, {counted(row['n_seeds'], 'seed')}"
        here = [measured(row, "slope", f"{title}, slope", interval="ci", n=n, digits=3)]
        control = _of_equal_worlds(row["null_slope"], sign(row["null_ci_low"], row["null_ci_high"]))
    if one_seed:
        control = Control(OPEN, "one seed")
    return Row(
        "planted",
        "Which measures find planted shares of training text?",
        "–",
        says,
        here,
        control,
        "planted_truth",
        "planted shares found",
    )


def _of_equal_worlds(slope: float | None, found: int) -> Control:
    if slope is None:
        return Control(NONE)
    if found:
        return Control(FAILED, f"slope {number(slope, 3)} where nothing was planted")
    return Control(PASSED, "finds nothing where nothing was planted")


def gap(study: Study) -> Row | None:
    """The papers' gap beside the symmetric one, in the first model and in its control."""
    models = study.having("reciprocal_gap_summary")
    if not models:
        return None
    model = models[0]
    context = study.context(model)
    control = study.control(model)
    column, label = "gap_from_reference_pct", f"Chosen in {name(context.reference)}"
    papers = _gap(study, model, column, label)
    symmetric = _gap(study, model, "symmetric_gap_pct", "Chosen in both")._replace(n="")
    rows = _rows(study, model).drop_nulls("symmetric_gap_pct")
    weaker = sum(sign_in(row, "symmetric_gap_ci") == 1 for row in rows.iter_rows(named=True))
    here = [papers, symmetric]
    if control in models:
        null = _gap(study, control, column, f"Equal shares, c{label[1:]}")._replace(n="")
        here.append(null)
        verdict = Control(FAILED, "equal shares show it") if null.sign == 1 else Control(PASSED, "equal shares do not")
    else:
        verdict = _chosen_in_both(weaker, rows.height)
    return Row(
        "gap",
        f"Do features (directions that a sparse autoencoder finds) fire more weakly outside {name(context.reference)}?",
        "A: yes, by up to 26\u00a0%",
        f"Paper's choice: {shown(papers.sign).lower()}; chosen in both languages: in {weaker} of {rows.height}",
        here,
        verdict,
        "reciprocal_gap",
        f"weaker features outside {name(context.reference)}",
    )


def _chosen_in_both(weaker: int, languages: int) -> Control:
    """Whether the gap stays where both languages choose features and texts."""
    if not weaker:
        return Control(FAILED, "gone when both languages choose")
    kept = "all" if weaker == languages else f"{weaker} of {languages}"
    return Control(PASSED if weaker == languages else PARTLY, f"stays in {kept} when both languages choose")


def _rows(study: Study, model: str) -> pl.DataFrame:
    return study.tables[model]["reciprocal_gap_summary"].filter(pl.col("lang").is_in(study.context().languages))


def _gap(study: Study, model: str, column: str, label: str) -> Measured:
    confidence = study.settings["statistics"]["confidence"]
    return mean_over_languages(_rows(study, model), column, label, confidence, unit="%")


def retrieval(study: Study) -> Row | None:
    """Retrieval of translations in the layer where it is best, where no planted truth judges it."""
    models = study.having("similarity")
    if not models or "planted_truth" in study.compared:
        return None
    context = study.context(models[0])
    rows = study.tables[models[0]]["similarity"].filter(pl.col("lang") != context.reference).drop_nulls("retrieval")
    here, says, control = [], "Not defined", Control(NONE)
    if rows.height:
        means = rows.group_by("layer").agg(pl.col("retrieval").mean()).sort("retrieval", "layer")
        best = rows.filter(layer=means["layer"][-1])
        one = mean_over_languages(best, "retrieval", f"Layer {best['layer'][0]}", context.confidence, digits=2)
        chance = float(best["retrieval_chance"][0])
        found = sign(None if one.low is None else one.low - chance, None if one.high is None else one.high - chance)
        here = [one]
        says = shown(found)
        beside = f"chance is {number(chance, 3)}"
        control = Control({1: PASSED, -1: FAILED}.get(found, OPEN), beside)
    return Row(
        "retrieval",
        f"Is a text in {name(context.reference)} found by its translation (reciprocal rank; 1 is always first)?",
        "A: similar, less so in rarer languages",
        says,
        here,
        control,
        "retrieval",
        "retrieval of translations",
    )


def correlation(study: Study) -> Row | None:
    """Gap against accuracy over languages, in the first model and in its control."""
    models = study.having("gap_accuracy_correlation")
    if not models:
        return None
    model, control = models[0], study.control(models[0])
    ours = _correlations(study, model, "")
    here = list(ours)
    if control in models:
        nulls = _correlations(study, control, "Equal shares, ")
        here += nulls
        fails = any(one.sign == -1 for one in nulls)
        text = "equal shares show it" if fails else "equal shares do not"
        verdict = Control(FAILED if fails else PASSED, text)
    else:
        verdict = _given_tokens(study, model)
    below = sum(one.sign == -1 for one in ours)
    return Row(
        "correlation",
        "Are languages with a larger gap answered worse (r, from −1 to 1, is below 0)?",
        "A: yes",
        f"Shown in {below} of {counted(len(ours), 'task')}",
        here,
        verdict,
        "gap_accuracy_correlation",
        "larger gap, worse answers",
    )


def _correlations(study: Study, model: str, prefix: str) -> list[Measured]:
    """r by task; of many tasks the lowest and the highest."""
    context = study.context(model)
    frame = study.tables[model]["gap_accuracy_correlation"].sort("r", nulls_last=True)
    rows = [frame.row(0, named=True), frame.row(-1, named=True)][: frame.height]
    made = [measured(row, "r", f"{prefix}{context.panel(row['task'])}", "ci", digits=2) for row in rows]
    return [
        one if prefix else one._replace(n=counted(row["n"], "language")) for one, row in zip(made, rows, strict=True)
    ]


def _given_tokens(study: Study, model: str) -> Control:
    """What is left of it where the number of tokens and the script are taken out."""
    frame = study.tables[model].get("joined_correlations")
    rows = [] if frame is None else frame.filter(instrument="gap_pct").drop_nulls("partial_r").to_dicts()
    if not rows:
        return Control(NONE, "too few languages")
    passes = rows[0]["partial_r"] < 0 and rows[0]["partial_p_adjusted"] < 1 - study.settings["statistics"]["confidence"]
    text = f"given tokens and script r is {number(rows[0]['partial_r'], 2)}"
    return Control(PASSED if passes else FAILED, text)


def alignment(study: Study) -> Row | None:
    """What features held out of training gain in the run with most languages, and what the reference keeps."""
    models = study.having("alignment_gain")
    if not models:
        return None
    context = study.context(models[0])
    run = max(context.runs, key=lambda one: len(context.runs[one]["languages"]))
    frame = study.tables[models[0]]["alignment_gain"].filter(run=run, layer=context.runs[run]["target_layer"])
    rows = frame.filter(pl.col("lang").is_in(context.runs[run]["languages"]))
    n_held = counted(int(rows["n_features_held_out"].max() or 0), "feature")  # type: ignore[arg-type]
    if rows.height == 1:
        row = rows.row(0, named=True)
        held = measured(row, "gain_held_out_pct", "Held out", "held_out_ci", unit="%", n=n_held)
        trained = measured(row, "gain_pct", "All features", "ci", unit="%")
    else:
        held, trained = (
            mean_over_languages(rows, column, label, context.confidence, unit="%")
            for column, label in (("gain_held_out_pct", "Held out"), ("gain_pct", "All features"))
        )
        below = sum(sign_in(row, "held_out_ci") == held.sign for row in rows.iter_rows(named=True)) if held.sign else 0
        side = {1: "above", -1: "below"}.get(held.sign)
        alone = f"; {side} 0 in {below} of {rows.height}" if side else ""
        held = held._replace(n=f"{n_held}{alone}")
    here = [trained, held]
    if rows.height:
        label = f"{name(context.reference)} keeps"
        kept = measured(rows.row(0, named=True), "retention_held_out_pct", label, "retention_held_out_ci", unit="%")
        here.append(kept)
    verdict = {1: Control(PASSED, "held-out features gain"), -1: Control(FAILED, "held-out features lose")}
    return Row(
        "alignment",
        "Does training on translations (alignment) strengthen untrained features?",
        "A: up to 88\u00a0%; English keeps 91\u00a0%",
        shown(held.sign),
        here,
        verdict.get(held.sign, Control(FAILED, "no held-out gain shown")),
        "alignment_gain" if rows.height > 1 else "alignment_gain_layers",
        "gain by alignment",
    )
