"""Permutation tests against SciPy's, by hand, and under nulls whose p-values must be uniform."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from isogloss.permutation import difference_test, order_test, splits


def test_all_splits_by_hand():
    """1, 2 | 8, 9, 10: no other of the ten ways has means 7.5 apart; 9, 10 | 1, 2, 8 has 35 / 6."""
    ways = splits(2, 3, (0,))
    assert (ways.first.shape, ways.exact, ways.smallest_p) == ((10, 5), True, 0.1)
    test = difference_test(np.array([[1.0, 2.0, 8.0, 9.0, 10.0]]), ways)
    assert test.difference[0] == pytest.approx(7.5)
    assert test.p[0] == test.p_family[0] == pytest.approx(0.1)
    # Of equal groups a split and its mirror tie.
    even = splits(2, 2, (0,))
    assert difference_test(np.array([[1.0, 2.0, 3.0, 4.0]]), even).p[0] == even.smallest_p == pytest.approx(1 / 3)
    assert len(splits(4, 5, (0,)).first) == 126


@pytest.mark.parametrize(("first", "second"), [(4, 5), (3, 3), (2, 6)])
def test_p_of_a_series_is_scipys(first, second):
    rng = np.random.default_rng(first)
    values = rng.normal(size=(3, first + second)) + np.r_[np.zeros(first), np.full(second, 1.0)]
    test = difference_test(values, splits(first, second, (0,)))
    for row, p in zip(values, test.p, strict=True):
        theirs = scipy_stats.permutation_test(
            (row[:first], row[first:]), lambda a, b: abs(b.mean() - a.mean()), alternative="greater",
            n_resamples=np.inf, vectorized=False,
        )  # fmt: skip
        assert p == pytest.approx(theirs.pvalue)


def test_the_family_is_corrected_by_its_largest_statistic_as_a_loop_has_it():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4, 7)) * np.array([[1.0], [100.0], [0.01], [1.0]])
    values[1, 3:] += 150
    ways = splits(3, 4, (0,))
    test = difference_test(values, ways)
    largest = []
    for first in ways.first:
        pooled = [abs(scipy_stats.ttest_ind(row[~first], row[first]).statistic) for row in values]
        largest.append(max(pooled))
    observed = [abs(scipy_stats.ttest_ind(row[3:], row[:3]).statistic) for row in values]
    expected = [np.mean([one >= own * (1 - 1e-9) for one in largest]) for own in observed]
    np.testing.assert_allclose(test.p_family, expected)
    assert (test.p_family >= test.p).all()
    # A layer in larger units does not drown the others.
    np.testing.assert_allclose(difference_test(values * [[7.0], [1.0], [1e3], [1.0]], ways).p_family, expected)


def test_one_family_errs_as_often_as_it_says():
    rng = np.random.default_rng(2)
    ways = splits(4, 5, (0,))
    p = np.array([difference_test(rng.normal(size=(6, 9)), ways).p_family.min() for _ in range(400)])
    assert 0.02 < (p <= 0.05).mean() < 0.08


def test_many_members_are_split_by_chance_and_the_split_that_is_there_counts():
    ways = splits(12, 12, (3,))
    assert (len(ways.first), ways.exact) == (10_001, False)
    assert ways.first.sum(axis=1).tolist() == [12] * 10_001
    assert ways.first[0].tolist() == [True] * 12 + [False] * 12
    assert (ways.first == splits(12, 12, (3,)).first).all()
    apart = difference_test(np.r_[np.zeros(12), np.ones(12)][None] + np.arange(24) / 1e3, ways)
    assert apart.p[0] == pytest.approx(ways.smallest_p) == pytest.approx(1 / 10_001)


def test_orders_of_nine_points_are_drawn_and_agree_with_all_of_them():
    rng = np.random.default_rng(4)
    x = rng.normal(size=9)
    y = -x + rng.normal(size=9)
    drawn = order_test(x, y, (0,))
    assert drawn.orders == 10_001
    assert drawn == order_test(x, y, (0,))
    assert drawn.p == pytest.approx(scipy_stats.pearsonr(x, y).pvalue, abs=0.03)
    assert drawn.spearman == pytest.approx(scipy_stats.spearmanr(x, y).statistic)
    eight = order_test(x[:8], y[:8], (0,))
    assert eight.orders == 40_320
    assert order_test(np.ones(5), x[:5], (0,)) == (None, None, None, 0)
    # By hand: of six orders of three points two have |r| = 1.
    assert order_test(np.arange(3.0), np.arange(3.0), (0,)).p == pytest.approx(2 / 6)
