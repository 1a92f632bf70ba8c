"""How near translations are to references: chrF and BLEU by sacrebleu."""

from collections.abc import Sequence
from typing import NamedTuple

# BLEU counts characters in these languages, in all their regions: words have no spaces between them.
UNSPACED = ("zh", "yue", "wuu", "nan", "hak", "ja", "th", "lo", "km", "my", "shn")


class TranslationScore(NamedTuple):
    """Corpus scores, 0 to 100."""

    chrf: float
    bleu: float


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Corpus chrF (character 6-grams), 0 to 100."""
    from sacrebleu.metrics.chrf import CHRF

    return CHRF().corpus_score(hypotheses, [references]).score


def score_translations(hypotheses: Sequence[str], references: Sequence[str], target: str) -> TranslationScore:
    """chrF and BLEU of translations into `target`.

    BLEU's tokens are characters (`char`) where words have no spaces between them, since Japanese's own
    tokenizer (`ja-mecab`) needs packages of its own, and those of `13a` otherwise: compare it within a
    language only.
    """
    from sacrebleu.metrics.bleu import BLEU

    unspaced = target.partition("-")[0] in UNSPACED and "Latn" not in target
    bleu = BLEU(tokenize="char" if unspaced else "13a")
    return TranslationScore(chrf(hypotheses, references), bleu.corpus_score(hypotheses, [references]).score)
