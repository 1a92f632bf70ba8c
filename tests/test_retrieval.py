"""Centred cosine and reciprocal ranks: by hand, against SciPy and by simulation."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from isogloss.residuals.parallel import centred_units
from isogloss.residuals.retrieval import TextPool, chance, reciprocal_ranks, text_keys
from isogloss.tables import table_metadata
from test_similarity import LAYERS, run, some_tables, vectors


def units(rows) -> np.ndarray:
    rows = np.asarray(rows, float)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_ranks_by_hand():
    candidates = units([[1, 0], [0, 1], [1, 1]])
    queries = units([[1, 0.1], [1, 0.1], [1, 0.1]])  # nearest: the first, then the third, then the second
    assert reciprocal_ranks(queries, candidates).tolist() == pytest.approx([1, 1 / 3, 1 / 2])


def test_ties_count_as_broken_at_random_and_equal_vectors_do_not_count():
    mirrored = units([[1, 1], [1, -1], [-1, 0]])
    even = np.tile([[1.0, 0.0]], (3, 1))  # as near to the first as to the second
    assert reciprocal_ranks(even, mirrored).tolist() == pytest.approx([3 / 4, 3 / 4, 1 / 3])
    doubled = units([[1, 0], [1, 1e-5], [0, 1]])
    assert reciprocal_ranks(units([[1, 0], [1, 0], [1, 0]]), doubled).tolist() == pytest.approx([1, 1, 1 / 3])


def test_undefined_vectors():
    rows = units(np.eye(3))
    gone = np.where(np.arange(3)[:, None] == 1, np.nan, rows)
    assert np.isnan(reciprocal_ranks(gone, rows)).tolist() == [False, True, False]
    assert np.isnan(reciprocal_ranks(rows, gone)).all()
    same = np.full((2, 4), 0.1, np.float32)
    assert np.isnan(centred_units(same, same.mean(axis=0, dtype=np.float64, keepdims=True))).all()


def test_chance_is_that_of_random_orders():
    generator = np.random.default_rng(0)
    ranks = [reciprocal_ranks(*(units(generator.normal(size=(30, 8))) for _ in range(2))).mean() for _ in range(300)]
    assert chance(30) == pytest.approx(np.mean(ranks), abs=0.01)
    assert chance(30) == pytest.approx(sum(1 / rank for rank in range(1, 31)) / 30)


def test_table_against_scipy(tmp_path, monkeypatch):
    monkeypatch.setattr("isogloss.residuals.retrieval._SCORES", 100)  # blocks of two queries
    tables = {lang: table + 4 for lang, table in some_tables().items()}
    result = run(tmp_path, tables)
    for row in result["similarity"].iter_rows(named=True):
        home, other = (tables[lang][:, LAYERS.index(row["layer"])].astype(float) for lang in ("en", row["lang"]))
        far = cdist(other - other.mean(axis=0), home - home.mean(axis=0), "cosine")
        assert row["centred"] == pytest.approx(1 - np.diag(far).mean(), abs=1e-9)
        assert row["retrieval"] == pytest.approx((1 / np.diag(rankdata(far, axis=1))).mean())
        assert row["retrieval_reverse"] == pytest.approx((1 / np.diag(rankdata(far.T, axis=1))).mean())
        assert abs(row["centred_shuffled"]) < 0.15 < row["cosine_shuffled"]
        assert row["retrieval_ci_low"] <= row["retrieval"] <= row["retrieval_ci_high"]
        assert (row["retrieval_n"], row["retrieval_chance"]) == (40, chance(40))
    for pair in result["similarity_pairs"].iter_rows(named=True):
        a, b = (tables[pair[name]][:, LAYERS.index(pair["layer"])].astype(float) for name in ("lang_a", "lang_b"))
        far = cdist(a - a.mean(axis=0), b - b.mean(axis=0), "cosine")
        assert pair["centred"] == pytest.approx(1 - np.diag(far).mean(), abs=1e-9)


def test_candidates_are_distinct_texts_drawn_whatever_the_order(tmp_path):
    tables = some_tables()
    shared = run(tmp_path / "shared", tables, texts=[str(number // 2) for number in range(40)])["similarity"]
    assert set(shared["retrieval_n"]) == {20}
    few = run(tmp_path / "few", tables, candidates=7)["similarity"]
    assert set(few["retrieval_n"]) == {7}
    keys = text_keys(map(str, range(40)), seed=0)
    order = np.random.default_rng(0).permutation(40)
    pool = TextPool.sample(np.arange(40), keys, 7)
    assert pool.phrases.tolist() == TextPool.sample(np.arange(40)[order], keys[order], 7).phrases.tolist()
    assert (
        pool.phrases.tolist() != TextPool.sample(np.arange(40), text_keys(map(str, range(40)), seed=1), 7)[0].tolist()
    )


def test_a_single_phrase_has_nothing_centred(tmp_path):
    result = run(tmp_path, {"en": vectors(1), "es": vectors(1, 1)})
    row = result["similarity"].row(1, named=True)
    assert row["cosine"] is not None
    assert [row[name] for name in ("centred", "centred_ci_low", "retrieval", "retrieval_reverse")] == [None] * 4
    assert row["retrieval_n"] == 1
    assert result["similarity_pairs"]["centred"].to_list() == [None, None]
    notes = table_metadata(tmp_path / "tables" / "similarity.parquet")
    assert notes["n_at_mean"] == {"0": {"en": 1, "es": 1}, "2": {"en": 1, "es": 1}}
