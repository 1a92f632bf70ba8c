"""Documents in two languages, as real corpora have them: the same facts in both, some names left in the other.

They are what makes a model share features across languages: a name of one language stands where another's does, and
what was said in one language foretells what comes in the other.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import pyarrow as pa

from isogloss.sources.world.corpus import by_topic
from isogloss.sources.world.facts import Fact, Telling

BILINGUAL_SCHEMA = pa.schema(
    {
        "document": pa.string(),  # "en+hi/12"
        "facts": pa.list_(pa.string()),
        "languages": pa.list_(pa.string()),  # of each statement
        "statements": pa.list_(pa.string()),  # the document is these, a space between two
    }
)
LONGEST = 3  # facts in a document, each stated twice


def bilingual_documents(
    facts: Sequence[Fact],
    tellings: Mapping[str, Telling],
    wordings: Mapping[str, int],
    *,
    repeats: int,
    switched: float,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """The documents of every pair of the languages of `tellings`, in which each fact comes up `repeats` times.

    Facts about one subject stand together. A fact is stated in one language and then in the other, in wordings that
    are drawn; which language begins is drawn for each document. With the chance `switched` the subject's name in a
    statement is that of the other language. Only facts that are taught in all languages come up. Each pair
    draws by itself, from `seed` and its languages: other languages of the world change no draw of it.
    """
    taught = [fact for fact in facts if fact.taught == "all"]
    for pair in combinations(tellings, 2):
        rng = random.Random(f"{seed}/bilingual/{'+'.join(pair)}")
        number = 0
        for _ in range(repeats):
            left = by_topic(taught, by_subject=True, rng=rng)
            while left:
                size = rng.randint(1, LONGEST)
                order = rng.sample(pair, 2)
                stated = [
                    (lang, _statement(fact, tellings[lang], tellings[other], wordings[fact.relation], switched, rng))
                    for fact in left[:size]
                    for lang, other in (order, order[::-1])
                ]
                yield {
                    "document": f"{'+'.join(pair)}/{number}",
                    "facts": [fact.fact for fact in left[:size]],
                    "languages": [lang for lang, _ in stated],
                    "statements": [statement for _, statement in stated],
                }
                del left[:size]
                number += 1


def _statement(fact: Fact, own: Telling, other: Telling, wordings: int, switched: float, rng: random.Random) -> str:
    subject_in = other if rng.random() < switched else own
    return own.statement(fact, rng.randrange(wordings), subject_in=subject_in)
