"""Which texts go through a model together: rows of like length, and of like depth, under a token budget."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

_PADDED = 1.15  # a batch with more tokens than this, padding included, for each real one is closed early,
_SMALLEST = 16  # unless it is below this part of the budget, where a forward's fixed cost is dearer than padding
_WIDEST = 1.25  # token budgets of a batch with its padding where a forward leaves that out, and what reads it does not


def batch_rows(
    lengths: Sequence[int],
    *,
    token_budget: int,
    depth: Sequence[int] | None = None,
    fixed: int = 0,
    padded: bool = True,
) -> Iterator[list[int]]:
    """The texts of each batch, by position in `lengths` (of each, in tokens): at most `token_budget` tokens, padded.

    With `depth` (the last layer that each text is needed at), texts of like depth go together, so that a forward can
    stop early. `fixed` is what a layer's fixed cost, its launches, is worth in tokens. With 0, texts of one depth are
    together and a batch is closed where padding would be more than 15 % of it. Otherwise neighbouring depths share
    batches where that costs less than more forwards would (`_bands`), and a batch is closed where its padding would
    cost more than a forward. The order is a function of the texts alone; one longer than the budget is alone.
    Not `padded`, texts go through the model without padding: the budget is of their own tokens, and with padding a
    batch is at most a quarter larger.
    """
    size_of = np.asarray(lengths, dtype=np.int64)
    depths = np.zeros(len(size_of), dtype=np.int64) if depth is None else np.asarray(depth, dtype=np.int64)
    if fixed and len(size_of):
        depths = _bands(size_of, depths, fixed, token_budget, padded)[depths]
    order = np.lexsort((size_of, depths))  # stable, so that like ones keep their order
    longest, level = size_of[order].tolist(), depths[order].tolist()
    order = order.tolist()
    start = 0
    while start < len(order):
        stop = start
        tokens = 0
        while stop < len(order):
            size = longest[stop] * (stop + 1 - start)
            tokens += longest[stop]
            if not padded:
                full = tokens > token_budget or size > _WIDEST * token_budget
            elif fixed:
                full = size > token_budget or size - tokens > fixed
            else:
                full = size > token_budget or (size > _PADDED * tokens and size > token_budget // _SMALLEST)
            if stop > start and (full or level[stop] != level[start]):
                break
            stop += 1
        yield order[start:stop]
        start = stop


def _bands(
    lengths: Int[np.ndarray, " texts"], depth: Int[np.ndarray, " texts"], fixed: int, token_budget: int, padded: bool
) -> Int[np.ndarray, " depths"]:
    """For each depth up to the deepest, the depth that its texts are read to: bands of the least cost.

    The cost of a band, in tokens through a layer: its layers times its tokens, the padding of k batches and k fixed
    costs. Texts of one width padded to the longest have `padding` tokens more; cut into k batches by length they have a
    k-th of that, so the best k is the root of padding / fixed.
    """
    layers = np.unique(depth)
    cost = np.full(len(layers) + 1, np.inf)
    cost[0] = 0.0
    first = np.zeros(len(layers) + 1, dtype=np.int64)  # of the band that ends before a number
    for stop in range(1, len(layers) + 1):
        for start in range(stop):
            inside = lengths[(depth >= layers[start]) & (depth <= layers[stop - 1])]
            tokens = inside.sum()
            padding = inside.max() * len(inside) - tokens if padded else 0
            forwards = max(1.0, tokens / token_budget, np.sqrt(padding / fixed))
            band = (layers[stop - 1] + 1) * (tokens + padding / forwards + forwards * fixed)
            if cost[start] + band < cost[stop]:
                cost[stop], first[stop] = cost[start] + band, start
    read_to = np.zeros(int(layers[-1]) + 1, dtype=np.int64)
    stop = len(layers)
    while stop:
        read_to[layers[first[stop]] : layers[stop - 1] + 1] = layers[stop - 1]
        stop = first[stop]
    return read_to
