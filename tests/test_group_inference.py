"""Groups of languages compared: a planted difference is shown, an absent one is not, and what has no test says why."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import permutation_test

from isogloss.config.measures import Languages, Statistics
from isogloss.disparity.group_inference import infer_over_languages
from isogloss.errors import IsoglossError
from isogloss.report.findings.inference import group_inference
from isogloss.report.shared.context import Context
from isogloss.tables import read_table, write_table
from synthetic import settings

HIGH, LOW = ["zh", "ru", "es", "it"], ["id", "ca", "mr", "ml", "hi"]
CONTEXT = Context("skewed", settings())


def gaps(low=20.0, layers=(0, 1, 2), high=HIGH, others=LOW, spread=3.0, seed=0):
    """Gaps by layer and language, `low` points larger in the second group."""
    rng = np.random.default_rng(seed)
    own = {lang: float(rng.normal(0, spread)) for lang in [*high, *others]}
    return pl.DataFrame(
        [
            {"layer": layer, "lang": lang, "gap_pct": gap}
            for layer in layers
            for lang, gap in [
                ("en", 0.0),
                *((lang, 30 + own[lang] + (low if lang in others else 0) + layer) for lang in [*high, *others]),
            ]
        ],
        schema_overrides={"gap_pct": pl.Float64},
    )


def run(folder, frame, similarity=None, high=HIGH, low=LOW, seed=0):
    paths = [str(folder / "language_gap.parquet")]
    write_table(paths[0], frame)
    if similarity is not None:
        paths.append(str(folder / "similarity.parquet"))
        write_table(paths[1], similarity)
    languages = Languages.model_construct(reference="en", high_resource=["en", *high], medium_low_resource=low)
    infer_over_languages(
        tables=paths, group_inference=str(folder / "group_inference.parquet"), languages=languages,
        statistics=Statistics(bootstrap=500), seed=seed, metadata={},
    )  # fmt: skip
    return read_table(folder / "group_inference.parquet")


def test_a_planted_difference_has_the_smallest_p_there_can_be(tmp_path):
    frame = gaps()
    table = run(tmp_path, frame)
    assert table.select("measure", "layer").rows() == [("gap_pct", layer) for layer in (None, 0, 1, 2)]
    means = frame.group_by("lang").agg(pl.col("gap_pct").mean())
    high, low = (means.filter(pl.col("lang").is_in(group))["gap_pct"].to_numpy() for group in (HIGH, LOW))
    whole = table.row(0, named=True)
    assert whole["difference"] == pytest.approx(low.mean() - high.mean())
    assert (whole["mean_high_resource"], whole["mean_medium_low_resource"]) == (
        pytest.approx(high.mean()), pytest.approx(low.mean())
    )  # fmt: skip
    assert whole["p"] == whole["smallest_p"] == whole["p_adjusted"] == pytest.approx(1 / 126)
    assert 10 < whole["ci_low"] < whole["difference"] < whole["ci_high"] < 30
    assert (whole["n_splits"], whole["exact"], whole["n_layers"], whole["family_size"]) == (126, True, 3, 1)
    assert (whole["n_high_resource"], whole["n_medium_low_resource"], whole["reason"]) == (4, 5, None)
    assert table["family_size"].to_list()[1:] == [3, 3, 3]
    assert (table["p_adjusted"] >= table["p"]).all()
    (sentence,) = group_inference({"group_inference": table}, CONTEXT)
    assert sentence.startswith(
        "Gap to the reference, mean over layers: medium-to-low-resource languages less the high-resource ones "
    )
    assert "p = 0.008 over the 126 ways to split these languages into 4 and 5: it is higher" in sentence
    assert "it is higher in such medium-to-low-resource languages." in sentence
    assert "Layer by layer (3 tests, corrected together) they differ in 3." in sentence


def test_p_is_scipys_and_an_absent_difference_is_not_shown(tmp_path):
    frame = gaps(low=1.0, spread=8.0, seed=3)
    table = run(tmp_path, frame)
    for row in table.iter_rows(named=True):
        of_layer = frame if row["layer"] is None else frame.filter(layer=row["layer"])
        means = dict(of_layer.group_by("lang").agg(pl.col("gap_pct").mean()).iter_rows())
        theirs = permutation_test(
            ([means[lang] for lang in HIGH], [means[lang] for lang in LOW]),
            lambda a, b: abs(np.mean(b) - np.mean(a)), alternative="greater", n_resamples=np.inf, vectorized=False,
        )  # fmt: skip
        assert row["p"] == pytest.approx(theirs.pvalue)
        assert row["ci_low"] < 0 < row["ci_high"]
    assert "no difference between such groups of languages is shown" in group_inference(
        {"group_inference": table}, CONTEXT
    )[0]  # fmt: skip


def test_the_interval_draws_languages_within_their_groups(tmp_path):
    """Its width is that of the closed form for means of so many languages drawn with replacement."""
    frame = gaps(layers=(0,), spread=10.0)
    row = run(tmp_path, frame).row(0, named=True)
    values = dict(frame.select("lang", "gap_pct").iter_rows())
    variance = sum(np.var([values[lang] for lang in group]) / len(group) for group in (HIGH, LOW))
    assert row["ci_high"] - row["ci_low"] == pytest.approx(2 * 1.96 * variance**0.5, rel=0.12)
    assert run(tmp_path / "again", frame).rows() == run(tmp_path / "twice", frame).rows()


def test_measures_are_told_apart_and_their_means_corrected_together(tmp_path):
    similarity = gaps(low=-0.5, spread=0.01).rename({"gap_pct": "retrieval"}).with_columns(centred=pl.lit(0.25))
    table = run(tmp_path, gaps(), similarity)
    whole = table.filter(pl.col("layer").is_null())
    assert whole["measure"].to_list() == ["gap_pct", "retrieval", "centred"]
    assert whole["p_adjusted"].to_list() == [pytest.approx(2 / 126), pytest.approx(2 / 126), None]
    assert whole["family_size"].to_list() == [2, 2, 2]
    assert whole["reason"].to_list() == [None, None, "all languages are equal"]
    assert whole["difference"].to_list()[2] == pytest.approx(0)
    sentences = group_inference({"group_inference": table}, CONTEXT)
    assert "it is lower in such medium-to-low-resource languages" in sentences[1]
    assert sentences[2] == (
        "Centred cosine: whether the groups differ cannot be tested over languages: all languages are equal."
    )


@pytest.mark.parametrize(
    ("high", "low", "reason"),
    [
        (["zh"], LOW, "a group needs two languages beside the reference: high_resource 1"),
        ([], ["hi"], "a group needs two languages beside the reference: high_resource 0, medium_low_resource 1"),
    ],
)
def test_groups_of_one_language_have_no_test(tmp_path, high, low, reason):
    table = run(tmp_path, gaps(high=high, others=low), high=high, low=low)
    assert set(table["reason"]) == {reason}
    nothing = table.select("ci_low", "ci_high", "p", "p_adjusted", "n_splits", "smallest_p")
    assert nothing.null_count().row(0) == (4,) * 6
    assert table["difference"].null_count() == (0 if high else 4)
    assert group_inference({"group_inference": table}, CONTEXT)[0].endswith(f"over languages: {reason}.")


def test_a_single_layer_is_no_family(tmp_path):
    table = run(tmp_path, gaps(layers=(4,)))
    assert table["p"].to_list() == [pytest.approx(1 / 126)] * 2
    assert table["p_adjusted"].to_list() == [pytest.approx(1 / 126), None]
    assert table["reason"].to_list() == [None, "one layer: no family to correct over"]
    assert table["family_size"].to_list() == [1, 1]


def test_a_layer_that_is_not_defined_everywhere_is_left_out_and_says_where(tmp_path):
    frame = gaps()
    holes = frame.with_columns(gap_pct=pl.when((pl.col("layer") != 1) | (pl.col("lang") != "ml")).then("gap_pct"))
    table = run(tmp_path, holes)
    assert table["reason"].to_list() == [None, None, "not defined in ml", None]
    assert table["n_layers"][0] == 2
    assert table["family_size"].to_list()[1:] == [2, 2, 2]
    rest = run(tmp_path / "rest", frame.filter(pl.col("layer") != 1))
    assert table.filter(pl.col("layer").is_null() | (pl.col("layer") != 1)).rows() == rest.rows()
    none = run(tmp_path / "none", frame.with_columns(gap_pct=pl.lit(None, dtype=pl.Float64)))
    assert none["reason"][0] == "not defined in every language in any layer"
    assert none["p"].null_count() == 4


def test_few_languages_say_what_they_cannot_show(tmp_path):
    table = run(tmp_path, gaps(high=HIGH[:2], others=LOW[:2]), high=HIGH[:2], low=LOW[:2])
    assert table["smallest_p"][0] == pytest.approx(1 / 3)
    sentence = group_inference({"group_inference": table}, CONTEXT)[0]
    assert "so few languages allow no p below 0.333, so nothing could be shown" in sentence


def test_a_language_without_rows_is_named(tmp_path):
    with pytest.raises(
        IsoglossError, match=r"language_gap\.parquet: no gap_pct of hi, ml; delete it and run snakemake"
    ):
        run(tmp_path, gaps().filter(~pl.col("lang").is_in(["hi", "ml"])))
