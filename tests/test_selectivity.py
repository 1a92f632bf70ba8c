import numpy as np
import polars as pl
import pytest

from config_sections import grouped
from isogloss.bilingual.class_controls import OF_SEVERAL, SHARES
from isogloss.bilingual.classes import classify, language_shares
from isogloss.bilingual.selectivity import MINIMA, aggregate
from isogloss.config.measures import Statistics
from isogloss.tables import open_table, read_table, table_metadata, write_table

MEANS = ("monosemanticity", "monosemanticity_other_reading", "span_length")


def test_classes_by_hand():
    counts = np.array([[9, 1, 0], [10, 1, 0], [0, 0, 3], [1, 1, 1], [0, 0, 0], [0, 19, 1]])
    shares = language_shares(counts)
    assert shares[0].tolist() == [0.9, 0.1, 0]
    assert np.isnan(shares[4]).all()
    assert classify(shares, ["en", "es", "ml"], 0.9) == ["mixed", "en", "ml", "mixed", "silent", "es"]
    assert classify(shares, ["en", "es", "ml"], 0.3)[3] == "en"  # of equal shares the first


def layer(step: int, number: int, classes: list[str], seed: int = 0) -> pl.DataFrame:
    """A layer's table of features, of random values."""
    rng = np.random.default_rng([seed, step, number])
    frame = pl.DataFrame({"feature": range(len(classes)), "class": classes}).with_columns(
        pl.lit(step).cast(pl.Int64).alias("step"), pl.lit(number).cast(pl.Int32).alias("layer")
    )
    values = {name: rng.random(len(classes)) for name in MEANS}
    active = pl.col("class") != "silent"
    frame = frame.with_columns(**values).with_columns(pl.when(active).then(name).alias(name) for name in MEANS)
    n = np.array([rng.integers(1, 40) if name != "silent" else 0 for name in classes])
    several = (n > 0) & (np.arange(len(n)) % 3 > 0)
    added = {name: rng.normal(size=len(n)) for name in OF_SEVERAL if name not in MEANS}
    return frame.with_columns(
        **{name: pl.Series([v if several[row] else None for row, v in enumerate(of)]) for name, of in added.items()},
        n_activations=pl.Series(n),
        n_tokens_distinct=pl.Series(np.where(several, 2, np.minimum(n, 1))),
        class_firings=pl.Series(["mixed" if row % 4 == 0 and n[row] else name for row, name in enumerate(classes)]),
    )


def write(folder, tables: dict[str, list[pl.DataFrame]]) -> dict[str, list[str]]:
    """Tables by kind, their paths."""
    paths: dict[str, list[str]] = {}
    for kind, frames in tables.items():
        for number, frame in enumerate(frames):
            paths.setdefault(kind, []).append(str(folder / f"{kind}-{number}.parquet"))
            write_table(paths[kind][-1], frame)
    return paths


def run(folder, frames: list[pl.DataFrame], **changes) -> dict[str, pl.DataFrame]:
    paths = write(
        folder,
        {
            "features": frames,
            "examples": [
                pl.DataFrame({"step": [1], "tokens": [["a", "b"]]}),
                pl.DataFrame({"step": [2], "tokens": [["c"]]}),
            ],
            "quality": [pl.DataFrame({"step": [1], "fvu": [0.5]}), pl.DataFrame({"step": [2], "fvu": [0.25]})],
        },
    )
    names = {
        "features_table": "features",
        "selectivity": "selectivity",
        "selectivity_by_minimum": "selectivity_by_minimum",
        "examples_table": "examples",
        "sae_training": "sae_training",
    }
    outputs = {key: folder / "tables" / f"{name}.parquet" for key, name in names.items()}
    settings = {
        **paths,
        **{key: str(path) for key, path in outputs.items()},
        "languages": ["en", "es"],
        "minimum_activations": 10,
        "bootstrap": 400,
        "confidence": 0.95,
        "seed": 0,
        "metadata": {"study": "test"},
    }
    aggregate(**grouped(settings | changes, statistics=Statistics))
    return {key: read_table(path) for key, path in outputs.items()}


def test_shares_and_means_with_intervals(tmp_path):
    classes = ["en"] * 60 + ["mixed"] * 30 + ["es"] + ["silent"] * 9
    frame = layer(10, 3, classes)
    found = run(tmp_path, [frame])["selectivity"]
    bounds = [f"{name}{end}" for name in ("share", *MEANS) for end in ("", "_low", "_high")]
    added = [f"{name}{end}" for name in (*OF_SEVERAL.values(), *SHARES) for end in ("", "_low", "_high")]
    noted = ["similarity_calibrated", "random_pairs_above_similarity", "n_features_several", "n_features_counted"]
    assert set(found.columns) == {"step", "layer", "class", *bounds, "n_features", *added, *noted}
    rows = {row["class"]: row for row in found.iter_rows(named=True)}
    assert list(rows) == ["en", "es", "mixed", "all", "silent"]
    assert {name: row["n_features"] for name, row in rows.items()} == {
        "en": 60,
        "es": 1,
        "mixed": 30,
        "all": 91,
        "silent": 9,
    }
    assert rows["en"]["share"] == pytest.approx(60 / 91)
    # The normal interval of a share and of a mean, by hand.
    half = 1.96 * (60 / 91 * 31 / 91 / 91) ** 0.5
    assert rows["en"]["share_low"] == pytest.approx(60 / 91 - half, abs=0.02)
    assert rows["en"]["share_high"] == pytest.approx(60 / 91 + half, abs=0.02)
    for name in MEANS:
        values = frame.filter(pl.col("class") == "mixed")[name]
        half = 1.96 * values.std() / len(values) ** 0.5
        assert rows["mixed"][name] == pytest.approx(values.mean())
        assert rows["mixed"][f"{name}_low"] == pytest.approx(values.mean() - half, rel=0.06)
        assert rows["mixed"][f"{name}_high"] == pytest.approx(values.mean() + half, rel=0.06)
        assert rows["all"][name] == pytest.approx(frame.filter(pl.col("class") != "silent")[name].mean())
        assert rows["es"][name] == pytest.approx(frame.row(90, named=True)[name])
        assert rows["es"][f"{name}_low"] is None  # a single feature
    assert [rows["all"][f"share{end}"] for end in ("", "_low", "_high")] == pytest.approx([1, 1, 1])
    assert all(
        value is None for key, value in rows["silent"].items() if key not in ("step", "layer", "class", "n_features")
    )


def test_a_class_without_features_has_share_zero_and_no_means(tmp_path):
    frames = [pl.concat([layer(1, 0, ["en"] * 5), layer(1, 1, ["silent"] * 5)])]
    found = run(tmp_path, frames)["selectivity"]
    mixed = found.filter((pl.col("layer") == 0) & (pl.col("class") == "mixed")).row(0, named=True)
    assert (mixed["share"], mixed["share_low"], mixed["share_high"], mixed["n_features"]) == (0, 0, 0, 0)
    assert mixed["monosemanticity"] is None
    dead = found.filter(pl.col("layer") == 1)
    assert dead["n_features"].to_list() == [0, 0, 0, 0, 5]
    assert dead["share"].null_count() == 5


def test_tables_are_joined_layer_by_layer_and_blocks_change_no_bit(tmp_path):
    rng = np.random.default_rng(0)
    classes = [rng.choice(["en", "es", "mixed", "silent"], size=40).tolist() for _ in range(6)]
    frames = [
        layer(step, number, classes[3 * index + number]) for index, step in enumerate((5, 500)) for number in range(3)
    ]
    apart = run(tmp_path / "apart", [frames[5], *frames[:5]])
    together = run(tmp_path / "together", [pl.concat(frames[:3]), pl.concat(frames[3:])])
    assert apart["selectivity"].equals(together["selectivity"])
    assert together["features_table"].drop("class_counted").equals(pl.concat(frames))
    assert open_table(tmp_path / "together" / "tables" / "features.parquet").num_row_groups == 6
    assert together["selectivity"].select("step", "layer").unique(maintain_order=True).rows() == [
        (step, number) for step in (5, 500) for number in range(3)
    ]
    assert together["examples_table"]["tokens"].to_list() == [["a", "b"], ["c"]]
    assert together["sae_training"]["fvu"].to_list() == [0.5, 0.25]
    for name in ("features", "selectivity", "selectivity_by_minimum", "examples", "sae_training"):
        assert table_metadata(tmp_path / "apart" / "tables" / f"{name}.parquet") == {"study": "test"}


def test_classes_by_minimum_by_all_firings_and_beyond_the_null(tmp_path):
    frame = layer(10, 3, ["en"] * 60 + ["mixed"] * 30 + ["es"] + ["silent"] * 9)
    found = run(tmp_path, [frame])
    active = frame.filter(pl.col("class") != "silent")
    rows = {row["class"]: row for row in found["selectivity"].iter_rows(named=True)}
    for name in ("en", "es", "mixed", "all"):
        of = active if name == "all" else active.filter(pl.col("class") == name)
        counted = [n >= 10 for n in active["n_activations"]]
        counted_of = sum(n >= 10 for n in of["n_activations"])
        assert rows[name]["n_features_counted"] == counted_of
        assert rows[name]["share_counted"] == pytest.approx(counted_of / sum(counted))
        firings = active["class_firings"].to_list()
        assert rows[name]["share_firings"] == pytest.approx(1 if name == "all" else firings.count(name) / 91)
        agreeing = [one == other for one, other in of.select("class", "class_firings").iter_rows()]
        assert rows[name]["agreement"] == pytest.approx(np.mean(agreeing))
        several = of.filter(pl.col("n_tokens_distinct") == 2)
        assert rows[name]["n_features_several"] == len(several)
        for column, mean in OF_SEVERAL.items():
            expected = None if several.is_empty() else pytest.approx(several[column].mean())
            assert rows[name][mean] == expected
            if len(several) > 5:
                half = 1.96 * several[column].std() / len(several) ** 0.5
                assert rows[name][f"{mean}_high"] - rows[name][f"{mean}_low"] == pytest.approx(2 * half, rel=0.2)
    assert rows["silent"]["share_counted"] is rows["silent"]["monosemanticity_excess"] is None
    few = found["features_table"].filter(pl.col("class_counted") == "few")
    assert set(few["feature"]) == set(active.filter(pl.col("n_activations") < 10)["feature"])
    assert (found["features_table"].filter(pl.col("n_activations") == 0)["class_counted"] == "silent").all()

    minima = found["selectivity_by_minimum"]
    assert minima["minimum"].unique().sort().to_list() == list(MINIMA)
    first = {row["class"]: row for row in minima.filter(minimum=1).iter_rows(named=True)}
    assert all(first[name]["share"] == pytest.approx(rows[name]["share"]) for name in first)
    assert minima.filter(pl.col("class") == "en", minimum=10)["share"][0] == pytest.approx(rows["en"]["share_counted"])
    assert minima.filter(minimum=50)["share"].null_count() == 4  # no feature has as many: null, not zero
    assert minima.filter(minimum=50)["n_features_counted"].to_list() == [0] * 4


def test_what_random_pairs_of_tokens_do_is_carried_from_the_metadata(tmp_path):
    frame = layer(10, 3, ["en"] * 4 + ["mixed"] * 3)
    path = str(tmp_path / "described.parquet")
    notes = {"similarity_calibrated": 0.5, "random_pairs_above_similarity": 0.62}
    write_table(path, frame, {"similarity": notes})
    found = run(tmp_path, [], features=[path])["selectivity"]
    assert set(found.select(*notes).iter_rows()) == {(0.5, 0.62)}
