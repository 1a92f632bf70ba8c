"""Translation by few-shot prompts between the reference and the other languages, and its scores."""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from isogloss.errors import IsoglossError
from isogloss.languages import language_table

logger = logging.getLogger(__name__)

UNSPACED = ("zh", "ja", "th", "lo", "km", "my")  # BLEU counts characters here: words have no spaces between them


class Task(NamedTuple):
    """Sentences to translate from one language into another."""

    source: str  # language codes
    target: str
    segments: list[str]  # ids
    texts: list[str]
    references: list[str]
    prompts: list[str]


def translation_tasks(
    segments: Mapping[str, str], languages: Sequence[str], *, shots: int, sentences: int, seed: int
) -> list[Task]:
    """From the first of `languages` into each other and back: both ways of paper C's Table 1.

    `segments` are tables of parallel segments by language. Of the ids that all languages have, drawn by
    the seed, the first `shots` are examples in the prompts and the next `sentences`, or as many as there
    are, are translated; they are the same in every direction. White space within a text becomes one
    space, since a line break ends a translation. Raises `IsoglossError` if there are too few segments.
    """
    from isogloss.text.segments import read_segments

    texts = {lang: _readable(read_segments(segments[lang])) for lang in languages if lang in segments}
    if lacking := [lang for lang in languages if lang not in texts]:
        raise IsoglossError(f"language {lacking[0]}: no parallel segments to translate; add its table")
    common = sorted(set.intersection(*(set(its) for its in texts.values())))
    if len(common) <= shots:
        raise IsoglossError(
            f"{segments[languages[0]]}: only {len(common)} segments are in all of {', '.join(languages)}, and {shots}"
            " of them are examples; give more, or lower bilingual.intervention.translations.shots"
        )
    order = np.random.default_rng([seed, *b"translations"]).permutation(len(common))[: shots + sentences]
    examples, tested = ([common[place] for place in part] for part in (order[:shots], order[shots:]))
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
            [_prompt(texts, source, target, examples, name) for name in tested],
        )
        for source, target in pairs
    ]


def _readable(texts: Mapping[str, str | None]) -> dict[str, str]:
    return {name: flat for name, text in texts.items() if (flat := " ".join((text or "").split()))}


def _prompt(
    texts: Mapping[str, Mapping[str, str]], source: str, target: str, examples: Sequence[str], tested: str
) -> str:
    """Pairs of lines `English: …`, `Japanese: …`, an empty line between them, the last one open."""
    names = {lang: language_table()[lang].name for lang in (source, target)}
    pairs = [f"{names[source]}: {texts[source][name]}\n{names[target]}: {texts[target][name]}\n\n" for name in examples]
    return "".join(pairs) + f"{names[source]}: {texts[source][tested]}\n{names[target]}:"


class TranslationScore(NamedTuple):
    """Corpus scores, 0 to 100."""

    chrf: float
    bleu: float


def score_translations(hypotheses: Sequence[str], references: Sequence[str], target: str) -> TranslationScore:
    """chrF (character 6-grams) and BLEU by sacrebleu.

    BLEU's tokens are characters (`char`) where words have no spaces between them, since Japanese's own
    tokenizer (`ja-mecab`) needs packages of its own, and those of `13a` otherwise: compare it within a
    language only.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    bleu = BLEU(tokenize="char" if target in UNSPACED else "13a")
    return TranslationScore(
        CHRF().corpus_score(hypotheses, [references]).score, bleu.corpus_score(hypotheses, [references]).score
    )
