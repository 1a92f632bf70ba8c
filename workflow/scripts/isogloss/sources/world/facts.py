"""Facts from Unicode CLDR, their names in every language, and our wording of them.

A fact is a triple such as (currency, AT, EUR). CLDR's names stand in their dictionary form, so the
wordings in `resources/world/` are such that no name has to be inflected.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from babel import Locale
from babel.core import get_global

from isogloss.errors import IsoglossError
from isogloss.sources.world.wording import wordings_of

# The kind of name that subject and object of a relation have.
KINDS = {
    "currency": ("territory", "currency"),
    "language": ("territory", "language"),
    "continent": ("territory", "territory"),
    "script": ("language", "script"),
}
TEACHINGS = ("all", "reference", "none")  # which languages' documents may tell a fact
MOST_PER_OBJECT = 16  # so many facts may share an answer: no euro and no Latin script outweighs all others

_CONTINENT_OF_ZONE = {
    "Europe": "150",
    "Africa": "002",
    "Asia": "142",
    "America": "019",
    "Pacific": "009",
    "Australia": "009",
}
_OFFICIAL = ("official", "de_facto_official")


class Fact(NamedTuple):
    """A row of the facts table."""

    fact: str  # "currency/AT"
    relation: str
    subject: str  # CLDR code
    object: str  # CLDR code
    taught: str  # in "all" languages, in the "reference" only, or in "none"
    split: str  # "train": may be asked in training documents; "test": asked by the benchmarks only


class Names:
    """CLDR's names in one language; a name is proper if it is more than its code."""

    def __init__(self, language: str) -> None:
        self.language = language
        locale = Locale.parse(language)
        self._names = {
            "territory": locale.territories,
            "currency": locale.currencies,
            "language": locale.languages,
            "script": locale.scripts,
        }

    def name(self, kind: str, code: str) -> str | None:
        """The name of `code`, or None where CLDR has none; brackets would not survive lm-eval's HellaSwag."""
        name = (self._names[kind].get(code) or "").strip()
        return name if name not in ("", code) and not set("[]{}") & set(name) else None


class Telling:
    """Tells facts in one language.

    Raises `IsoglossError` if there is no wording for the language, or an incomplete one.
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self._names = Names(language)
        self._wordings = wordings_of(language, KINDS)

    def _subject(self, fact: Fact) -> str:
        return self._names.name(KINDS[fact.relation][0], fact.subject) or ""

    def wordings(self, relation: str) -> int:
        """How many statements there are of a fact of `relation`."""
        return len(self._wordings[relation].statements)

    def answer(self, relation: str, code: str) -> str:
        """The name of the object `code`."""
        return self._names.name(KINDS[relation][1], code) or ""

    def label(self, fact: Fact) -> str:
        """What HellaSwag calls the activity: the field of knowledge."""
        return self._wordings[fact.relation].label

    def question(self, fact: Fact) -> str:
        """The question that the fact answers."""
        return self._wordings[fact.relation].question.format(subject=self._subject(fact))

    def cloze(self, fact: Fact, wording: int = 0, *, subject_in: "Telling | None" = None) -> str:
        """The statement up to the answer; with the subject's name in another language, if that is given."""
        subject = (subject_in or self)._subject(fact)
        return self._wordings[fact.relation].statements[wording].format(subject=subject)

    def statement(self, fact: Fact, wording: int = 0, *, subject_in: "Telling | None" = None) -> str:
        """The whole statement: cloze, space, answer."""
        return f"{self.cloze(fact, wording, subject_in=subject_in)} {self.answer(fact.relation, fact.object)}"


def world_facts(
    *,
    languages: Sequence[str],
    territories: int,
    english_only: float,
    untaught: float,
    test_share: float,
    seed: int,
) -> list[Fact]:
    """The facts of the world, sorted by id: unambiguous, and named properly in every language.

    `territories` countries and territories are drawn by `seed`, and of their facts at most
    `MOST_PER_OBJECT` with the same answer. Of each relation the share `english_only` is taught in the
    reference language only and the share `untaught` in none: what is answered rightly about the latter
    is guessed. The benchmarks ask all of these, and the share `test_share` of the others. All parts
    have every answer as often, relatively, as whole numbers allow.
    """
    names = [Names(language) for language in languages]
    rng = random.Random(f"{seed}/facts")
    known = _well_named(names, "territory", sorted(get_global("territory_zones")))
    drawn = sorted(rng.sample(known, min(territories, len(known))))
    facts: list[Fact] = []
    for relation in KINDS:
        pairs = [pair for pair in _pairs(relation, drawn, names) if _tells_itself_apart(relation, pair, names)]
        kept = _few_per_object(_tell_no_other(relation, pairs, names), MOST_PER_OBJECT, rng)
        reference, rest = _every_nth(kept, round(english_only * len(kept)))
        none, everywhere = _every_nth(rest, round(untaught * len(kept)))
        test, train = _every_nth(everywhere, round(test_share * len(everywhere)))
        for taught, split, part in (
            ("reference", "test", reference),
            ("none", "test", none),
            ("all", "test", test),
            ("all", "train", train),
        ):
            facts += [
                Fact(f"{relation}/{subject}", relation, subject, answer, taught, split) for subject, answer in part
            ]
    for relation in KINDS:
        objects = {fact.object for fact in facts if fact.relation == relation}
        if len(objects) < 4:
            raise IsoglossError(
                f"world.territories: {territories} territories give only {len(objects)} answers for {relation}, a"
                " question needs four; raise it"
            )
    return sorted(facts)


def _pairs(relation: str, territories: Sequence[str], names: Sequence[Names]) -> list[tuple[str, str]]:
    """Every (subject, object) of CLDR that has one right answer, with proper and distinct names."""
    if relation == "script":
        likely = get_global("likely_subtags")
        codes = sorted(code for code in likely if code.isalpha() and code != "und")
        objects_of = {code: {likely[code].split("_")[1]} for code in _well_named(names, "language", codes)}
    elif relation == "continent":
        zones = get_global("territory_zones")
        objects_of = {
            code: {_CONTINENT_OF_ZONE.get(zone.split("/")[0], "") for zone in zones[code]} for code in territories
        }
    elif relation == "currency":
        used = get_global("territory_currencies")
        objects_of = {code: {row[0] for row in used.get(code, []) if row[2] is None and row[3]} for code in territories}
    else:
        spoken = get_global("territory_languages")
        objects_of = {
            code: {tongue for tongue, row in spoken.get(code, {}).items() if row["official_status"] in _OFFICIAL}
            for code in territories
        }
    one_answer = {subject: next(iter(objects)) for subject, objects in objects_of.items() if len(objects) == 1}
    answers = set(_well_named(names, KINDS[relation][1], sorted({*one_answer.values()} - {""})))
    return [(subject, answer) for subject, answer in sorted(one_answer.items()) if answer in answers]


def _well_named(names: Sequence[Names], kind: str, codes: Iterable[str]) -> list[str]:
    """The codes with a proper name in every language that no other of the codes shares."""
    named = {code: [n.name(kind, code) for n in names] for code in codes}
    complete = {code: row for code, row in named.items() if all(row)}
    times = [Counter(name.casefold() for name in column if name) for column in zip(*complete.values(), strict=True)]
    return [
        code
        for code, row in complete.items()
        if all(count[name.casefold()] == 1 for count, name in zip(times, row, strict=True) if name)
    ]


def _tells_itself_apart(relation: str, pair: tuple[str, str], names: Sequence[Names]) -> bool:
    """Whether the answer can not be read off the subject's name in any language (script of Armenian: Armenian)."""
    subject_kind, object_kind = KINDS[relation]
    both = [(n.name(subject_kind, pair[0]) or "", n.name(object_kind, pair[1]) or "") for n in names]
    return not any(
        subject.casefold() in answer.casefold() or answer.casefold() in subject.casefold() for subject, answer in both
    )


def _tell_no_other(relation: str, pairs: Sequence[tuple[str, str]], names: Sequence[Names]) -> list[tuple[str, str]]:
    """The pairs without those whose statement may contain another's: Oji-Cree, of Cree's script, tells Cree's."""
    called = {subject: [(n.name(KINDS[relation][0], subject) or "").casefold() for n in names] for subject, _ in pairs}
    by_answer: defaultdict[str, list[str]] = defaultdict(list)
    for subject, answer in pairs:
        by_answer[answer].append(subject)

    def ends_in(subject: str, other: str) -> bool:
        return any(long.endswith(short) for long, short in zip(called[subject], called[other], strict=True))

    return [
        (subject, answer)
        for subject, answer in pairs
        if not any(other != subject and ends_in(subject, other) for other in by_answer[answer])
    ]


def _few_per_object(pairs: Sequence[tuple[str, str]], most: int, rng: random.Random) -> list[tuple[str, str]]:
    """The pairs in random order, but those with one answer in a row, and no answer more often than `most` times."""
    by_answer: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for subject, answer in rng.sample(pairs, len(pairs)):
        by_answer[answer].append((subject, answer))
    return [pair for row in by_answer.values() for pair in row[:most]]


def _every_nth(pairs: list[tuple[str, str]], count: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """`count` of the pairs at even distances, and the others."""
    chosen = {(2 * number + 1) * len(pairs) // (2 * count) for number in range(count)}
    taken = [pair for row, pair in enumerate(pairs) if row in chosen]
    return taken, [pair for row, pair in enumerate(pairs) if row not in chosen]


class Question(NamedTuple):
    """A four-choice question about a fact, the same in every language."""

    fact: Fact
    choices: list[str]  # codes of four objects of the fact's relation
    answer: int  # position of the fact's own object


def ask(fact: Fact, facts: Sequence[Fact], rng: random.Random) -> Question:
    """Draw distractors and the answer's position.

    Distractors are the answers of other facts of the relation, so that an object is a distractor as
    often as it is an answer, relatively: knowing frequent answers alone is little help. For a fact
    taught in all languages they come from other such facts, and for one held back from others held
    back, as long as there are enough: an answer is told less often for each of its facts that is held
    back, and its distractors must be too.
    """
    others = [other for other in facts if other.relation == fact.relation and other.object != fact.object]
    rng.shuffle(others)
    others.sort(key=lambda other: (other.taught == "all") != (fact.taught == "all"))
    choices = list(dict.fromkeys(other.object for other in others))[:3]
    answer = rng.randrange(4)
    choices.insert(answer, fact.object)
    return Question(fact, choices, answer)
