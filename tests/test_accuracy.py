"""Accuracy tables by hand: shares, errors, paired tests and what a mistake says."""

import polars as pl
import pytest
from scipy.stats import binomtest

from isogloss.benchmarks.accuracy import measure_accuracy, measure_by_teaching
from isogloss.config.measures import Statistics
from isogloss.errors import IsoglossError
from isogloss.tables import read_table, write_table


def answers(right, task="arc", normalised=None, choices=4):
    """A benchmark table: whether each question was answered rightly."""
    n = len(right)
    normalised = right if normalised is None else normalised
    return pl.DataFrame(
        {
            "task": [task] * n,
            "question": [f"currency/{i}" for i in range(n)],
            "log_likelihoods": [[-1.0] * choices] * n,
            "acc": [bool(x) for x in right],
            "acc_norm": [bool(x) for x in normalised],
        }
    )


def run(folder, frames, metrics=None, facts=None, correction="holm"):
    paths = []
    for (adapter, lang), frame in frames.items():
        path = folder / adapter / f"{lang}.parquet"
        write_table(path, frame)
        paths.append(str(path))
    outputs = {name: str(folder / "tables" / f"{name}.parquet") for name in ("accuracy", "accuracy_by_teaching")}
    if facts is not None:
        write_table(folder / "facts.parquet", facts)
    about = {
        "answers": paths, "adapters": [a for a, _ in frames], "langs": [lang for _, lang in frames],
        "metrics": metrics or {"arc": "acc"}, "metadata": {},
    }  # fmt: skip
    known = None if facts is None else str(folder / "facts.parquet")
    statistics = Statistics(confidence=0.95, correction=correction)
    measure_accuracy(**about, statistics=statistics, facts=known, accuracy=outputs["accuracy"])
    if known:
        table = outputs["accuracy_by_teaching"]
        tasks = ["arc", "hellaswag", "mmlu"]
        measure_by_teaching(**about, about_facts=tasks, confidence=0.95, facts=known, accuracy_by_teaching=table)
    return {name: read_table(path) for name, path in outputs.items() if name == "accuracy" or facts is not None}


def test_base_row_by_hand(tmp_path):
    row = run(tmp_path, {("base", "en"): answers([1] * 30 + [0] * 10)})["accuracy"].row(0, named=True)
    assert (row["accuracy"], row["n"], row["metric"]) == (0.75, 40, "acc")
    assert row["stderr"] == pytest.approx((0.75 * 0.25 / 39) ** 0.5)
    wilson = binomtest(30, 40).proportion_ci(0.95, method="wilson")
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((wilson.low, wilson.high))
    assert row["difference"] is None
    assert row["p_adjusted"] is None


def test_change_is_paired_by_question(tmp_path):
    base = answers([1] * 20 + [1] * 2 + [0] * 9 + [0] * 29)
    tuned = answers([1] * 20 + [0] * 2 + [1] * 9 + [0] * 29).sample(fraction=1, shuffle=True, seed=1)
    frames = {("tuned", "en"): base, ("tuned", "hi"): tuned, ("base", "hi"): base, ("base", "en"): base}
    table = run(tmp_path, frames)["accuracy"]
    assert table.select("adapter", "lang").rows() == [("base", "en"), ("base", "hi"), ("tuned", "en"), ("tuned", "hi")]
    hindi = table.row(3, named=True)
    assert hindi["difference"] == pytest.approx(7 / 60)
    # McNemar: 2 of 11 against a fair coin, 2 (1 + 11 + 55) / 2^11.
    assert hindi["p"] == pytest.approx(134 / 2048)
    assert hindi["p_adjusted"] == pytest.approx(2 * 134 / 2048)
    assert hindi["difference_ci_low"] < 7 / 60 < hindi["difference_ci_high"]
    english = table.row(2, named=True)
    assert (english["difference"], english["p"], english["p_adjusted"]) == (0, 1, 1)


def test_planted_change_is_found(tmp_path):
    frames = {("base", "hi"): answers([1] * 30 + [0] * 70), ("tuned", "hi"): answers([1] * 60 + [0] * 40)}
    row = run(tmp_path, frames)["accuracy"].row(1, named=True)
    assert row["difference_ci_low"] > 0.15
    assert row["p_adjusted"] < 1e-6


def test_metric_of_the_task(tmp_path):
    both = pl.concat([answers([1, 0, 0, 0]), answers([1, 1, 0, 0], "mmlu", normalised=[1, 1, 1, 0])])
    table = run(tmp_path, {("base", "en"): both}, metrics={"mmlu": "acc_norm", "arc": "acc"})["accuracy"]
    assert table.select("task", "metric", "accuracy").rows() == [("mmlu", "acc_norm", 0.75), ("arc", "acc", 0.25)]


def test_by_teaching(tmp_path):
    taught = ["all"] * 6 + ["none"] * 2 + ["reference"] * 4
    facts = pl.DataFrame({"fact": [f"currency/{i}" for i in range(12)], "taught": taught})
    frames = {("base", "en"): answers([1] * 10), ("base", "hi"): answers([1] * 6 + [0] * 4)}
    table = run(tmp_path, frames, facts=facts)["accuracy_by_teaching"]
    assert table.select("lang", "taught", "accuracy", "n").rows() == [
        ("en", "all", 1.0, 6),
        ("en", "reference", 1.0, 2),
        ("en", "none", 1.0, 2),
        ("hi", "all", 1.0, 6),
        ("hi", "reference", 0.0, 2),
        ("hi", "none", 0.0, 2),
    ]
    columns = ["adapter", "task", "lang", "taught", "metric", "accuracy", "ci_low", "ci_high", "n", "chance"]
    assert table.columns == columns
    assert set(table["chance"]) == {0.25}
    with pytest.raises(IsoglossError, match="currency/9 is about no fact"):
        run(tmp_path, frames, facts=facts[:9])


def test_a_class_without_questions_has_no_row(tmp_path):
    facts = pl.DataFrame({"fact": ["currency/0", "currency/1"], "taught": ["none", "none"]})
    table = run(tmp_path, {("base", "en"): answers([1, 0])}, facts=facts)["accuracy_by_teaching"]
    assert table.select("taught", "accuracy").rows() == [("none", 0.5)]


def test_chance_is_the_mean_over_questions(tmp_path):
    three = answers([1, 0], choices=3).with_columns(question=pl.Series(["currency/8", "currency/9"]))
    frames = {("base", "en"): pl.concat([answers([1] * 4), three, answers([1], "mmlu", choices=2)])}
    table = run(tmp_path, frames, metrics={"arc": "acc", "mmlu": "acc"})["accuracy"]
    assert table["chance"].to_list() == pytest.approx([(4 / 4 + 2 / 3) / 6, 1 / 2])


def test_one_question_has_no_standard_error(tmp_path):
    row = run(tmp_path, {("base", "en"): answers([1])})["accuracy"].row(0, named=True)
    assert row["stderr"] is None


def test_mistakes_are_named(tmp_path):
    with pytest.raises(IsoglossError, match=r"1 question.s. were asked of only one of adapter and base, currency/3"):
        run(tmp_path, {("base", "en"): answers([1] * 4), ("tuned", "en"): answers([1] * 3)})
    with pytest.raises(IsoglossError, match="adapter tuned, task arc, hi: the base was not asked"):
        run(tmp_path, {("base", "en"): answers([1] * 4), ("tuned", "hi"): answers([1] * 4)})
    with pytest.raises(IsoglossError, match="asks question currency/0 twice"):
        run(tmp_path, {("base", "en"): pl.concat([answers([1]), answers([1])])})
    with pytest.raises(IsoglossError, match="task mmlu has no metric"):
        run(tmp_path, {("base", "en"): answers([1], task="mmlu")})


def test_questions_about_untaught_facts_are_a_control_only(tmp_path):
    facts = pl.DataFrame({"fact": [f"currency/{i}" for i in range(4)], "taught": ["all", "none", "reference", "none"]})
    tables = run(tmp_path, {("base", "en"): answers([1, 0, 1, 0])}, facts=facts)
    assert tables["accuracy"].select("accuracy", "n").row(0) == (1.0, 2)
    by_teaching = tables["accuracy_by_teaching"]
    assert by_teaching.filter(pl.col("taught") == "none").select("accuracy", "n").row(0) == (0.0, 2)
