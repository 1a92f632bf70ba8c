"""The planted truth: toy models trained once a seed, their shares dealt anew, and the measure that leads the report."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from isogloss.config.base import Section, distinct
from isogloss.config.model import Analysis

Seed = Annotated[int, Field(ge=0, lt=2**32)]
BLOCK = 3  # seeds in a row over which every language has one of the larger, of the middle and of the smaller shares


class Planted(Section):
    """Several seeds of each toy model: which measures find the shares that were planted?"""

    seeds: list[Seed] = Field(
        default=[],
        description="each toy model is trained once a seed, as NAME-SEED, and the languages but the reference"
        " exchange their shares by the seed; none: each model once, as it stands",
    )
    once: list[Analysis] = Field(
        default=[], description="analyses that the models of the first seed alone run, of those that they name"
    )

    @field_validator("seeds")
    @classmethod
    def _once(cls, seeds: list[int]) -> list[int]:
        distinct([str(seed) for seed in seeds])
        return seeds

    @model_validator(mode="after")
    def _repeated(self) -> Self:
        if self.once and not self.seeds:
            raise ValueError("once: of seeds, and there are none; give planted.seeds, or leave it out")
        return self


class Report(Section):
    """What the report puts first."""

    headline: Literal[
        "language_gap_summary.mean_gap_pct",
        "activation_controls.gap_equal_tokens_pct",
        "reciprocal_gap.gap_from_reference_pct",
        "reciprocal_gap.gap_from_lang_pct",
        "reciprocal_gap.symmetric_gap_pct",
        "reciprocal_gap.firing_from_reference",
        "reciprocal_gap.code_retrieval",
        "reciprocal_gap.code_centred",
        "similarity.cosine",
        "similarity.centred",
        "similarity.retrieval",
        "similarity.retrieval_reverse",
        "language_gap.mean_activation",
    ] = Field(
        default="similarity.retrieval",
        description="measure that leads the report, table and column: one that finds what was planted"
        " (table planted_truth), and nothing where nothing was",
    )


def dealt(shares: Mapping[str, float], reference: str, seed: int) -> dict[str, float]:
    """The shares, by language, with those of all languages but the reference dealt anew by `seed`.

    The same shares each time. Seeds 3k to 3k + 2 are a block: an order of the languages is drawn for it, the shares
    stand from the largest to the smallest, and from one seed to the next every language moves on by a third of them.
    So over a block a language has one of the larger, one of the middle and one of the smaller shares, whatever its
    script.
    """
    order = sorted(set(shares) - {reference})
    random.Random(f"{seed // BLOCK}/shares").shuffle(order)
    sizes = sorted((shares[code] for code in order), reverse=True)
    step = round(seed % BLOCK * len(order) / BLOCK)
    new = {code: sizes[(rank + step) % len(order)] for rank, code in enumerate(order)}
    return {code: new.get(code, share) for code, share in shares.items()}


def equal(shares: Mapping[str, float]) -> bool:
    """Whether all languages have the same share, so that nothing is planted."""
    return max(shares.values()) - min(shares.values()) < 1e-9


def sown(config: dict[str, Any]) -> list[str]:
    """Put each toy model of a plain study once a seed of `planted.seeds` in place of the model; returns the mistakes.

    `planted.seeds` is then empty: what comes out is a study as if it had been written so. What is wrong with a section
    itself is left to the validation of the whole study.
    """
    try:
        planted = Planted.model_validate(config.get("planted", {}))
    except ValidationError:
        return []
    seeds, models, languages = planted.seeds, config.get("models"), config.get("languages")
    if not seeds or not isinstance(models, dict):
        return []
    toys = {name: model for name, model in models.items() if isinstance(model, dict) and "shares" in model}
    if mistakes := list(_mistakes(toys, models, seeds)):
        return mistakes
    reference = languages.get("reference", "en") if isinstance(languages, dict) else "en"
    new: dict[str, Any] = {name: model for name, model in models.items() if name not in toys}
    for seed in seeds:
        for name, model in toys.items():
            shares = dealt(model["shares"], reference, seed) if _numeric(model["shares"]) else model["shares"]
            title = f"{model.get('title', name)}, seed {seed}"
            new[f"{name}-{seed}"] = {**model, "title": title, "seed": seed, "shares": shares}
            if seed != seeds[0] and isinstance(model.get("analyses"), list):
                new[f"{name}-{seed}"]["analyses"] = [one for one in model["analyses"] if one not in planted.once]
    config["models"], config["planted"] = new, {}
    return []


def _mistakes(toys: Mapping[str, Any], models: Mapping[str, Any], seeds: Sequence[int]) -> Iterator[str]:
    shares = [model["shares"] for model in toys.values() if _numeric(model["shares"])]
    if not any(map(equal, shares)) or all(map(equal, shares)):
        yield (
            "planted.seeds: compares a toy model whose shares are planted with one of equal shares; give one of each in"
            " models, or leave planted out"
        )
    for name, model in toys.items():
        if "seed" in model:
            yield f"models.{name}.seed: planted.seeds gives this model its seeds; leave one of the two out"
        for seed in seeds:
            if f"{name}-{seed}" in models:
                yield f"models.{name}-{seed}: planted.seeds makes a model of this name of models.{name}; choose another"


def _numeric(shares: Any) -> bool:
    """Whether shares are numbers by language, so that they can be dealt."""
    return isinstance(shares, dict) and bool(shares) and all(isinstance(one, float | int) for one in shares.values())
