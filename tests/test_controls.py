"""The controls: on one scale with the gap, and the token count's share of it taken out."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import linregress

from activation_tables import activation_frame, without_translation, write_activations
from config_sections import grouped
from isogloss.config.measures import Languages, Statistics
from isogloss.disparity.gap import measure_gap
from isogloss.disparity.gap_controls import gap_at_equal_tokens, measure_controls
from isogloss.errors import IsoglossError
from isogloss.tables import read_table, table_metadata


def run(folder, frames, **more):
    paths, langs = write_activations(folder / "activations", frames)
    output = str(folder / "tables" / "activation_controls.parquet")
    settings = {
        "reference": "en",
        "minimum_phrases": 1,
        "bootstrap": 200,
        "confidence": 0.95,
        "seed": 0,
        "metadata": {},
    }
    settings = grouped(settings | more, statistics=Statistics)
    measure_controls(activations=paths, langs=langs, activation_controls=output, **settings)
    return read_table(output)


def row_of(table, lang, layer=0):
    return table.row(by_predicate=(pl.col("lang") == lang) & (pl.col("layer") == layer), named=True)


def test_gap_is_that_of_the_gap_table(tmp_path):
    frames = {
        "en": activation_frame(0.0),
        "es": activation_frame(0.1, noise_seed=1),
        "ml": activation_frame(0.3, noise_seed=2),
    }
    controls = run(tmp_path, frames)
    paths, langs = write_activations(tmp_path / "activations", frames)
    outputs = {
        name: str(tmp_path / "tables" / f"{name}.parquet")
        for name in ("language_gap", "group_gap", "group_activation", "language_gap_summary")
    }
    measure_gap(
        activations=paths, langs=langs, **outputs,
        languages=Languages(reference="en", high_resource=["en", "es"], medium_low_resource=["ml"]),
        minimum_phrases=1, statistics=Statistics(bootstrap=200, correction="holm"), seed=0, metadata={},
    )  # fmt: skip
    gap = read_table(outputs["language_gap"])
    assert controls["gap_pct"].to_list() == pytest.approx(gap["gap_pct"].to_list(), rel=1e-9)
    assert controls["gap_ci_low"].to_list() == pytest.approx(gap["ci_low"].to_list(), rel=1e-9)


def test_controls_are_near_zero_where_only_own_features_differ(tmp_path):
    row = row_of(run(tmp_path, {"en": activation_frame(0.0), "ml": activation_frame(0.3, noise_seed=1)}), "ml")
    assert row["gap_pct"] == pytest.approx(30, abs=3)
    assert abs(row["gap_shuffled_pct"]) < 1
    assert abs(row["gap_random_pct"]) < 1
    assert row["gap_shuffled_ci_low"] < 0 < row["gap_shuffled_ci_high"]


def test_a_general_gap_shows_in_the_controls(tmp_path):
    frame = activation_frame(0.0)
    weak = [pl.col(c) * 0.5 for c in ("activation", "shuffled_activation", "random_activation")]
    row = row_of(run(tmp_path, {"en": frame, "ml": frame.with_columns(weak)}), "ml")
    own, shuffled = frame["activation"].to_numpy()[:90].mean(), frame["shuffled_activation"].to_numpy()[:90].mean()
    assert row["gap_pct"] == pytest.approx(50)
    assert row["gap_shuffled_pct"] == pytest.approx(50 * shuffled / own, rel=1e-5)
    assert row["gap_shuffled_ci_low"] > 0


def test_tokens(tmp_path):
    frames = {"en": activation_frame(0.0), "ml": activation_frame(0.2, noise_seed=1, tokens=3.0)}
    uneven = pl.col("phrase") % 7 != 0  # features of two and of three phrases
    table = run(tmp_path, {lang: frame.filter(uneven) for lang, frame in frames.items()})
    english, malayalam = row_of(table, "en"), row_of(table, "ml")
    assert (english["token_ratio"], english["characters_per_token"]) == (1, 4)
    assert malayalam["token_ratio"] == pytest.approx(3)
    assert malayalam["characters_per_token"] == pytest.approx(4 / 3)
    # Every ratio is 3: no slope to fit, so the plain gap without an interval.
    assert malayalam["gap_equal_tokens_pct"] == pytest.approx(malayalam["gap_pct"], rel=1e-9)
    assert malayalam["gap_equal_tokens_ci_low"] is None
    assert malayalam["n"] == 77


def test_a_gap_made_of_tokens_vanishes_at_equal_tokens(tmp_path):
    generator = np.random.default_rng(0)
    frame = activation_frame(0.0, features=60)
    ratio = np.exp(generator.uniform(0, 1, frame.height))
    tokens = np.round(1000 * ratio).astype(np.int32)
    reference = frame.with_columns(n_tokens=pl.lit(1000, dtype=pl.Int32))
    noise = 0.05 * generator.standard_normal(frame.height)
    caused = frame.with_columns(
        n_tokens=pl.Series(tokens), activation=pl.col("activation") - pl.Series(0.8 * np.log(ratio) + noise)
    )
    row = row_of(run(tmp_path, {"en": reference, "hi": caused}), "hi")
    assert row["gap_pct"] > 5
    assert row["gap_ci_low"] > 0
    assert abs(row["gap_equal_tokens_pct"]) < 1
    assert row["gap_equal_tokens_ci_low"] < 0 < row["gap_equal_tokens_ci_high"]


def test_intercept_agrees_with_linregress():
    generator = np.random.default_rng(4)
    x = generator.normal(0.5, 0.4, 400)
    y = 12 + 7 * x + generator.normal(0, 5, 400)
    value, interval = gap_at_equal_tokens(y, x, np.arange(400), 0.95)
    theirs = linregress(x, y)
    assert value == pytest.approx(theirs.intercept)
    assert (interval.high - interval.low) / (2 * 1.96 * theirs.intercept_stderr) == pytest.approx(1, abs=0.1)


def test_features_weigh_alike():
    generator = np.random.default_rng(6)
    sizes = np.array([1, 2, 9, 4, 1, 7])
    features = np.repeat(np.arange(6), sizes)
    x, y = generator.normal(size=(2, len(features)))
    value, _ = gap_at_equal_tokens(y, x, features, 0.95)
    root = np.sqrt(1 / np.repeat(sizes, sizes))  # polyfit squares its weights
    assert value == pytest.approx(np.polyfit(x, y, 1, w=root)[1])


def test_intercept_interval_is_wider_when_features_share_their_error():
    generator = np.random.default_rng(4)
    x, y = generator.normal(0.5, 0.4, 40), generator.normal(10, 5, 40)
    _, alone = gap_at_equal_tokens(y, x, np.arange(40), 0.95)
    value, repeated = gap_at_equal_tokens(np.repeat(y, 10), np.repeat(x, 10), np.repeat(np.arange(40), 10), 0.95)
    assert value == pytest.approx(linregress(x, y).intercept)
    assert repeated.high - repeated.low == pytest.approx(alone.high - alone.low, rel=0.05)


def test_silent_reference_and_empty_texts(tmp_path):
    frame = activation_frame(0.0)
    silent = frame.with_columns(activation=pl.lit(0.0, dtype=pl.Float32))
    row = row_of(run(tmp_path, {"en": silent, "ml": silent}), "ml")
    assert row["gap_pct"] is None
    assert row["gap_equal_tokens_pct"] is None
    empty = frame.with_columns(n_tokens=pl.when(pl.col("phrase") == 3).then(0).otherwise("n_tokens").cast(pl.Int32))
    with pytest.raises(IsoglossError, match="in ml has no tokens"):
        run(tmp_path, {"en": frame, "ml": empty})


def test_gap_of_good_translations_is_that_of_the_better_half(tmp_path):
    reference = activation_frame(0.0)
    frame = activation_frame(0.3, noise_seed=1)
    chrf = np.random.default_rng(2).permutation(frame.height).astype(np.float32)
    bad = pl.Series(chrf < 90)  # of 180: worse translations, weaker activations
    scored = frame.with_columns(
        chrf=pl.Series(chrf), activation=pl.when(bad).then(pl.col("activation") * 0.5).otherwise("activation")
    )
    holes = without_translation(scored, range(4)).with_columns(
        chrf=pl.when(pl.col("phrase").is_between(4, 6)).then(None).otherwise("chrf")
    )
    table = run(tmp_path, {"en": reference, "ml": holes})
    for layer in (0, 1):
        row, english = row_of(table, "ml", layer), row_of(table, "en", layer)
        here = holes.filter(pl.col("layer") == layer, pl.col("chrf").is_not_null())
        good = here.filter(pl.col("chrf") >= np.median(here["chrf"].to_numpy()))
        pair = good.join(reference, on="phrase", suffix="_en").group_by("feature").agg(pl.all().mean())
        theirs = 100 * (1 - pair["activation"].mean() / pair["activation_en"].mean())
        assert row["gap_good_translation_pct"] == pytest.approx(theirs, rel=1e-5)
        assert row["gap_good_translation_ci_low"] < theirs < row["gap_good_translation_ci_high"]
        assert row["n_good_translation"] == good.height
        assert row["gap_good_translation_pct"] < row["gap_pct"] - 5
        assert row["n"] == (86 if layer == 0 else 90)
        # The reference is not translated, so it has no such gap.
        assert [english[f"gap_good_translation_{end}"] for end in ("pct", "ci_low", "ci_high")] == [None] * 3
        assert english["n_good_translation"] == 0
    notes = table_metadata(tmp_path / "tables" / "activation_controls.parquet")
    assert notes["n_untranslated"] == {"0": 4, "1": 0}


def test_untranslated_phrases_change_no_control(tmp_path):
    frames = {"en": activation_frame(0.0), "es": activation_frame(0.1, noise_seed=1)}
    frames["ml"] = activation_frame(0.3, noise_seed=2).with_columns(chrf=pl.col("phrase").cast(pl.Float32))
    gone = [2, 9, 100]
    found = run(tmp_path / "holes", frames | {"es": without_translation(frames["es"], gone)})
    kept = {lang: frame.filter(~pl.col("phrase").is_in(gone)) for lang, frame in frames.items()}
    assert found.equals(run(tmp_path / "kept", kept))
