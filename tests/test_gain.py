"""Gain and retention: planted changes found on the features they were planted in."""

import numpy as np
import polars as pl
import pytest

from activation_tables import activation_frame, without_translation, write_activations
from config_sections import grouped
from isogloss.config.measures import Statistics
from isogloss.disparity.gain import measure_gain
from isogloss.disparity.holdout import held_out, held_out_mask
from isogloss.errors import IsoglossError
from isogloss.tables import read_table, table_metadata

SHARE, SEED, TARGET = 0.4, 3, 1
BASE = {
    lang: activation_frame(gap, noise_seed=i) for i, (lang, gap) in enumerate([("en", 0), ("es", 0.1), ("ml", 0.4)])
}


def adapted(factors, langs=("en", "es", "ml")):
    """The base's activations times a factor of (layer, held out, language)."""
    frames = {}
    for lang in langs:
        frame = BASE[lang]
        factor = [
            factors(layer, held_out(layer, feature, SHARE, SEED), lang)
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
        "target_layers": dict.fromkeys(runs, TARGET), "reference": "en", "held_out": SHARE, "minimum_phrases": 1,
        "bootstrap": 200, "confidence": 0.95, "seed": SEED, "metadata": {},
    }  # fmt: skip
    measure_gain(
        base=base_paths, base_langs=base_langs, adapted=paths, adapted_runs=names, adapted_langs=langs,
        alignment_gain=output, **grouped(settings | more, statistics=Statistics),
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
    unseen = pl.Series([held_out(TARGET, feature, SHARE, SEED) for feature in means["feature"]])
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
    row = row_of(run(tmp_path, {"tuned": adapted(planted)}, held_out=1e-9), "ml", TARGET)
    assert (row["gain_held_out_pct"], row["retention_held_out_pct"], row["n_features_held_out"]) == (None, None, 0)
    assert row["gain_pct"] is not None


def test_missing_languages_are_named(tmp_path):
    with pytest.raises(IsoglossError, match="run tuned: en not encoded"):
        run(tmp_path, {"tuned": adapted(planted, langs=("ml",))})
    with pytest.raises(IsoglossError, match="run tuned: es not encoded"):
        run(tmp_path, {"tuned": adapted(planted)}, base={lang: BASE[lang] for lang in ("en", "ml")})


def test_held_out_is_a_stable_share():
    features = np.arange(20_000)
    mask = held_out_mask(2, features, 0.2, 0)
    assert mask.mean() == pytest.approx(0.2, abs=0.01)
    assert mask.tolist() == [held_out(2, feature, 0.2, 0) for feature in features.tolist()]
    assert (mask <= held_out_mask(2, features, 0.5, 0)).all()
    for other in (held_out_mask(3, features, 0.2, 0), held_out_mask(2, features, 0.2, 1)):
        assert (mask & other).mean() == pytest.approx(0.04, abs=0.01)


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
