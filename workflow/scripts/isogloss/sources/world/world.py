"""The toy world on disk: facts, documents, parallel segments, and benchmarks in the upstream schemas."""

import json
import logging
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from tqdm import tqdm

from isogloss.config.toy import World
from isogloss.sources.world.bilingual import BILINGUAL_SCHEMA, bilingual_documents
from isogloss.sources.world.corpus import DOCUMENT_SCHEMA, LETTERS, plan_documents, segment_id, tell
from isogloss.sources.world.facts import KINDS, TEACHINGS, Fact, Question, Telling, ask, world_facts
from isogloss.tables import TableWriter, atomic_path, write_table

logger = logging.getLogger(__name__)

SEGMENT_SCHEMA = pa.schema({"segment": pa.string(), "fact": pa.string(), "text": pa.string()})
_ROWS = 4096


def build_world(
    *,
    folder: str,
    world: World,
    reference: str,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write the whole world under `folder`:

    - facts.parquet: fact, relation, subject, object, taught, split
    - documents/{lang}.parquet: document, kind, facts, segments, text; segments only of statements that
      every language has
    - bilingual.parquet: document, facts, languages, statements; of every pair of languages the documents that tell
      facts in both, which models are trained on beside the others
    - segments/{lang}.parquet: segment, fact, text; every fact in every wording and language
    - benchmarks/m_{arc,hellaswag,mmlu}/data/{lang}/{train,val,test}.jsonl, as alexandrainst's m_arc,
      m_hellaswag and m_mmlu have them. In ARC and MMLU the split "test" asks the facts of that split,
      "train" and "val" (a tenth) those that training documents may ask; HellaSwag, which upstream scores on
      "val", has the test facts in both "val" and "test".

    Questions are the same in every language, in ids, order, options and answer. So are documents, but
    those that tell facts taught in the reference only are in the reference language only. Facts taught
    in no language are absent from all documents, and from nothing else.

    Raises `IsoglossError` for a language without a wording and for too few territories.
    """
    root = Path(folder)
    facts = world_facts(
        languages=world.languages,
        territories=world.territories,
        english_only=world.english_only,
        untaught=world.untaught,
        test_share=world.test_share,
        seed=seed,
    )
    questions_by_teaching = Counter(fact.taught for fact in facts if fact.split == "test")
    by_teaching = ", ".join(f"{questions_by_teaching[taught]} taught in {taught}" for taught in TEACHINGS)
    logger.info("%d facts; the benchmarks ask %d: %s", len(facts), questions_by_teaching.total(), by_teaching)
    write_table(root / "facts.parquet", pl.DataFrame(facts, schema=Fact._fields, orient="row"), metadata)
    tellings = {language: Telling(language) for language in world.languages}
    wordings = {relation: min(t.wordings(relation) for t in tellings.values()) for relation in KINDS}
    times = {**world.repeats}
    bilingual = bilingual_documents(
        facts, tellings, wordings, repeats=times.pop("bilingual", 0), switched=world.switched, seed=seed
    )
    _write(root / "bilingual.parquet", BILINGUAL_SCHEMA, bilingual, metadata)
    documents = plan_documents(facts, times, wordings, seed)
    # Relations in random order, as lm-eval's MMLU takes its few-shot examples from the head of the file.
    questions = [
        ask(fact, facts, random.Random(f"{seed}/benchmarks/{fact.fact}"))
        for fact in random.Random(f"{seed}/benchmarks").sample(facts, len(facts))
    ]
    for language, telling in tqdm(tellings.items(), desc="languages"):
        rows = (tell(document, telling, reference=language == reference) for document in documents)
        _write(root / f"documents/{language}.parquet", DOCUMENT_SCHEMA, (row for row in rows if row), metadata)
        segments = (
            {"segment": segment_id(fact, wording), "fact": fact.fact, "text": telling.statement(fact, wording)}
            for fact in facts
            for wording in range(wordings[fact.relation])
        )
        _write(root / f"segments/{language}.parquet", SEGMENT_SCHEMA, segments, metadata)
        _write_benchmarks(root / "benchmarks", language, telling, questions)


def _write(path: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]], metadata: Mapping[str, Any]) -> None:
    with TableWriter(path, schema, metadata) as writer:
        group: list[dict[str, Any]] = []
        for row in rows:
            group.append(row)
            if len(group) == _ROWS:
                writer.write(pa.Table.from_pylist(group, schema))
                group = []
        writer.write(pa.Table.from_pylist(group, schema))


def _write_benchmarks(root: Path, language: str, telling: Telling, questions: Sequence[Question]) -> None:
    known = [number for number, question in enumerate(questions) if question.fact.split == "train"]
    test = [number for number, question in enumerate(questions) if question.fact.split == "test"]
    train, validation = [number for position, number in enumerate(known) if position % 10], known[::10]
    for split, numbers in (("train", train), ("val", validation), ("test", test)):
        _write_lines(
            root / "m_arc" / "data" / language / f"{split}.jsonl", [_arc(questions[n], telling) for n in numbers]
        )
        _write_lines(
            root / "m_mmlu" / "data" / language / f"{split}.jsonl", [_mmlu(questions[n], telling) for n in numbers]
        )
    for split, numbers in (("train", known), ("val", test), ("test", test)):
        rows = [_hellaswag(questions[number], telling, split, number) for number in numbers]
        _write_lines(root / "m_hellaswag" / "data" / language / f"{split}.jsonl", rows)


def _write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with atomic_path(path) as aside:
        aside.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _options(question: Question, telling: Telling) -> list[str]:
    return [telling.answer(question.fact.relation, code) for code in question.choices]


def _mmlu(question: Question, telling: Telling) -> dict[str, str]:
    return {
        "id": question.fact.fact,
        "instruction": telling.question(question.fact),
        **dict(zip(("option_a", "option_b", "option_c", "option_d"), _options(question, telling), strict=True)),
        "answer": LETTERS[question.answer],
    }


def _arc(question: Question, telling: Telling) -> dict[str, str]:
    """As MMLU's, with a fifth option that is empty: lm-eval leaves it out."""
    record = _mmlu(question, telling)
    answer = record.pop("answer")
    return {**record, "option_e": "", "answer": answer}


def _hellaswag(question: Question, telling: Telling, split: str, number: int) -> dict[str, Any]:
    """The context is `ctx_a` alone: lm-eval appends `ctx_b`, which is empty, and strips the space."""
    context = telling.cloze(question.fact)
    return {
        "ind": number,
        "activity_label": telling.label(question.fact),
        "ctx_a": context,
        "ctx_b": "",
        "ctx": context,
        "endings": _options(question, telling),
        "source_id": question.fact.fact,
        "split": split,
        "split_type": "indomain",
        "label": str(question.answer),
    }
