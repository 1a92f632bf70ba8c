"""The scorecard: every number is a table's, read here again by hand; verdicts follow the intervals."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import t

from isogloss.report import wanted
from isogloss.report.scorecard.row import FAILED, NONE, OPEN, PARTLY, PASSED, Measured, Row
from isogloss.report.scorecard.rows import ROWS, bottom_line, not_concluded, scorecard
from isogloss.report.shared.study import Study, read_study
from report_pages import many_languages
from synthetic import settings, write_results

CONFIG = settings()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("scored")
    write_results(folder, CONFIG, {"skewed": 20.0, "equal": 0.0})
    paths = [folder / path for path in wanted.summary_tables(CONFIG)]
    return read_study([str(path) for path in paths if path.is_file()], CONFIG)


def rows(study: Study) -> dict[str, Row]:
    return {row.name: row for row in scorecard(study)}


def changed(study: Study, model: str, **tables: pl.DataFrame | None) -> Study:
    """The study with other tables of a model, or without (None)."""
    frames = {**study.tables[model], **tables}
    kept = {name: frame for name, frame in frames.items() if frame is not None}
    return study._replace(tables={**study.tables, model: kept})


def alone(study: Study) -> Study:
    """The study with its first model only."""
    config = {**CONFIG, "models": {"skewed": {**CONFIG["models"]["skewed"], "control": None}}}
    return study._replace(settings=config, tables={"skewed": study.tables["skewed"]}, compared={})


def student(values: list[float]) -> tuple[float, float, float]:
    """Mean and 95 % Student's interval, written out."""
    mean, half = float(np.mean(values)), t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return mean, mean - half, mean + half


def same(one: Measured, value: float, low: float | None, high: float | None) -> None:
    for shown, expected in zip(one[1:4], (value, low, high), strict=True):
        assert shown == (None if expected is None else pytest.approx(expected))


def test_at_most_ten_rows_each_with_question_claim_answer_and_control(study):
    made = scorecard(study)
    assert 8 <= len(made) <= 10
    assert len({row.name for row in made}) == len(made)
    for row in made:
        assert row.question.endswith("?")
        assert row.claim
        assert row.says
        assert row.control.verdict in {PASSED, FAILED, PARTLY, NONE, OPEN}
        assert row.figure in set(wanted.figures_of(CONFIG, "skewed")) | set(wanted.between_figures(CONFIG))
    assert len(ROWS) == 11  # retrieval gives way to the planted truth, which judges it


def test_planted_row_counts_verdicts_and_has_the_headlines_slope(study):
    truth = study.compared["planted_truth"].filter(pl.col("layer").is_null()).to_dicts()
    judged = [row for row in truth if row["measure"] != "accuracy.accuracy"]
    following = [row for row in judged if row["verdict"] is None and (row["reason"] or "").startswith("follows")]
    row = rows(study)["planted"]
    assert row.says == f"{len(following)} of {len(judged)} follow the shares"
    assert row.control.verdict == OPEN
    assert row.here == []  # synthetic retrieval was not measured in the equal world

    def judged_by(**values: Any) -> Row:
        one = {
            "measure": "similarity.retrieval", "layer": None, "slope": 0.2, "ci_low": 0.1, "ci_high": 0.3,
            "null_slope": 0.01, "null_ci_low": -0.1, "null_ci_high": 0.1, "n_languages": 9, "n_seeds": 3,
            "verdict": "passes", "reason": None,
        }  # fmt: skip
        frame = pl.DataFrame([one | values], schema_overrides={"layer": pl.Int32})
        return rows(study._replace(compared={"planted_truth": frame}))["planted"]

    row = judged_by()
    assert row.says == "1 of 1 measures pass"
    same(row.here[0], 0.2, 0.1, 0.3)
    assert row.here[0].text == "0.200 (0.100 to 0.300; 9 languages, 3 seeds)"
    assert row.control.verdict == PASSED
    assert judged_by(null_ci_low=0.005).control.verdict == FAILED
    assert judged_by(null_slope=None, null_ci_low=None, null_ci_high=None).control.verdict == NONE


def test_gap_row_has_both_choices_and_the_equal_world(study):
    row = rows(study)["gap"]
    frames = {model: study.tables[model]["reciprocal_gap_summary"] for model in ("skewed", "equal")}
    for one, model, column in zip(
        row.here,
        ("skewed", "skewed", "equal"),
        ("gap_from_reference_pct", "symmetric_gap_pct", "gap_from_reference_pct"),
        strict=True,
    ):
        same(one, *student(frames[model][column].to_list()))
    assert row.here[0].n == "9 languages"
    assert "chosen in both languages: in 0 of 9" in row.says
    assert row.control.verdict == (FAILED if row.here[2].sign == 1 else PASSED)
    without = rows(alone(study))["gap"]
    assert len(without.here) == 2
    assert without.control == (FAILED, "gone when both languages choose")  # above zero in no language
    number = frames["skewed"].height
    for weaker, control in (
        (2, (PARTLY, f"stays in 2 of {number} when both languages choose")),
        (number, (PASSED, "stays in all when both languages choose")),
    ):
        low = pl.Series([0.5] * weaker + [-0.5] * (number - weaker))
        frame = frames["skewed"].with_columns(symmetric_gap_ci_low=low, symmetric_gap_ci_high=low + 2)
        row = rows(alone(changed(study, "skewed", reciprocal_gap_summary=frame)))["gap"]
        assert row.control == control
        assert f"chosen in both languages: in {weaker} of {number}" in row.says


def test_retrieval_row_is_of_the_best_layer_beside_chance(study):
    single = alone(study)
    row = rows(single)["retrieval"]
    others = study.tables["skewed"]["similarity"].filter(pl.col("lang") != "en")
    means = {layer: frame["retrieval"].mean() for (layer,), frame in others.group_by("layer")}
    best = max(means, key=lambda layer: (means[layer], layer))
    same(row.here[0], *student(others.filter(layer=best)["retrieval"].to_list()))
    assert row.here[0].label == f"Layer {best}"
    chance = others["retrieval_chance"][0]
    assert row.control == (PASSED if (row.here[0].low or 0) > chance else OPEN, f"chance is {chance:.3f}")
    none = study.tables["skewed"]["similarity"].with_columns(retrieval=pl.lit(None, pl.Float64))
    assert rows(changed(single, "skewed", similarity=none))["retrieval"].says == "Not defined"


def test_correlation_row_holds_both_worlds_against_each_other(study):
    frame = study.tables["skewed"]["gap_accuracy_correlation"].sort("r")
    null = frame.with_columns(r=pl.lit(-0.1), ci_low=pl.lit(-0.7), ci_high=pl.lit(0.6))
    row = rows(changed(study, "equal", gap_accuracy_correlation=null))["correlation"]
    for one, expected in zip(row.here[:2], (frame.row(0, named=True), frame.row(-1, named=True)), strict=True):
        same(one, expected["r"], expected["ci_low"], expected["ci_high"])
        assert one.n == f"{expected['n']} languages"
    same(row.here[2], -0.1, -0.7, 0.6)
    assert row.control == (PASSED, "equal shares do not")
    fails = changed(study, "equal", gap_accuracy_correlation=null.with_columns(ci_high=pl.lit(-0.01)))
    assert rows(fails)["correlation"].control == (FAILED, "equal shares show it")
    joined = study.tables["skewed"]["joined_correlations"].filter(instrument="gap_pct").row(0, named=True)
    single = rows(alone(study))["correlation"]
    assert single.control.text == f"given tokens and script r is {joined['partial_r']:.2f}".replace("-", "−")
    assert rows(changed(alone(study), "skewed", joined_correlations=None))["correlation"].control.verdict == NONE


@pytest.mark.parametrize(("shift", "verdict", "says"), [(0, PASSED, "Shown"), (-200, FAILED, "The reverse is shown")])
def test_alignment_row_leads_with_held_out_features(study, shift, verdict, says):
    held = pl.col("gain_held_out_pct", "held_out_ci_low", "held_out_ci_high") + shift
    frame = study.tables["skewed"]["alignment_gain"].with_columns(held)
    row = rows(changed(study, "skewed", alignment_gain=frame))["alignment"]
    run = frame.filter(pl.col("lang") != "en", run="all-l2", layer=2)
    trained, kept_out, keeps = row.here
    same(trained, *student(run["gain_pct"].to_list()))
    same(kept_out, *student(run["gain_held_out_pct"].to_list()))
    assert kept_out.n.startswith(f"{run['n_features_held_out'].max()} features")
    alone = {1: ("above", pl.col("held_out_ci_low") > 0), -1: ("below", pl.col("held_out_ci_high") < 0)}
    side, condition = alone.get(kept_out.sign, ("", pl.lit(True)))
    expected = f"; {side} 0 in {run.filter(condition).height} of {run.height}" if side else ""
    assert kept_out.n.endswith(f"features{expected}")
    first = run.row(0, named=True)
    ends = [first[f"retention_held_out_ci_{end}"] for end in ("low", "high")]
    same(keeps, first["retention_held_out_pct"], *ends)
    assert row.control.verdict == verdict
    assert row.says == says


def test_alignment_of_one_language_has_its_own_interval(study):
    config = {**CONFIG, "alignment": {**CONFIG["alignment"], "runs": {"ml-l0": CONFIG["alignment"]["runs"]["ml-l0"]}}}
    row = rows(study._replace(settings=config))["alignment"]
    frame = study.tables["skewed"]["alignment_gain"].filter(run="ml-l0", layer=0, lang="ml")
    expected = frame.row(0, named=True)
    same(row.here[1], *(expected[name] for name in ("gain_held_out_pct", "held_out_ci_low", "held_out_ci_high")))
    assert row.figure == "alignment_gain_layers"


def test_transfer_row_is_held_against_chance(study):
    expected = study.tables["skewed"]["transfer_summary"].row(0, named=True)
    row = rows(study)["transfer"]
    same(row.here[0], *(100 * expected[f"transfer_above_chance{end}"] for end in ("", "_low", "_high")))
    same(row.here[1], *(expected[f"consistency{end}"] for end in ("", "_low", "_high")))
    frame = study.tables["skewed"]["transfer_summary"]
    for low, high, verdict in ((0.1, 0.3, PASSED), (-0.1, 0.3, OPEN), (-0.3, -0.1, FAILED)):
        ends = {"transfer_above_chance_low": pl.lit(low), "transfer_above_chance_high": pl.lit(high)}
        made = rows(changed(study, "skewed", transfer_summary=frame.with_columns(**ends)))["transfer"]
        assert made.control.verdict == verdict


def test_log_ratio_row_takes_the_length_out(study):
    frame = study.tables["skewed"]["latent_correlation"]
    expected = frame.filter(target="accuracy").row(0, named=True)
    row = rows(study)["log_ratio"]
    same(row.here[0], expected["r"], expected["r_low"], expected["r_high"])
    negative = frame.with_columns(
        r=pl.lit(-0.8), r_low=pl.lit(-0.9), r_high=pl.lit(-0.5), partial_r=pl.lit(-0.7), partial_p=pl.lit(0.01)
    )

    def control(**values: Any) -> tuple[str, str]:
        made = negative.with_columns(**{name: pl.lit(value, pl.Float64) for name, value in values.items()})
        return rows(changed(study, "skewed", latent_correlation=made))["log_ratio"].control

    assert control() == (PASSED, "r given length is −0.70")
    assert control(partial_p=0.2)[0] == FAILED
    assert control(partial_r=0.7)[0] == FAILED
    assert control(r_high=0.1) == (OPEN, "nothing to control for")
    assert control(partial_r=None)[0] == NONE


def test_steering_row_is_judged_on_other_questions_and_against_random_directions(study):
    frame = study.tables["skewed"]["steering_judged"]
    first = frame["task"][0]
    means = {row["vector"]: row for row in frame.filter(pl.col("lang").is_null(), task=first).to_dicts()}
    row = rows(study)["steering"]
    same(row.here[0], *(100 * means["own"][f"change_judged{end}"] for end in ("", "_low", "_high")))
    random = means["directions"]
    same(row.here[1], *(100 * random[f"own_less{end}"] for end in ("", "_low", "_high")))
    text = f"{random['n_as_large']} of {random['n_directions']} random directions do as well"
    for low, p, control in (
        (0.01, 0.01, (PASSED, text)),
        (-0.01, 0.4, (FAILED, text)),
        (-0.01, 0.01, (OPEN, f"{text}, but the interval includes 0")),
        (0.01, 0.4, (OPEN, f"{text}, but the interval excludes 0")),
    ):
        of_directions = pl.col("vector") == "directions"
        other = frame.with_columns(
            own_less_low=pl.when(of_directions).then(low).otherwise("own_less_low"),
            own_less_high=pl.when(of_directions).then(0.02).otherwise("own_less_high"),
            p=pl.when(of_directions).then(p).otherwise("p"),
        )
        assert rows(changed(study, "skewed", steering_judged=other))["steering"].control == control
    none = rows(changed(study, "skewed", steering_judged=frame.filter(vector="own")))["steering"]
    assert none.control.verdict == NONE


def test_mixed_row_goes_from_the_first_to_the_last_step(study):
    frame = study.tables["skewed"]["selectivity"].filter(pl.col("class") == "mixed", layer=1).sort("step")
    row = rows(study)["mixed"]
    for one, expected in zip(row.here, (frame.row(0, named=True), frame.row(-1, named=True)), strict=True):
        same(one, *(100 * expected[name] for name in ("share", "share_low", "share_high")))
    shares = study.tables["skewed"]["sae_seeds"].filter(pl.col("seed_b").is_null())["mixed_share"].to_list()
    larger = abs(frame["share"][-1] - frame["share"][0]) > max(shares) - min(shares)
    assert row.control.verdict == (PASSED if larger else FAILED)
    assert row.control.text == f"SAE seeds: {100 * min(shares):.1f} to {100 * max(shares):.1f} %"
    assert rows(changed(study, "skewed", sae_seeds=None))["mixed"].control == (NONE, "one SAE seed")
    last = study.tables["skewed"]["selectivity"].filter(step=frame["step"].max())
    finished = rows(changed(study, "skewed", selectivity=last))["mixed"]
    assert finished.says == "Measured at the end only"
    assert len(finished.here) == 1


def test_injection_row_is_held_against_matched_features(study):
    frame = study.tables["skewed"]["intervention_summary"]
    every = frame.filter(pl.col("class") == "mixed", lang="all").drop_nulls("change")
    alpha, n = (sorted(set(every[name]))[len(set(every[name])) // 2] for name in ("alpha", "n_features"))
    expected = every.filter(alpha=alpha, n_features=n).row(0, named=True)
    row = rows(study)["injection"]
    same(row.here[0], expected["change"], expected["ci_low"], expected["ci_high"])
    if expected["beyond_matched"] is not None:
        same(row.here[1], *(expected[f"beyond_matched{end}"] for end in ("", "_low", "_high")))
    better = frame.with_columns(
        beyond_matched=pl.lit(-2.0), beyond_matched_low=pl.lit(-3.0), beyond_matched_high=pl.lit(-1.0)
    )
    assert rows(changed(study, "skewed", intervention_summary=better))["injection"].control.verdict == PASSED
    crossing = better.with_columns(beyond_matched_high=pl.lit(1.0))
    assert rows(changed(study, "skewed", intervention_summary=crossing))["injection"].control.verdict == FAILED


def test_ablation_row_has_every_method_and_counts_those_beyond_random(study):
    frame = study.tables["skewed"]["ablation_summary"]
    means = frame.filter(pl.col("ablated").is_null()).drop_nulls("difference").to_dicts()
    row = rows(study)["ablation"]
    for one, expected in zip(row.here, means, strict=True):
        same(one, expected["difference"], expected["ci_low"], expected["ci_high"])
        own = frame.filter(pl.col("ablated").is_not_null(), pl.col("ci_low") > 0, method=expected["method"])
        assert one.n == f"above 0: {own.height} of {expected['n_languages']}"
    cases = frame.filter(pl.col("ablated").is_not_null()).drop_nulls("difference")
    above, beyond = (cases.filter(pl.col(column) > 0).height for column in ("ci_low", "beyond_random_low"))
    assert row.says == f"Shown in {above} of {cases.height} (languages × choices)"
    assert row.control == (
        PASSED if beyond == cases.height else PARTLY,
        f"{beyond} of {cases.height} beat random features",
    )
    none = frame.with_columns(beyond_random_low=pl.lit(-1.0))
    assert rows(changed(study, "skewed", ablation_summary=none))["ablation"].control.verdict == FAILED


def test_a_study_of_nothing_has_no_rows_and_one_of_one_language_no_interval(study):
    assert scorecard(study._replace(tables={"skewed": {}, "equal": {}}, compared={})) == []
    one = study.tables["skewed"]["reciprocal_gap_summary"].filter(lang="hi")
    row = rows(alone(changed(study, "skewed", reciprocal_gap_summary=one)))["gap"]
    assert row.here[0].text.endswith("% (no interval; 1 language)")
    assert row.here[0].value == one["gap_from_reference_pct"][0]
    undefined = one.with_columns(pl.lit(None, pl.Float64).alias("gap_from_reference_pct"))
    row = rows(alone(changed(study, "skewed", reciprocal_gap_summary=undefined)))["gap"]
    assert row.here[0].text == "not defined (0 languages)"


def test_the_bottom_line_names_whose_controls_passed_and_failed(study):
    made = scorecard(study)
    assert all(row.short for row in made)
    by_verdict = {verdict: [row for row in made if row.control.verdict == verdict] for verdict in (PASSED, FAILED)}
    passed, failed = by_verdict[PASSED], by_verdict[FAILED]
    lines = dict(bottom_line(made))
    held = lines.pop(f"Control passed ({len(passed)} of {len(made)}):")
    says = ["" if row.says == "Shown" else f" ({row.says.lower().partition(' (')[0]})" for row in passed]
    assert held == "; ".join(f"{row.short}{more}" for row, more in zip(passed, says, strict=True)) + "."
    assert lines.pop(f"Control failed ({len(failed)}):") == ("; ".join(row.short for row in failed) + ".")
    assert lines == {"Undecided or no control:": f"{len(made) - len(passed) - len(failed)}."}
    assert bottom_line([]) == []
    assert [head for head, _ in bottom_line(failed)] == [f"Control failed ({len(failed)}):"]


def test_what_must_not_be_concluded_follows_worlds_seeds_and_languages(study):
    assert not_concluded(study) == "anything about published models or another training run."
    truth = study.compared["planted_truth"].with_columns(n_seeds=pl.lit(3))
    seeds = study._replace(compared={**study.compared, "planted_truth": truth})
    assert not_concluded(seeds) == "anything about published models."
    models = {model: {**one, "kind": "pretrained"} for model, one in study.settings["models"].items()}
    real = study._replace(settings={**study.settings, "models": models})
    assert "it is not known; anything about languages at large, from 10." in not_concluded(real)
    many = many_languages()
    many["models"]["skewed"]["kind"] = "pretrained"
    assert not_concluded(real._replace(settings=many)).endswith("it is not known.")
