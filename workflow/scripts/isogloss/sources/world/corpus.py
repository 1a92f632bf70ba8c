"""Training documents: statements of facts, and questions in the very form of lm-eval's few-shot prompts.

A document that only the reference language has names no segments: it has no parallel to compare with.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import NamedTuple

import pyarrow as pa

from isogloss.errors import IsoglossError
from isogloss.sources.world.facts import Fact, Question, Telling, ask
from isogloss.tables import iter_table

DOCUMENT_SCHEMA = pa.schema(
    {
        "document": pa.string(),
        "kind": pa.string(),
        "facts": pa.list_(pa.string()),
        "segments": pa.list_(pa.string()),
        "text": pa.string(),
    }
)
LETTERS = "ABCD"
LONGEST = 4  # facts or questions in a document


class Item(NamedTuple):
    """A fact's place in a document: told in one of its wordings, or asked."""

    fact: Fact
    wording: int
    question: Question | None


class Document(NamedTuple):
    """A document before it is told in a language; the same in all of them."""

    document: str
    kind: str  # "statement", "arc", "hellaswag" or "mmlu"
    items: list[Item]


def plan_documents(
    facts: Sequence[Fact], repeats: Mapping[str, int], wordings: Mapping[str, int], seed: int
) -> list[Document]:
    """The documents of every language: each fact comes up `repeats[kind]` times in documents of that kind.

    Statements tell every taught fact in its wordings by turns, facts about one subject or with one
    answer together; no document mixes facts taught everywhere with facts taught in the reference only.
    Questions are made from facts of the split "train" only, which are taught everywhere, each time
    with other distractors, so that what the benchmarks ask is taught by statements alone. Facts taught
    in no language are in no document. `wordings` counts the wordings of each relation.
    """
    by_teaching = [[fact for fact in facts if fact.taught == taught] for taught in ("all", "reference")]
    questioned = [fact for fact in facts if fact.split == "train"]
    documents = []
    for kind, times in repeats.items():
        rng = random.Random(f"{seed}/documents/{kind}")
        numbers = count()
        for turn in range(times):
            if kind == "statement":
                parts = [by_topic(part, by_subject=turn // 2 % 2 == 0, rng=rng) for part in by_teaching]
            else:
                parts = [rng.sample(questioned, len(questioned))]
            for part in parts:
                items = [
                    Item(fact, turn % wordings[fact.relation], ask(fact, facts, rng) if kind == "mmlu" else None)
                    for fact in part
                ]
                while items:
                    size = rng.randint(1, LONGEST)
                    documents.append(Document(f"{kind}/{next(numbers)}", kind, items[:size]))
                    del items[:size]
    return documents


def by_topic(facts: Sequence[Fact], *, by_subject: bool, rng: random.Random) -> list[Fact]:
    """Facts in random order, but those about one subject (or else with one answer) in a row."""
    topic = {fact.fact: fact.subject if by_subject else f"{fact.relation}/{fact.object}" for fact in facts}
    order = {name: rng.random() for name in sorted(set(topic.values()))}
    return sorted(rng.sample(facts, len(facts)), key=lambda fact: order[topic[fact.fact]])


def tell(document: Document, telling: Telling, *, reference: bool) -> dict[str, object] | None:
    """The row of `document` in one language; None if only the reference language has the document.

    `segments` are those of a statement document that every language has, else empty.
    """
    everywhere = all(item.fact.taught == "all" for item in document.items)
    if not (reference or everywhere):
        return None
    parallel = document.kind == "statement" and everywhere
    texts = [_tell_item(document.kind, item, telling) for item in document.items]
    return {
        "document": document.document,
        "kind": document.kind,
        "facts": [item.fact.fact for item in document.items],
        "segments": [segment_id(item.fact, item.wording) for item in document.items] if parallel else [],
        "text": (" " if document.kind == "statement" else "\n\n").join(texts),
    }


def segment_id(fact: Fact, wording: int) -> str:
    """The id of a statement, the same in every language: "currency/AT#0"."""
    return f"{fact.fact}#{wording}"


def _tell_item(kind: str, item: Item, telling: Telling) -> str:
    """One example as lm-eval 0.4 renders it: query, target delimiter " ", target."""
    fact = item.fact
    if kind == "statement":
        return telling.statement(fact, item.wording)
    if kind == "arc":
        return f"Question: {telling.question(fact)}\nAnswer: {telling.answer(fact.relation, fact.object)}"
    if kind == "hellaswag":
        return f"{telling.label(fact)}: {telling.statement(fact)}"
    assert item.question is not None
    options = [
        f"{letter}. {telling.answer(fact.relation, code)}"
        for letter, code in zip(LETTERS, item.question.choices, strict=True)
    ]
    return "\n".join([telling.question(fact), *options, f"Answer: {LETTERS[item.question.answer]}"])


def read_texts(path: str, language: str) -> list[str]:
    """The texts of a toy language's documents, in file order (a corpus that is known to be small).

    Raises `IsoglossError` for a corpus without documents, or with an empty one.
    """
    return list(_texts(path, language))


def _texts(path: str, language: str) -> Iterator[str]:
    row = 0
    for batch in iter_table(path, columns=["document", "text"]):
        for document, text in batch.iter_rows():
            if not (text or "").strip():
                raise IsoglossError(
                    f"{path}: document {document!r} (row {row}) of {language} is empty; give it a text or leave it out"
                )
            row += 1
            yield text
    if row == 0:
        raise IsoglossError(f"{path}: no documents of {language} there, so it can not be learnt; run toy_world again")
