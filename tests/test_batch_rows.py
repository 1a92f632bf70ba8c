"""Which texts share a forward: on the CPU little padding, on a GPU few launches."""

import random

import numpy as np
import pytest

from isogloss.models.batch_rows import _bands, batch_rows


def drawn(number: int, layers: int, seed: int = 0) -> tuple[list[int], list[int]]:
    rng = random.Random(seed)
    return [rng.randint(5, 37) for _ in range(number)], [rng.randrange(layers) for _ in range(number)]


def cost(batches: list[list[int]], lengths: list[int], depth: list[int], fixed: int) -> int:
    """Tokens through a layer, padding and launches included."""
    return sum(
        (max(depth[row] for row in rows) + 1) * (len(rows) * max(lengths[row] for row in rows) + fixed)
        for rows in batches
    )


@pytest.mark.parametrize("fixed", [0, 1, 100, 2048, 10**6])
@pytest.mark.parametrize("budget", [30, 1000, 32_768])
def test_every_text_is_in_one_batch_within_the_budget(fixed, budget):
    lengths, depth = drawn(500, 26)
    batches = list(batch_rows(lengths, token_budget=budget, depth=depth, fixed=fixed))
    assert sorted(row for rows in batches for row in rows) == list(range(500))
    for rows in batches:
        size = len(rows) * max(lengths[row] for row in rows)
        assert size <= budget or len(rows) == 1
        assert size - sum(lengths[row] for row in rows) <= fixed or not fixed
    assert batches == list(batch_rows(lengths, token_budget=budget, depth=depth, fixed=fixed))


@pytest.mark.parametrize(("number", "layers"), [(40, 2), (200, 26), (5000, 26), (5000, 1)])
def test_dear_launches_make_for_fewer_forwards_that_cost_less(number, layers):
    lengths, depth = drawn(number, layers)
    found = {
        fixed: list(batch_rows(lengths, token_budget=32_768, depth=depth, fixed=fixed)) for fixed in (0, 500, 2048)
    }
    assert len(found[2048]) <= len(found[500])
    for fixed in (500, 2048):
        assert cost(found[fixed], lengths, depth, fixed) <= cost(found[0], lengths, depth, fixed)


def test_bands_are_the_cheapest_of_all():
    """Against all ways to divide five depths into bands, by the cost that is made least."""
    lengths, depth = (np.array(values) for values in drawn(300, 5, seed=1))
    fixed, budget = 300, 2000

    def of_band(low: int, high: int) -> float:
        inside = lengths[(depth >= low) & (depth <= high)]
        padding = inside.max() * len(inside) - inside.sum()
        forwards = max(1.0, inside.sum() / budget, (padding / fixed) ** 0.5)
        return (high + 1) * (inside.sum() + padding / forwards + forwards * fixed)

    def of(ends: list[int]) -> float:
        return sum(of_band(low, high) for low, high in zip([0, *(end + 1 for end in ends)], ends, strict=False))

    ways = [[end for end in range(4) if code >> end & 1] + [4] for code in range(16)]
    chosen = sorted(set(_bands(lengths, depth, fixed, budget, padded=True).tolist()))
    assert of(chosen) == pytest.approx(min(map(of, ways)))
    assert 1 < len(chosen) < 5


def test_no_texts_are_no_batches():
    assert list(batch_rows([], token_budget=10, depth=[], fixed=5)) == []
    assert list(batch_rows([], token_budget=10)) == []
