"""Which features two SAEs share: decoder rows that are each other's nearest."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

MATCHED = 0.7
"""The cosine above which rows that are each other's nearest are one feature."""

_LARGEST = 2**24  # cosines held at once


def nearest(
    rows: Float[Tensor, "features d_model"], others: Float[Tensor, "others d_model"]
) -> tuple[Float[Tensor, " features"], Int[Tensor, " features"]]:
    """Of each row the largest cosine with a row of `others`, and which it is (the first of equals); 0 of a zero row."""
    rows, others = functional.normalize(rows, dim=1), functional.normalize(others, dim=1)
    parts = [(part @ others.T).max(dim=1) for part in rows.split(max(1, _LARGEST // len(others)))]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def matched(
    cosines: Float[Tensor, " features"], there: Int[Tensor, " features"], back: Int[Tensor, " others"]
) -> Bool[Tensor, " features"]:
    """Which rows are the nearest of their own nearest, with a cosine above `MATCHED` (strictly).

    `cosines` and `there` are `nearest` of the rows, `back` are the nearest rows of the others.
    """
    return (back[there] == torch.arange(len(there))) & (cosines > MATCHED)
