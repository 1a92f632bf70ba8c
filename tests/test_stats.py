"""Bootstrap, intervals and corrections against SciPy, statsmodels' worked formulas, loops and hand values."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from isogloss.stats import (
    Paired,
    adjust,
    hierarchical_bootstrap,
    hierarchical_mean,
    mcnemar,
    paired_difference_interval,
    percent_below,
    percentile_interval,
    proportion_interval,
    undefined_replicates,
)


def naive_bootstrap(values, groups, replicates, seed, equal):
    """Loops over features and phrases, drawing the same numbers in the same order."""
    members = [[v for v, g in zip(values, groups, strict=True) if g == name] for name in sorted(set(groups))]
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(replicates):
        drawn = [members[i] for i in generator.integers(len(members), size=len(members))]
        uniform = iter(generator.random(sum(map(len, drawn))))
        samples = [[group[int(next(uniform) * len(group))] for _ in group] for group in drawn]
        if equal == "groups":
            means.append(np.mean([np.mean(sample) for sample in samples]))
        else:
            means.append(np.mean([value for sample in samples for value in sample]))
    return means


@pytest.mark.parametrize("equal", ["groups", "values"])
def test_hierarchical_bootstrap_equals_loops(equal):
    generator = np.random.default_rng(5)
    groups = generator.integers(6, size=25) * 3  # unordered, uneven
    values = generator.normal(size=(2, 25))
    fast = hierarchical_bootstrap(values, groups, replicates=40, seed=(1, 2), equal=equal)
    for series in range(2):
        naive = naive_bootstrap(values[series].tolist(), groups.tolist(), 40, [1, 2], equal)
        np.testing.assert_allclose(fast[:, series], naive, rtol=1e-12)


def test_series_do_not_change_each_other():
    generator = np.random.default_rng(0)
    values, groups = generator.normal(size=(10, 200)), np.repeat(np.arange(50), 4)
    together = hierarchical_bootstrap(values, groups, replicates=20, seed=(0, 3))
    alone = hierarchical_bootstrap(values[4:5], groups, replicates=20, seed=(0, 3))
    assert (together[:, 4] == alone[:, 0]).all()


def test_variance_is_that_of_two_stages():
    """Closed form for F groups: (variance of group means + mean of within-group variance / n) / F."""
    generator = np.random.default_rng(1)
    table = generator.normal(size=(20, 1)) + 2 * generator.normal(size=(20, 5))
    draws = hierarchical_bootstrap(table.reshape(1, -1), np.repeat(np.arange(20), 5), replicates=20_000, seed=(0,))[
        :, 0
    ]
    between = table.mean(axis=1).var()
    within = (table.var(axis=1) / 5).mean()
    assert draws.var() == pytest.approx((between + within) / 20, rel=0.04)
    assert draws.mean() == pytest.approx(table.mean(), abs=0.02)


def test_hierarchical_mean_weighs_groups_or_values():
    values, groups = np.array([[1.0, 1.0, 1.0, 5.0]]), np.array([0, 0, 0, 1])
    assert hierarchical_mean(values, groups)[0] == 3
    assert hierarchical_mean(values, groups, equal="values")[0] == 2


def test_flat_interval_agrees_with_scipy():
    values = np.random.default_rng(2).gamma(2.0, size=80)
    means = hierarchical_bootstrap(values[None], np.arange(len(values)), replicates=20_000, seed=(0,))
    ours = percentile_interval(means[:, 0], 0.9)
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, confidence_level=0.9, method="percentile", rng=3
    ).confidence_interval
    spread = values.std() / np.sqrt(80)
    assert ours.low == pytest.approx(theirs.low, abs=0.05 * spread)
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * spread)


def test_same_seed_same_bits():
    values, groups = np.random.default_rng(0).normal(size=(1, 30)), np.repeat(np.arange(10), 3)
    one, two = (hierarchical_bootstrap(values, groups, replicates=10, seed=(7, 1)) for _ in range(2))
    other = hierarchical_bootstrap(values, groups, replicates=10, seed=(7, 2))
    assert (one == two).all()
    assert not (one == other).any()


def test_undefined_replicates_are_left_out_and_counted_up_to_a_twentieth():
    replicates = np.random.default_rng(0).normal(size=1000)
    whole = percentile_interval(replicates, 0.9)
    assert whole == tuple(np.quantile(replicates, [(1 - 0.9) / 2, (1 + 0.9) / 2]).tolist())  # bit for bit
    for undefined, value in ((1, np.nan), (50, np.inf), (51, np.nan)):
        some = replicates.copy()
        some[:undefined] = value
        left = percentile_interval(some, 0.9)
        assert left == (percentile_interval(replicates[undefined:], 0.9) if undefined < 51 else (None, None))
        assert undefined_replicates(replicates, some) == undefined
    assert percentile_interval(np.array([1.0, np.nan, 2.0]), 0.95) == (None, None)
    assert percentile_interval(np.empty(0), 0.95) == (None, None)


def test_percent_below():
    result = percent_below(np.array([4.0, 0.0]), np.array([3.0, 1.0]))
    assert result[0] == 25
    assert np.isnan(result[1])


def test_corrections_by_hand():
    # Holm: .01*4, max(.02*3, .04), max(.03*2, .06), max(.04*1, .06). BH: min over later of p*m/rank.
    assert adjust([0.02, None, 0.01, 0.04, 0.03], "holm") == [
        pytest.approx(0.06),
        None,
        pytest.approx(0.04),
        pytest.approx(0.06),
        pytest.approx(0.06),
    ]
    assert adjust([0.01, 0.02, 0.03, 0.5], "bh") == pytest.approx([0.04, 0.04, 0.04, 0.5])
    assert adjust([0.6, 0.9], "holm") == pytest.approx([1.0, 1.0])
    assert adjust([None, None], "bh") == [None, None]


def test_wilson_by_formula():
    n, p, z = 40, 0.25, scipy_stats.norm.ppf(0.975)
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = [(centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)]
    assert proportion_interval(10, 40, 0.95) == pytest.approx(expected)
    assert proportion_interval(0, 0, 0.95) == (None, None)


def test_mcnemar_by_hand():
    # 1 against 7: 2 (C(8,0) + C(8,1)) / 2^8 = 18/256.
    assert mcnemar(Paired(50, 1, 7, 20)) == pytest.approx(18 / 256)
    assert mcnemar(Paired(5, 3, 3, 1)) == 1
    assert mcnemar(Paired(9, 0, 0, 1)) == 1


def test_paired_difference_interval():
    # Newcombe's published example, (a, b, c, d) = (36, 12, 2, 0) with method 10.
    low, high = paired_difference_interval(Paired(36, 12, 2, 0), 0.95)
    assert (round(low, 4), round(high, 4)) == (0.0569, 0.3404)
    swapped = paired_difference_interval(Paired(36, 2, 12, 0), 0.95)
    assert swapped == pytest.approx((-high, -low))
    same = paired_difference_interval(Paired(30, 0, 0, 30), 0.95)
    assert same.low < 0 < same.high


def test_paired_difference_interval_covers():
    generator = np.random.default_rng(0)
    shares = [0.35, 0.20, 0.10, 0.35]
    hits = 0
    for _ in range(400):
        low, high = paired_difference_interval(Paired(*generator.multinomial(120, shares).tolist()), 0.95)
        hits += low <= 0.10 <= high
    assert 0.92 <= hits / 400 <= 0.98
