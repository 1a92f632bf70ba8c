"""The correlation of gap and accuracy against SciPy, without the reference."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import pearsonr, permutation_test, spearmanr

from isogloss.config.measures import Statistics
from isogloss.disparity.correlation import correlate_gap_with_accuracy
from isogloss.errors import IsoglossError
from isogloss.tables import read_table, write_table

LANGS = ["zh", "ru", "es", "id", "ca", "hi"]
GAPS = [12.0, 10.0, 5.0, 15.0, 7.0, 30.0]


def run(folder, accuracies, gaps=GAPS, langs=LANGS, accuracy_langs=None):
    summary, accuracy = folder / "language_gap_summary.parquet", folder / "accuracy.parquet"
    write_table(summary, pl.DataFrame({"lang": ["en", *langs], "mean_gap_pct": [0.0, *gaps]}))
    rows = [
        {"adapter": adapter, "task": task, "lang": lang, "accuracy": value + shift}
        for adapter, shift in (("base", 0.0), ("tuned", 0.3))
        for task, values in accuracies.items()
        for lang, value in zip(["en", *(accuracy_langs or langs)], [0.9, *values], strict=True)
    ]
    write_table(accuracy, pl.DataFrame(rows))
    outputs = {
        name: str(folder / "tables" / f"{name}.parquet") for name in ("gap_accuracy_correlation", "gap_accuracy")
    }
    correlate_gap_with_accuracy(
        language_gap_summary=str(summary), accuracy=str(accuracy), **outputs,
        reference="en", statistics=Statistics(confidence=0.9, correction="bh"), seed=0, metadata={},
    )  # fmt: skip
    return {name: read_table(path) for name, path in outputs.items()}


def test_agrees_with_scipy_and_fisher(tmp_path):
    falling = [0.45, 0.5, 0.6, 0.4, 0.58, 0.3]
    noise = [0.4, 0.41, 0.39, 0.4, 0.42, 0.41]
    tables = run(tmp_path, {"arc": falling, "mmlu": noise})
    table = tables["gap_accuracy_correlation"]
    assert table["task"].to_list() == ["arc", "mmlu"]
    assert table["n"].to_list() == [6, 6]
    for row, values in zip(table.iter_rows(named=True), (falling, noise), strict=True):
        assert row["r"] == pytest.approx(np.corrcoef(GAPS, values)[0, 1])
        assert row["p"] == pytest.approx(pearsonr(GAPS, values).pvalue)
        z, width = np.arctanh(row["r"]), 1.6448536 / np.sqrt(6 - 3)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((np.tanh(z - width), np.tanh(z + width)))
        theirs = spearmanr(GAPS, values)
        assert row["spearman"] == pytest.approx(theirs.statistic)
        for name, statistic in (("p_permutation", pearsonr), ("spearman_p", spearmanr)):
            exact = permutation_test(
                (values,), lambda order, of=statistic: abs(of(GAPS, order).statistic), permutation_type="pairings",
                alternative="greater", n_resamples=np.inf, vectorized=False,
            )  # fmt: skip
            assert row[name] == pytest.approx(exact.pvalue)
        assert (row["n_orders"], row["family_size"]) == (720, 2)
    assert table["r"][0] < -0.9
    assert table["p_adjusted"].to_list() == pytest.approx([2 * table["p"][0], table["p"][1]])
    points = tables["gap_accuracy"]
    assert points.columns == ["task", "lang", "mean_gap_pct", "accuracy"]
    assert points.filter(pl.col("task") == "arc").select("lang", "mean_gap_pct", "accuracy").rows() == list(
        zip(LANGS, GAPS, falling, strict=True)
    )


def test_few_languages(tmp_path):
    three = run(tmp_path, {"arc": [0.5, 0.4, 0.6]}, GAPS[:3], LANGS[:3])["gap_accuracy_correlation"].row(0, named=True)
    assert three["r"] is not None
    assert (three["ci_low"], three["ci_high"]) == (None, None)
    two = run(tmp_path, {"arc": [0.5, 0.4]}, GAPS[:2], LANGS[:2])["gap_accuracy_correlation"].row(0, named=True)
    assert (two["r"], two["p"], two["p_adjusted"], two["n"]) == (None, None, None, 2)
    assert (two["spearman"], two["spearman_p"], two["p_permutation"], two["n_orders"]) == (None, None, None, 0)
    assert (three["n_orders"], two["family_size"]) == (6, 0)


def test_equal_accuracies_have_no_correlation(tmp_path):
    row = run(tmp_path, {"arc": [0.25] * 6, "mmlu": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]})["gap_accuracy_correlation"]
    assert row["r"][0] is None
    assert row["p_adjusted"][1] == pytest.approx(row["p"][1])


def test_a_language_without_a_gap_is_refused_and_one_without_the_task_left_out(tmp_path, caplog):
    with pytest.raises(
        IsoglossError, match=r"task arc: mr in .*accuracy\.parquet only, not in .*summary\.parquet; bench"
    ):
        run(tmp_path, {"arc": [0.5] * 6}, accuracy_langs=[*LANGS[:5], "mr"])
    values = [0.5, 0.4, 0.45, 0.2, 0.1]
    caplog.clear()
    row = run(tmp_path, {"arc": values}, accuracy_langs=LANGS[:5])["gap_accuracy_correlation"].row(0, named=True)
    alone = run(tmp_path, {"arc": values}, GAPS[:5], LANGS[:5])["gap_accuracy_correlation"].row(0, named=True)
    assert row == alone
    assert f"task arc: not in {LANGS[5]}, whose gap is left out" in caplog.text
