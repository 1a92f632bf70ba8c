"""The gap tables: planted gaps are found, absent ones not, intervals cover, splits change nothing."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_1samp

from activation_tables import activation_frame, without_translation, write_activations
from config_sections import grouped
from isogloss.config.measures import Languages, Statistics
from isogloss.disparity.gap import measure_gap
from isogloss.disparity.parallel import parallel_layers
from isogloss.errors import IsoglossError
from isogloss.tables import TableWriter, read_table, table_metadata, write_table

TABLES = ("language_gap", "group_gap", "group_activation", "language_gap_summary")
PLANTED = {"en": 0.0, "es": 0.05, "id": 0.20, "ml": 0.40}


def planted(gaps=PLANTED, **settings):
    return {lang: activation_frame(gap, noise_seed=index, **settings) for index, (lang, gap) in enumerate(gaps.items())}


def run(folder, frames, blocks=None, bootstrap=300, name="out", **more):
    paths, langs = write_activations(folder / "activations", frames, blocks)
    outputs = {table: str(folder / name / "tables" / f"{table}.parquet") for table in TABLES}
    settings = {
        "reference": "en",
        "high_resource": ["en", "es"],
        "medium_low_resource": [lang for lang in frames if lang not in ("en", "es")],
        "minimum_phrases": 1,
        "bootstrap": bootstrap,
        "confidence": 0.95,
        "correction": "holm",
        "seed": 0,
        "metadata": {"study": "test"},
    }
    settings = grouped(settings | more, languages=Languages, statistics=Statistics)
    measure_gap(activations=paths, langs=langs, **outputs, **settings)
    return {table: read_table(path) for table, path in outputs.items()}


def naive_mean(frame, layer):
    """Mean over features of the mean over a feature's phrases, in loops."""
    by_feature = {}
    for row in frame.filter(pl.col("layer") == layer).iter_rows(named=True):
        by_feature.setdefault(row["feature"], []).append(row["activation"])
    return np.mean([np.mean(values) for values in by_feature.values()])


def test_planted_gap_is_found(tmp_path):
    table = run(tmp_path, planted())["language_gap"]
    for row in table.iter_rows(named=True):
        assert (row["n_features"], row["n_phrases"]) == (30, 90)
        if row["lang"] == "en":
            assert (row["gap_pct"], row["ci_low"], row["ci_high"], row["p_adjusted"]) == (0, 0, 0, None)
        else:
            assert row["ci_low"] < 100 * PLANTED[row["lang"]] < row["ci_high"]
            assert row["gap_pct"] == pytest.approx(100 * PLANTED[row["lang"]], abs=3)
            assert row["p_adjusted"] < 0.01


def test_absent_gap_is_not_found(tmp_path):
    frames = planted({"en": 0.0, "es": 0.0, "id": 0.0, "ml": 0.0}, noise=0.3, layers=(0, 1, 2))
    tables = run(tmp_path, frames)
    others = tables["language_gap"].filter(pl.col("lang") != "en")
    assert others["p_adjusted"].min() > 0.05
    assert ((others["ci_low"] < 0) & (others["ci_high"] > 0)).all()
    assert ((tables["group_gap"]["ci_low"] < 0) & (tables["group_gap"]["ci_high"] > 0)).all()


def test_numbers_equal_loops(tmp_path):
    uneven = pl.col("phrase") % 7 != 0  # features of two and of three phrases
    frames = {lang: frame.filter(uneven) for lang, frame in planted().items()}
    frames["es"] = frames["es"].sample(fraction=1, shuffle=True, seed=3)  # the order of rows means nothing
    tables = run(tmp_path, frames)
    mean = {lang: naive_mean(frame, 1) for lang, frame in frames.items()}
    for row in tables["language_gap"].filter(pl.col("layer") == 1).iter_rows(named=True):
        assert row["mean_activation"] == pytest.approx(mean[row["lang"]], rel=1e-6)
        assert row["gap_pct"] == pytest.approx((mean["en"] - mean[row["lang"]]) / mean["en"] * 100, rel=1e-5, abs=1e-9)
    low = (mean["id"] + mean["ml"]) / 2
    group = tables["group_gap"].filter(pl.col("layer") == 1)
    for variant, high in (("with_reference", (mean["en"] + mean["es"]) / 2), ("without_reference", mean["es"])):
        gap = group.filter(pl.col("variant") == variant)["gap_pct"].item()
        assert gap == pytest.approx((high - low) / high * 100, rel=1e-5)
        activations = tables["group_activation"].filter(pl.col("layer") == 1, pl.col("variant") == variant)
        assert activations["mean_activation"].to_list() == pytest.approx([high, low], rel=1e-6)
    gaps = tables["language_gap"].filter(pl.col("lang") == "ml")["gap_pct"]
    summary = tables["language_gap_summary"].row(by_predicate=pl.col("lang") == "ml", named=True)
    assert summary["mean_gap_pct"] == pytest.approx(gaps.mean())
    assert summary["std_gap_pct"] == pytest.approx(gaps.std())
    assert summary["n_layers"] == 2
    assert summary["ci_low"] < summary["mean_gap_pct"] < summary["ci_high"]


def test_p_values_are_holm_corrected_t_tests(tmp_path):
    frames = planted({"en": 0.0, "es": 0.0, "id": 0.01, "ml": 0.02}, noise=0.2)
    table = run(tmp_path, frames)["language_gap"].filter(pl.col("lang") != "en")
    p_values = []
    for row in table.iter_rows(named=True):
        means = [
            frames[lang]
            .filter(pl.col("layer") == row["layer"])
            .group_by("feature")
            .agg(pl.mean("activation"))
            .sort("feature")
            for lang in ("en", row["lang"])
        ]
        p_values.append(ttest_1samp(means[0]["activation"] - means[1]["activation"], 0).pvalue)
    assert table["p"].to_list() == pytest.approx(p_values, rel=1e-4)
    running, expected = 0.0, {}
    for rank, index in enumerate(np.argsort(p_values)):
        running = max(running, min(1, p_values[index] * (len(p_values) - rank)))
        expected[int(index)] = running
    assert table["p_adjusted"].to_list() == pytest.approx([expected[i] for i in range(len(p_values))], rel=1e-4)


def test_more_languages_and_other_blocks_change_no_bit(tmp_path):
    frames = planted(layers=(0, 1, 2))
    whole = run(tmp_path / "whole", frames)
    split = run(tmp_path / "split", frames, blocks=((0,), (1, 2)))
    for table in TABLES:
        assert whole[table].equals(split[table]), table
    fewer = run(tmp_path / "fewer", {lang: frames[lang] for lang in ("en", "es", "ml")})
    columns = ["layer", "lang", "gap_pct", "ci_low", "ci_high"]
    kept = whole["language_gap"].filter(pl.col("lang") != "id").select(columns)
    assert kept.equals(fewer["language_gap"].select(columns))


def test_identical_language_has_no_gap(tmp_path):
    frames = planted() | {"es": activation_frame(0.0)}
    rows = run(tmp_path, frames)["language_gap"].filter(pl.col("lang") == "es")
    assert rows["gap_pct"].to_list() == [0, 0]
    assert rows["p_adjusted"].to_list() == [1, 1]


def test_silent_reference_gives_null(tmp_path):
    silent = (
        pl.when(pl.col("layer") == 1).then(0.0).otherwise(pl.col("activation")).cast(pl.Float32).alias("activation")
    )
    tables = run(tmp_path, {lang: frame.with_columns(silent) for lang, frame in planted().items()})
    assert tables["language_gap"].filter(pl.col("layer") == 1)["gap_pct"].null_count() == 4
    assert tables["group_gap"].filter(pl.col("layer") == 1)["gap_pct"].null_count() == 2
    assert tables["language_gap_summary"]["n_layers"].to_list() == [1] * 4
    metadata = table_metadata(tmp_path / "out" / "tables" / "language_gap.parquet")
    assert metadata["layers_without_gap"] == [1]
    assert metadata["study"] == "test"


@pytest.mark.parametrize(("active", "defined"), [(4, True), (2, False)])
def test_resamples_without_an_active_feature_are_left_out_and_counted(tmp_path, active, defined):
    """Of 30 features `active` fire in the reference: (1 - active / 30)^30 of the resamples have none of them."""
    silent = pl.when(pl.col("feature") < 7 * active).then("activation").otherwise(0.0).cast(pl.Float32)
    frames = {lang: frame.with_columns(activation=silent) for lang, frame in planted(layers=(0,)).items()}
    tables = run(tmp_path, frames, bootstrap=1000)
    for table in ("language_gap", "group_gap", "language_gap_summary"):
        row = tables[table].row(-1, named=True)
        assert row["undefined_replicates"] == pytest.approx(1000 * (1 - active / 30) ** 30, rel=0.6)
        assert (row["ci_low"] is not None) == defined
    assert tables["language_gap"]["gap_pct"].null_count() == 0


def test_reference_alone_in_its_group(tmp_path):
    table = run(tmp_path, planted(), high_resource=["en"], medium_low_resource=["es", "id", "ml"])["group_gap"]
    without = table.filter(pl.col("variant") == "without_reference")
    assert without["gap_pct"].null_count() == 2
    assert table.filter(pl.col("variant") == "with_reference")["gap_pct"].null_count() == 0


def test_minimum_phrases(tmp_path):
    thin = {lang: f.filter((pl.col("feature") != 7) | (pl.col("phrase") % 3 == 0)) for lang, f in planted().items()}
    table = run(tmp_path, thin, minimum_phrases=2)["language_gap"]
    assert set(table["n_features"]) == {29}
    with pytest.raises(IsoglossError, match=r"minimum_phrases"):
        run(tmp_path, thin, minimum_phrases=9)


def test_mistakes_are_named(tmp_path):
    frames = planted()
    with pytest.raises(IsoglossError, match="its phrases are not those of"):
        run(tmp_path, frames | {"ml": frames["ml"][:-1]})
    with pytest.raises(IsoglossError, match="twice"):
        run(tmp_path, frames | {"ml": pl.concat([frames["ml"], frames["ml"][:1]])})
    broken = (
        pl.when(pl.col("phrase") == 5).then(float("nan")).otherwise("activation").cast(pl.Float32).alias("activation")
    )
    with pytest.raises(IsoglossError, match=r"ml\.parquet: layer 0, phrase 5 "):
        run(tmp_path, frames | {"ml": frames["ml"].with_columns(broken)})
    with pytest.raises(IsoglossError, match="no activations of hi"):
        run(tmp_path, frames, medium_low_resource=["id", "ml", "hi"])


def test_interval_covers_the_planted_gap(tmp_path):
    """100 small worlds, a layer each: a nominal 95 % interval covers the planted gap."""
    gaps = {"en": 0.0, "es": 0.0, "ml": 0.2}
    frames = planted(gaps, layers=tuple(range(100)), features=25, phrases=2, noise=0.3)
    table = run(tmp_path, frames, bootstrap=200)["language_gap"]
    for lang in ("es", "ml"):
        rows = table.filter(pl.col("lang") == lang)
        hits = ((rows["ci_low"] <= 100 * gaps[lang]) & (rows["ci_high"] >= 100 * gaps[lang])).sum()
        assert hits >= 88
    assert table["p_adjusted"].drop_nulls().len() == 200


def test_untranslated_phrases_are_left_out_in_every_language_and_counted(tmp_path):
    frames = planted()
    gone = {"ml": {0, 1, 2, 20, 100}, "es": {20, 21, 140}}  # all three phrases of the first feature of layer 0
    holes = {lang: without_translation(frame, gone.get(lang, set())) for lang, frame in frames.items()}
    every = set.union(*gone.values())
    kept = {lang: frame.filter(~pl.col("phrase").is_in(list(every))) for lang, frame in frames.items()}
    found, expected = run(tmp_path / "holes", holes), run(tmp_path / "kept", kept)
    for table in TABLES:
        assert found[table].equals(expected[table]), table
        notes = table_metadata(tmp_path / "holes" / "out" / "tables" / f"{table}.parquet")
        assert notes["n_untranslated"] == {"0": 5, "1": 2}
    sizes = found["language_gap"].select("layer", "n_features", "n_phrases").unique().sort("layer").rows()
    assert sizes == [(0, 29, 85), (1, 30, 88)]
    # Phrases count for a feature after those without a translation are gone: features 0, 1 and 6 of layer 0 are out.
    fewer = run(tmp_path / "fewer", holes, minimum_phrases=3)["language_gap"]
    assert fewer.select("layer", "n_features").unique().sort("layer").rows() == [(0, 27), (1, 28)]


def test_a_layer_without_a_translated_phrase_names_the_language(tmp_path):
    frames = planted()
    frames |= {
        "es": without_translation(frames["es"], range(90, 100)),
        "ml": without_translation(frames["ml"], range(95, 180)),
        "id": without_translation(frames["id"], range(90, 95)),
    }
    message = r"layer 1: no phrase has a translation in every language compared; ml lacks 85 of 90 \(.*ml\.parquet\)"
    with pytest.raises(IsoglossError, match=message):
        run(tmp_path, frames)


def test_layers_that_share_row_groups_are_told_apart(tmp_path):
    frames = planted(layers=(0, 1, 2))
    paths, langs = write_activations(tmp_path, frames)
    whole = list(parallel_layers([[path] for path in paths], langs, ["activation"]))
    for number, (path, frame) in enumerate(zip(paths, frames.values(), strict=True)):
        with TableWriter(path, frame.to_arrow().schema) as writer:
            for rows in frame.iter_slices(40 + number):
                writer.write(rows)
    for ours, theirs in zip(parallel_layers([[path] for path in paths], langs, ["activation"]), whole, strict=True):
        assert ours.layer == theirs.layer
        assert (ours.features == theirs.features).all()
        assert (ours.values == theirs.values).all()
    write_table(paths[2], frames["id"].filter(pl.col("layer") < 2))
    with pytest.raises(IsoglossError, match=r"id\.parquet: its phrases are not those of .*en\.parquet"):
        list(parallel_layers([[path] for path in paths], langs, ["activation"]))
