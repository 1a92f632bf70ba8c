"""Gain and retention: planted changes found on the features they were planted in."""

import hashlib

import numpy as np
import polars as pl
import pytest

from activation_tables import activation_frame, without_translation, write_activations
from config_sections import grouped
from isogloss.config.measures import Statistics
from isogloss.disparity.gain import measure_gain
from isogloss.disparity.holdout import HoldOut, held_out_features
from isogloss.errors import IsoglossError
from isogloss.tables import read_table, table_metadata

SEED, TARGET = 3, 1
RULE = HoldOut(0.4, 0, SEED)
BASE = {
    lang: activation_frame(gap, noise_seed=i) for i, (lang, gap) in enumerate([("en", 0), ("es", 0.1), ("ml", 0.4)])
}


def apart(layer, features=range(0, 210, 7)):
    """The held-out ones of the features in `BASE`."""
    return held_out_features(layer, np.array(features), RULE).tolist()


def adapted(factors, langs=("en", "es", "ml")):
    """The base's activations times a factor of (layer, held out, language)."""
    frames = {}
    for lang in langs:
        frame = BASE[lang]
        factor = [
            factors(layer, feature in apart(layer), lang)
            for layer, feature in frame.select("layer", "feature").iter_rows()
        ]
        frames[lang] = frame.with_columns((pl.col("activation") * pl.Series(factor)).cast(pl.Float32))
    return frames


def run(folder, runs, base=BASE, **more):
    base_paths, base_langs = write_activations(folder / "base", base, ((0,), (1,)))
    paths, names, langs = [], [], []
    for name, frames in runs.items():
        its_paths, its_langs = write_activations(folder / name, frames, ((0,), (1,)))
        paths += its_paths
        langs += its_langs
        names += [name] * len(its_paths)
    output = str(folder / "tables" / "alignment_gain.parquet")
    settings = {
        "target_layers": dict.fromkeys(runs, TARGET), "reference": "en", "hold_out": RULE, "minimum_phrases": 1,
        "bootstrap": 200, "confidence": 0.95, "seed": SEED, "metadata": {},
    }  # fmt: skip
    measure_gain(
        base=base_paths, base_langs=base_langs, adapted=paths, adapted_runs=names, adapted_langs=langs,
        alignment_gain=output, alignment_retention=output.replace("gain", "retention"),
        **grouped(settings | more, statistics=Statistics),
    )  # fmt: skip
    return read_table(output)


def row_of(table, lang, layer, name="tuned"):
    keys = (pl.col("lang") == lang) & (pl.col("layer") == layer) & (pl.col("run") == name)
    return table.row(by_predicate=keys, named=True)


def planted(layer, unseen, lang):
    if layer != TARGET:
        return 1.1
    if lang == "en":
        return 0.9 if unseen else 0.8
    return 1.5 if unseen else 2.0


def test_all_features_in_the_main_columns_and_the_held_out_apart(tmp_path):
    row = row_of(run(tmp_path, {"tuned": adapted(planted)}), "ml", TARGET)
    frame = BASE["ml"].filter(pl.col("layer") == TARGET)
    means = frame.group_by("feature", maintain_order=True).agg(pl.col("activation").mean())
    unseen = means["feature"].is_in(apart(TARGET))
    after = means["activation"] * pl.Series([1.5 if held else 2.0 for held in unseen])
    assert row["before"] == pytest.approx(means["activation"].mean(), rel=1e-6)
    assert row["after"] == pytest.approx(after.mean(), rel=1e-6)
    assert row["gain_pct"] == pytest.approx(100 * (after.mean() / means["activation"].mean() - 1), rel=1e-5)
    assert 50 < row["ci_low"] < row["gain_pct"] < row["ci_high"] < 100
    assert row["gain_held_out_pct"] == pytest.approx(50, rel=1e-5)
    assert 80 < row["retention_pct"] < 90
    assert row["retention_held_out_pct"] == pytest.approx(90, rel=1e-5)
    assert (row["is_target"], row["target_layer"]) == (True, TARGET)
    assert (row["n_features"], row["n_phrases"], row["n_features_held_out"]) == (30, 90, unseen.sum())
    # The same factor on all held-out features: pairing leaves no uncertainty in the ratio.
    assert row["held_out_ci_high"] - row["held_out_ci_low"] < 1e-3


def test_other_layers_have_no_held_out_features(tmp_path):
    row = row_of(run(tmp_path, {"tuned": adapted(planted)}), "es", 0)
    assert row["gain_pct"] == pytest.approx(10, rel=1e-5)
    assert (row["n_features"], row["is_target"], row["gain_held_out_pct"], row["held_out_ci_low"]) == (
        30,
        False,
        None,
        None,
    )


def test_no_change_no_gain_and_noise_is_covered(tmp_path):
    generator = np.random.default_rng(0)
    noisy = {
        lang: frame.with_columns((pl.col("activation") * generator.normal(1, 0.2, frame.height)).cast(pl.Float32))
        for lang, frame in BASE.items()
    }
    table = run(tmp_path, {"same": BASE, "noisy": noisy})
    assert table.filter(pl.col("run") == "same")["gain_pct"].to_list() == pytest.approx([0] * 6)
    rows = table.filter(pl.col("run") == "noisy")
    assert ((rows["ci_low"] < 0) & (rows["ci_high"] > 0)).all()
    assert ((rows["retention_ci_low"] < 100) & (rows["retention_ci_high"] > 100)).all()


def test_runs_on_fewer_languages(tmp_path):
    table = run(tmp_path, {"one": adapted(planted, langs=("en", "ml")), "all": adapted(planted)})
    assert table.filter(pl.col("run") == "one")["lang"].unique(maintain_order=True).to_list() == ["en", "ml"]
    columns = ["gain_pct", "ci_low", "ci_high"]
    one, every = row_of(table, "ml", TARGET, "one"), row_of(table, "ml", TARGET, "all")
    assert [one[c] for c in columns] == [every[c] for c in columns]


def test_silent_base_gives_null(tmp_path):
    silent = BASE | {"ml": BASE["ml"].with_columns(activation=pl.lit(0.0, dtype=pl.Float32))}
    row = row_of(run(tmp_path, {"tuned": adapted(planted)}, base=silent), "ml", 0)
    assert (row["gain_pct"], row["ci_low"], row["before"]) == (None, None, 0)
    assert row["retention_pct"] == pytest.approx(110, rel=1e-5)


def test_nothing_held_out_gives_null(tmp_path):
    row = row_of(run(tmp_path, {"tuned": adapted(planted)}, hold_out=HoldOut(1e-9, 0, SEED)), "ml", TARGET)
    assert (row["gain_held_out_pct"], row["retention_held_out_pct"], row["n_features_held_out"]) == (None, None, 0)
    assert row["gain_pct"] is not None


def test_missing_languages_are_named(tmp_path):
    with pytest.raises(IsoglossError, match="run tuned: en not encoded"):
        run(tmp_path, {"tuned": adapted(planted, langs=("ml",))})
    with pytest.raises(IsoglossError, match="run tuned: es not encoded"):
        run(tmp_path, {"tuned": adapted(planted)}, base={lang: BASE[lang] for lang in ("en", "ml")})


def test_held_out_is_a_stable_share():
    features = np.arange(20_000)

    def mask(layer=2, share=0.2, seed=0):
        return np.isin(features, held_out_features(layer, features, HoldOut(share, 100, seed)))

    assert mask().mean() == pytest.approx(0.2, abs=0.01)
    hashed = [int.from_bytes(hashlib.sha256(f"0/2/{one}".encode()).digest()[:8], "big") for one in features.tolist()]
    assert mask().tolist() == [number < 0.2 * 2**64 for number in hashed]
    assert (mask() <= mask(share=0.5)).all()
    for other in (mask(layer=3), mask(seed=1)):
        assert (mask() & other).mean() == pytest.approx(0.04, abs=0.01)


@pytest.mark.parametrize(
    ("features", "at_least", "expected"), [(200, 100, 100), (200, 30, 30), (50, 30, 25), (7, 30, 3), (1, 30, 0)]
)
def test_at_least_so_many_features_are_held_out_whatever_their_order(features, at_least, expected):
    rng = np.random.default_rng(features)
    present = rng.choice(10_000, features, replace=False)
    rule = HoldOut(1e-6, at_least, 0)
    held = held_out_features(4, present, rule)
    assert len(held) == expected
    phrases = rng.permutation(np.repeat(present, rng.integers(1, 5, features)))
    assert held_out_features(4, phrases, rule).tolist() == held.tolist() == sorted(held.tolist())
    assert set(held) <= set(held_out_features(4, present, HoldOut(1e-6, at_least + 3, 0)))
    without = held_out_features(4, np.setdiff1d(present, held[:1]), rule)
    assert len(set(without) & set(held)) >= expected - 1


def test_features_without_a_usable_translation_count_among_those_to_hold_out_of(tmp_path):
    """Training sees all phrases: what is held out must not depend on which of them have translations."""
    rule = HoldOut(1e-9, 12, SEED)
    held = held_out_features(TARGET, np.arange(0, 210, 7), rule).tolist()
    gone = BASE["en"].filter(pl.col("layer") == TARGET, pl.col("feature").is_in(held[:6]))["phrase"].to_list()
    holes = {lang: without_translation(frame, gone if lang == "ml" else ()) for lang, frame in BASE.items()}
    row = row_of(run(tmp_path, {"tuned": holes}, base=holes, hold_out=rule), "ml", TARGET)
    # Of the 24 features that are left by themselves the rule would hold out twelve.
    assert (len(held), row["n_features"], row["n_features_held_out"]) == (12, 24, 6)


def test_retention_is_that_of_each_language_s_pairs(tmp_path):
    """Table 6: the reference before and after over the phrases that a language has, by a naive twin."""
    after = adapted(planted) | {"en": BASE["en"].with_columns(pl.col("activation") * (1 - pl.col("phrase") / 1000))}
    gone = {"es": set(range(90, 110)), "ml": {150, 151, 155}}
    before = {lang: without_translation(frame, gone.get(lang, set())) for lang, frame in BASE.items()}
    gain = run(tmp_path, {"tuned": after}, base=before)
    table = read_table(tmp_path / "tables" / "alignment_retention.parquet")
    assert table.select("run", "layer", "lang").rows() == [("tuned", TARGET, "es"), ("tuned", TARGET, "ml")]
    for row in table.iter_rows(named=True):
        chosen = pl.col("layer") == TARGET, ~pl.col("phrase").is_in(list(gone[row["lang"]]))
        means = [
            frame.filter(*chosen).group_by("feature").agg(pl.col("activation").cast(pl.Float64).mean())
            for frame in (BASE["en"], after["en"])
        ]
        kept = [frame["activation"].mean() for frame in means]
        held = [frame.filter(pl.col("feature").is_in(apart(TARGET)))["activation"].mean() for frame in means]
        assert row["retention_pct"] == pytest.approx(100 * kept[1] / kept[0], rel=1e-6)
        assert row["retention_held_out_pct"] == pytest.approx(100 * held[1] / held[0], rel=1e-6)
        assert row["n_phrases"] == 90 - len(gone[row["lang"]])
        assert row["ci_low"] < row["retention_pct"] < row["ci_high"]
    assert table["retention_pct"].n_unique() == 2
    assert row_of(gain, "es", TARGET)["retention_pct"] not in table["retention_pct"].to_list()


def test_untranslated_phrases_are_left_out_before_and_after(tmp_path):
    after = adapted(planted)
    gone = {"es": {0, 95}, "ml": {3}}
    holes = {lang: without_translation(frame, gone.get(lang, set())) for lang, frame in after.items()}
    base = BASE | {"ml": without_translation(BASE["ml"], {3, 7})}
    found = run(tmp_path / "holes", {"tuned": holes, "one": {lang: after[lang] for lang in ("en", "ml")}}, base=base)

    def without(frames, phrases):
        return {lang: frame.filter(~pl.col("phrase").is_in(phrases)) for lang, frame in frames.items()}

    expected = run(tmp_path / "kept", {"tuned": without(after, [0, 3, 7, 95])}, base=without(BASE, [0, 3, 7, 95]))
    assert found.filter(pl.col("run") == "tuned").equals(expected)
    notes = table_metadata(tmp_path / "holes" / "tables" / "alignment_gain.parquet")
    assert notes["n_untranslated"] == {"tuned": {"0": 3, "1": 1}, "one": {"0": 2, "1": 0}}
    assert row_of(found, "ml", 0, "one")["n_phrases"] == 88
