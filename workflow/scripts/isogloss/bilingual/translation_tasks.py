"""Translation by few-shot prompts between the reference and the other languages."""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from isogloss.errors import IsoglossError

logger = logging.getLogger(__name__)


class Task(NamedTuple):
    """Sentences to translate from one language into another."""

    source: str  # language codes
    target: str
    segments: list[str]  # ids
    texts: list[str]
    references: list[str]
    prompts: list[str]


def translation_tasks(
    segments: Mapping[str, str], names: Mapping[str, str], *, shots: int, sentences: int, seed: int
) -> list[Task]:
    """From the first of the languages into each other and back: both ways of paper C's Table 1.

    `segments` are tables of parallel segments by language, `names` what the prompts call each language. Of the
    ids that all languages have, drawn by the seed, the first `shots` are examples in the prompts and the next
    `sentences`, or as many as there are, are translated; they are the same in every direction. White space within a
    text becomes one space, since a line break ends a translation. Raises `IsoglossError` if there are too few segments.
    """
    from isogloss.text.segments import read_segments

    languages = list(names)
    texts = {lang: _readable(read_segments(segments[lang])) for lang in languages if lang in segments}
    if lacking := [lang for lang in languages if lang not in texts]:
        raise IsoglossError(f"language {lacking[0]}: no parallel segments to translate; add its table")
    common = sorted(set.intersection(*(set(of_language) for of_language in texts.values())))
    if len(common) <= shots:
        raise IsoglossError(
            f"{segments[languages[0]]}: only {len(common)} segments are in all of {', '.join(languages)}, and {shots}"
            " of them are examples; give more, or lower bilingual.intervention.translations.shots"
        )
    order = np.random.default_rng([seed, *b"translations"]).permutation(len(common))[: shots + sentences]
    examples, tested = ([common[number] for number in part] for part in (order[:shots], order[shots:]))
    if len(tested) < sentences:
        logger.info("only %d sentences to translate, %d were asked for", len(tested), sentences)
    first, *others = languages
    pairs = [pair for other in others for pair in ((first, other), (other, first))]
    return [
        Task(
            source,
            target,
            tested,
            [texts[source][name] for name in tested],
            [texts[target][name] for name in tested],
            [_prompt(texts, names, source, target, examples, name) for name in tested],
        )
        for source, target in pairs
    ]


def _readable(texts: Mapping[str, str | None]) -> dict[str, str]:
    return {name: flat for name, text in texts.items() if (flat := " ".join((text or "").split()))}


def _prompt(
    texts: Mapping[str, Mapping[str, str]],
    names: Mapping[str, str],
    source: str,
    target: str,
    examples: Sequence[str],
    tested: str,
) -> str:
    """Pairs of lines `English: …`, `Japanese: …`, an empty line between them, the last one open."""
    pairs = [f"{names[source]}: {texts[source][name]}\n{names[target]}: {texts[target][name]}\n\n" for name in examples]
    return "".join(pairs) + f"{names[source]}: {texts[source][tested]}\n{names[target]}:"
