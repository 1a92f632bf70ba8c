"""Input embeddings, and what cosine of two tokens is more than chance in them (paper C, sec. 3.4)."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from isogloss.errors import IsoglossError
from isogloss.models.architecture import LAYOUTS

_PAIRS = 200_000  # random pairs whose cosines are taken
_HELD = 10_000  # of them at once


class TokenSpace(NamedTuple):
    """An embedding, which cosines count as similar in it, and the same embedding with its rows exchanged."""

    embeddings: Float[Tensor, "vocabulary d_model"]
    similarity: float  # the paper's threshold
    calibrated: float  # the quantile of the cosines of random pairs; NaN for fewer than two tokens
    random_above: float  # share of random pairs above the paper's threshold; NaN as well
    n_tokens: int  # distinct tokens that the pairs are drawn from
    permutations: Int[np.ndarray, "permutations vocabulary"]  # whose row each token has instead of its own

    def notes(self) -> dict[str, float | int | None]:
        """What a table's metadata say of it; null where it is not defined."""
        values = (self.similarity, self.calibrated, self.random_above, self.n_tokens)
        names = ("similarity", "similarity_calibrated", "random_pairs_above_similarity", "distinct_tokens")
        return {name: None if value != value else value for name, value in zip(names, values, strict=True)}


def token_space(
    embeddings: Float[Tensor, "vocabulary d_model"],
    seen: Bool[np.ndarray, " vocabulary"],
    *,
    similarity: float,
    quantile: float,
    permutations: int,
    seed: int,
) -> TokenSpace:
    """What chance is among the tokens `seen` of the text that features are described on.

    `calibrated` is the `quantile` of the cosines of 200,000 random pairs of different tokens. Each permutation
    exchanges the rows of the tokens seen among themselves: those never seen have other norms and directions (most of
    a small model's vocabulary lies in one), so to draw them in would be another embedding, not the same without its
    meaning. A function of its arguments alone.
    """
    tokens = np.flatnonzero(seen)
    cosines = _random_cosines(embeddings, tokens, np.random.default_rng([seed, *b"pairs"]))
    rows = np.tile(np.arange(len(seen)), (permutations, 1))
    for number, row in enumerate(rows):
        row[tokens] = np.random.default_rng([seed, number, *b"permutation"]).permutation(tokens)
    none = float("nan")
    return TokenSpace(
        embeddings,
        similarity,
        float(np.quantile(cosines, quantile)) if len(cosines) else none,
        float((cosines > similarity).mean()) if len(cosines) else none,
        len(tokens),
        rows,
    )


def _random_cosines(
    embeddings: Float[Tensor, "vocabulary d_model"], tokens: Int[np.ndarray, " tokens"], rng: np.random.Generator
) -> Float[np.ndarray, " pairs"]:
    """Cosines of random pairs of different tokens, none for fewer than two."""
    if len(tokens) < 2:
        return np.zeros(0)
    one = rng.integers(len(tokens), size=_PAIRS)
    other = (one + rng.integers(1, len(tokens), size=_PAIRS)) % len(tokens)
    parts = []
    for start in range(0, _PAIRS, _HELD):
        sides = (embeddings[torch.from_numpy(tokens[side[start : start + _HELD]])].float() for side in (one, other))
        parts.append(torch.nn.functional.cosine_similarity(*sides, dim=1).numpy())
    return np.concatenate(parts)


def input_embeddings(folder: str | Path) -> Float[Tensor, "vocabulary d_model"]:
    """The input embedding of the model in `folder`, in the dtype of its file; nothing else of it is read.

    Raises `IsoglossError` if its safetensors files hold none where a known architecture keeps it.
    """
    folder = Path(folder)
    index = folder / "model.safetensors.index.json"
    files = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    names = tuple(f"{embedding}.weight" for _, _, embedding in LAYOUTS)
    for file in sorted(files):
        if not (folder / file).is_file():
            raise IsoglossError(f"{folder}: no {file} there, so no embeddings to cluster tokens by; fetch the model")
        try:
            with safe_open(folder / file, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118
                    if name.endswith(names):
                        return weights.get_tensor(name)
        except SafetensorError as error:
            raise IsoglossError(f"{folder / file}: damaged ({error}); fetch the model again") from None
    raise IsoglossError(f"{folder}: no input embedding in its safetensors files ({', '.join(names)} is looked for)")
