"""How the SAEs of a model are trained, and where their decoder bias starts."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from isogloss.errors import IsoglossError


class Recipe(NamedTuple):
    """How the SAEs of a model are trained; the fields are those of the config's `models.NAME.sae`."""

    features: int
    k: int
    tokens: int
    batch_tokens: int
    buffer_tokens: int
    learning_rate: float
    warmup_steps: int
    held_out_tokens: int
    kind: str = "topk"


def checked_recipe(recipe: Mapping[str, Any], learning_rates: str | None = None) -> Recipe:
    """`recipe` with the chosen rate of the table `learning_rates`, if there is one.

    Raises `IsoglossError` for a buffer smaller than a batch and a k above the number of features.
    """
    settings = Recipe(**recipe)
    if settings.buffer_tokens < settings.batch_tokens:
        raise IsoglossError(
            f"sae.buffer_tokens {settings.buffer_tokens} is smaller than a batch (sae.batch_tokens"
            f" {settings.batch_tokens}); enlarge the buffer"
        )
    if settings.k > settings.features:
        raise IsoglossError(f"sae.k {settings.k} is more than sae.features {settings.features}; lower it")
    if learning_rates is None:
        return settings
    from isogloss.tables import read_table

    table = read_table(learning_rates)
    chosen = table.filter(table["chosen"])["learning_rate"].to_list()
    if len(chosen) != 1:
        raise IsoglossError(f"{learning_rates}: {len(chosen)} rates are chosen, not one; search them again")
    return settings._replace(learning_rate=chosen[0])


def geometric_median(
    points: Float[Tensor, "n d_model"], *, iterations: int = 100, tolerance: float = 1e-5
) -> Float[Tensor, " d_model"]:
    """The point with the least summed distance to `points`, by Weiszfeld's iteration."""
    median = points.mean(dim=0)
    for _ in range(iterations):
        weight = 1 / (points - median).norm(dim=1).clamp_min(1e-12)
        before, median = median, (points * weight[:, None]).sum(dim=0) / weight.sum()
        if (median - before).norm() < tolerance * before.norm():
            break
    return median
