"""Similarity against PyTorch's cosine in a plain loop, streamed in any row groups."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch

from config_sections import grouped
from isogloss.config.measures import Statistics
from isogloss.errors import IsoglossError
from isogloss.residuals import parallel
from isogloss.residuals import similarity as module
from isogloss.residuals.similarity import measure_similarity
from isogloss.tables import TableWriter, read_table, table_metadata, write_table

WIDTH, LAYERS = 16, (0, 2)


def vectors(n, seed=0, offset=0.0):
    return (np.random.default_rng(seed).normal(size=(n, len(LAYERS), WIDTH)) + offset).astype(np.float32)


def run(
    folder,
    tables,
    row_groups=None,
    bootstrap=200,
    absent=None,
    phrases_kept=None,
    parts=1,
    known=None,
    texts=None,
    **more,
):
    """`tables` maps a language to [phrases, layers, width]; phrase p was chosen for feature p // 3 of layer p % 2."""
    n = len(next(iter(tables.values())))
    numbers = np.arange(n)[:known]
    texts = [str(number) for number in numbers] if texts is None else texts
    columns = {"phrase": numbers, "layer": numbers % 2, "feature": numbers // 3, "text": texts}
    mixed = pl.DataFrame(columns).sample(fraction=1, shuffle=True)
    phrases = [str(folder / f"phrases-{part}.parquet") for part in range(parts)]
    for part, path in enumerate(phrases):
        write_table(path, mixed[part::parts])
    schema = pa.schema([("phrase", pa.int64()), ("layer", pa.int32()), ("pooled", pa.list_(pa.float32(), WIDTH))])
    for index, (lang, table) in enumerate(tables.items()):
        phrase = np.repeat(np.arange(len(table)), len(LAYERS))
        untranslated = np.isin(phrase, list((absent or {}).get(lang, ())))
        rows = pa.table(
            {
                "phrase": phrase,
                "layer": np.tile(np.array(LAYERS, dtype=np.int32), len(table)),
                "pooled": pa.FixedSizeListArray.from_arrays(
                    pa.array(table.ravel()), WIDTH, mask=pa.array(untranslated)
                ),
            },
            schema=schema,
        )
        if phrases_kept is not None:
            rows = rows.filter(pa.array(np.isin(phrase, phrases_kept)))
        size = (row_groups or [10_000])[index % len(row_groups or [1])]
        with TableWriter(folder / f"{lang}.parquet", schema) as writer:
            for start in range(0, rows.num_rows, size):
                writer.write(rows.slice(start, size))
    outputs = {name: str(folder / "tables" / f"{name}.parquet") for name in ("similarity", "similarity_pairs")}
    settings = {
        "reference": "en",
        "bootstrap": bootstrap,
        "confidence": 0.95,
        "seed": 0,
        "metadata": {},
        "candidates": 1000,
    }
    measure_similarity(
        residuals=[str(folder / f"{lang}.parquet") for lang in tables], langs=list(tables),
        phrases=phrases, **outputs, **grouped(settings | more, statistics=Statistics),
    )  # fmt: skip
    return {name: read_table(path) for name, path in outputs.items()}


def some_tables(n=40):
    home = vectors(n)
    return {"en": home, "es": home + 0.5 * vectors(n, 1), "ml": home + 2 * vectors(n, 2)}


def test_cosines_equal_torch_in_a_loop(tmp_path):
    tables = some_tables()
    result = run(tmp_path, tables)
    for row in result["similarity_pairs"].iter_rows(named=True):
        at = LAYERS.index(row["layer"])
        naive = [
            torch.nn.functional.cosine_similarity(
                torch.tensor(a[at]).double(), torch.tensor(b[at]).double(), dim=0
            ).item()
            for a, b in zip(tables[row["lang_a"]], tables[row["lang_b"]], strict=True)
        ]
        assert row["cosine"] == pytest.approx(np.mean(naive), abs=1e-12)
        assert row["n"] == 40
    assert result["similarity_pairs"].select("lang_a", "lang_b").rows()[:3] == [
        ("en", "es"),
        ("en", "ml"),
        ("es", "ml"),
    ]
    for row in result["similarity"].filter(pl.col("lang") != "en").iter_rows(named=True):
        keys = (pl.col("layer") == row["layer"]) & (pl.col("lang_a") == "en") & (pl.col("lang_b") == row["lang"])
        pair = result["similarity_pairs"].row(by_predicate=keys, named=True)
        assert row["cosine"] == pytest.approx(pair["cosine"], abs=1e-12)
        assert row["ci_low"] < row["cosine"] < row["ci_high"]
        assert abs(row["cosine_shuffled"]) < 0.15
        assert row["n"] == row["n_shuffled"] == 40


def test_identical_language_has_cosine_one(tmp_path):
    home = vectors(20)
    table = run(tmp_path, {"en": home, "es": home * 3})["similarity"]
    assert table["cosine"].to_list() == pytest.approx([1] * 4)
    assert table["ci_low"].to_list() == pytest.approx([1] * 4)
    assert table["cosine_shuffled"].max() < 0.5


def test_shuffled_pairs_show_a_common_direction(tmp_path):
    """Unrelated residuals that all point one way are similar, and the baseline says so."""
    table = run(tmp_path, {"en": vectors(40, 1, offset=3.0), "es": vectors(40, 2, offset=3.0)})["similarity"]
    row = table.row(by_predicate=(pl.col("lang") == "es") & (pl.col("layer") == 0), named=True)
    assert row["cosine"] > 0.8
    assert row["cosine_shuffled"] == pytest.approx(row["cosine"], abs=0.03)


def test_row_groups_and_chunks(tmp_path, monkeypatch):
    tables = some_tables()
    whole = run(tmp_path / "whole", tables)
    ragged = run(tmp_path / "ragged", tables, row_groups=[7, 64, 13])
    for name in whole:
        assert whole[name].equals(ragged[name])
    monkeypatch.setattr(parallel, "ROWS", 6)
    chunked = run(tmp_path / "chunked", tables)
    columns = ["cosine", "ci_low", "ci_high"]
    assert np.allclose(chunked["similarity"].select(columns), whole["similarity"].select(columns), rtol=0, atol=1e-12)
    assert np.allclose(chunked["similarity_pairs"]["cosine"], whole["similarity_pairs"]["cosine"], rtol=0, atol=1e-12)
    # 80 rows in chunks of 6 leave 2 rows, one phrase at two layers: it has no other to be paired with.
    assert set(chunked["similarity"]["n_shuffled"]) == {39}


def test_derangement_keeps_the_layer_and_moves_every_row():
    layers = np.array([0, 1, 2] * 50 + [7])
    other = module._derangement(layers, (0, 1))
    assert (layers[other] == layers).all()
    assert sorted(other) == list(range(151))
    assert (other != np.arange(151)).tolist() == [True] * 150 + [False]


def test_interval_is_clustered_by_feature(tmp_path):
    """Phrases of a feature that agree exactly carry one phrase's information, not three."""
    n = 60
    home = np.repeat(vectors(n // 3), 3, axis=0)
    numbers = np.arange(n)
    other = home + np.repeat(vectors(n // 3, 5), 3, axis=0)
    folder = tmp_path / "clustered"
    table = run(folder, {"en": home, "es": other}, bootstrap=2000)["similarity"]
    row = table.row(by_predicate=(pl.col("lang") == "es") & (pl.col("layer") == 0), named=True)
    cosines = torch.nn.functional.cosine_similarity(torch.tensor(home[:, 0]), torch.tensor(other[:, 0])).numpy()
    clusters = {key: cosines[numbers[(numbers // 3 == key[0]) & (numbers % 2 == key[1])]] for key in
                {(p // 3, p % 2) for p in numbers.tolist()}}  # fmt: skip
    sums = np.array([[values.sum(), len(values)] for values in clusters.values()])
    generator = np.random.default_rng(0)
    drawn = sums[generator.integers(len(sums), size=(4000, len(sums)))].sum(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    assert row["ci_high"] - row["ci_low"] == pytest.approx(high - low, rel=0.1)


def test_mistakes_are_named(tmp_path):
    tables = some_tables(6)
    with pytest.raises(IsoglossError, match="differ in length"):
        run(tmp_path, tables | {"ml": tables["ml"][:-1]})
    silent = tables["ml"].copy()
    silent[4, 1] = 0
    with pytest.raises(IsoglossError, match="phrase 4 at layer 2 is zero or not finite"):
        run(tmp_path, tables | {"ml": silent})
    with pytest.raises(IsoglossError, match="no residuals of the reference"):
        run(tmp_path, {"es": tables["es"], "ml": tables["ml"]})


def test_untranslated_phrases_are_left_out_everywhere_and_counted(tmp_path):
    tables = some_tables()
    gone = {"es": {3, 4, 17}, "ml": {4, 30}}
    result = run(tmp_path / "null", tables, absent=gone)
    kept = [phrase for phrase in range(40) if phrase not in {3, 4, 17, 30}]
    expected = run(tmp_path / "kept", tables, phrases_kept=kept)
    for name in result:
        assert result[name].equals(expected[name])
        assert set(result[name]["n"]) == {36}
        notes = table_metadata(tmp_path / "null" / "tables" / f"{name}.parquet")
        assert notes["n_untranslated"] == {"0": 4, "2": 4}
    with pytest.raises(IsoglossError, match=r"layer 0: no phrase has a translation.*; ml lacks the most"):
        run(tmp_path / "none", tables, absent={"es": {1}, "ml": set(range(40))})


def test_cosines_leave_no_file_behind(tmp_path):
    run(tmp_path, some_tables())
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == [
        "similarity.parquet",
        "similarity_pairs.parquet",
    ]


def test_phrases_in_several_tables_and_unknown_ones(tmp_path):
    whole = run(tmp_path / "whole", some_tables())
    assert run(tmp_path / "parts", some_tables(), parts=3)["similarity"].equals(whole["similarity"])
    with pytest.raises(IsoglossError, match="phrase 39 has residuals but does not stand in"):
        run(tmp_path / "unknown", some_tables(), known=39)
