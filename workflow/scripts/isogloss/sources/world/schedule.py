"""Which documents a toy model is trained on, step by step, so that languages have their shares of the tokens."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

POOL = 32  # batches' worth of documents that are sorted by length together

Lengths = Mapping[str, Sequence[Mapping[str, int]]]
"""The tokens of each document by language, by source: a language, or two as `pair_name` has them."""


class Draw(NamedTuple):
    """One use of one document."""

    source: str
    row: int


def pair_name(languages: Sequence[str]) -> str:
    """What the documents in two languages are called, in whatever order these are given: "en+hi"."""
    return "+".join(sorted(set(languages)))


def plan_training(
    lengths: Lengths, shares: Mapping[str, float], *, bilingual: float, tokens: int, batch_tokens: int, seed: int
) -> list[list[Draw]]:
    """The documents of each step, `tokens` tokens in all, of which the languages have the shares `shares`.

    The next document is always one with the language that is furthest behind its share: one in two languages until
    these have the share `bilingual` of the tokens, the other language drawn by the shares, else one in this language
    alone. The documents of a source come in random order, again and again. Documents of like length share a batch of
    at most `batch_tokens` tokens, padding included.
    """
    rng, partners = random.Random(f"{seed}/training"), random.Random(f"{seed}/training/partners")
    decks = {
        source: _endless(len(rows), random.Random(f"{seed}/training/{source}")) for source, rows in lengths.items()
    }
    others = {language: [code for code in shares if code != language] for language in shares}
    drawn = dict.fromkeys(shares, 0)
    pool: list[Draw] = []
    steps: list[list[Draw]] = []
    total = pooled = in_pairs = 0
    while total < tokens:
        source = language = max(shares, key=lambda code: shares[code] * total - drawn[code])
        paired = in_pairs < bilingual * total
        if paired:
            weights = [shares[code] for code in others[language]]
            source = pair_name([language, *partners.choices(others[language], weights)])
        draw = Draw(source, next(decks[source]))
        for code, count in lengths[source][draw.row].items():
            drawn[code] += count
        length = length_of(lengths, draw)
        total += length
        in_pairs += length * paired
        pooled += length
        pool.append(draw)
        if pooled >= POOL * batch_tokens or total >= tokens:
            batches = list(_bucketed(pool, lengths, batch_tokens))
            steps += rng.sample(batches, len(batches))
            pool, pooled = [], 0
    return steps


def length_of(lengths: Lengths, draw: Draw) -> int:
    """The tokens of a drawn document."""
    return sum(lengths[draw.source][draw.row].values())


def _endless(rows: int, rng: random.Random) -> Iterator[int]:
    while True:
        yield from rng.sample(range(rows), rows)


def _bucketed(pool: Sequence[Draw], lengths: Lengths, batch_tokens: int) -> Iterator[list[Draw]]:
    batch: list[Draw] = []
    for draw in sorted(pool, key=lambda draw: (length_of(lengths, draw), draw)):
        if batch and length_of(lengths, draw) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(draw)
    yield batch
