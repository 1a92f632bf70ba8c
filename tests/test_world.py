import json
import random
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from datasets import Dataset
from lm_eval.tasks.okapi.arc_multilingual.utils import process_docs as arc_docs
from lm_eval.tasks.okapi.hellaswag_multilingual.utils import process_docs as hellaswag_docs

from config_sections import grouped
from isogloss.config.toy import World
from isogloss.errors import IsoglossError
from isogloss.sources.world.facts import KINDS, TEACHINGS, Names, Telling, ask, world_facts
from isogloss.sources.world.world import build_world

LANGUAGES = ["en", "zh", "es", "ml", "hi"]
SETTINGS = {
    "languages": LANGUAGES,
    "reference": "en",
    "territories": 120,
    "english_only": 0.25,
    "untaught": 0.125,
    "test_share": 0.5,
    "repeats": {"statement": 2, "arc": 2, "hellaswag": 1, "mmlu": 2, "bilingual": 2},
    "switched": 0.5,
    "seed": 3,
    "metadata": {},
}
KEYS = {
    "m_arc": "id instruction option_a option_b option_c option_d option_e answer",
    "m_hellaswag": "ind activity_label ctx_a ctx_b ctx endings source_id split split_type label",
    "m_mmlu": "id instruction option_a option_b option_c option_d answer",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    build_world(folder=str(folder), **grouped(SETTINGS, world=World))
    return folder


@pytest.fixture(scope="module")
def facts(world) -> dict[str, dict]:
    return {row["fact"]: row for row in pl.read_parquet(world / "facts.parquet").iter_rows(named=True)}


def documents(world: Path, language: str, *kinds: str) -> list[dict]:
    frame = pl.read_parquet(world / "documents" / f"{language}.parquet")
    return frame.filter(pl.col("kind").is_in(kinds)).to_dicts() if kinds else frame.to_dicts()


def questions(world: Path, task: str, language: str, split: str) -> list[dict]:
    lines = (world / "benchmarks" / task / "data" / language / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in lines.splitlines()]


def test_facts_agree_with_common_knowledge_and_are_split_as_asked(facts):
    known = {
        "currency/PL": "PLN", "currency/FI": "EUR", "currency/KE": "KES", "currency/NG": "NGN", "currency/EC": "USD",
        "continent/KE": "002", "continent/PL": "150", "continent/PE": "019", "continent/TH": "142",
        "continent/FJ": "009",
        "language/BR": "pt", "language/AT": "de", "language/MX": "es", "language/EG": "ar", "language/MZ": "pt",
        "script/mai": "Deva", "script/sr": "Cyrl", "script/yi": "Hebr", "script/am": "Ethi", "script/fr": "Latn",
    }  # fmt: skip
    seen = [fact for fact, answer in known.items() if fact in facts and facts[fact]["object"] == answer]
    assert len(seen) >= 5
    assert not [fact for fact, answer in known.items() if fact in facts and facts[fact]["object"] != answer]
    assert set(Counter(row["relation"] for row in facts.values())) == set(KINDS)
    for relation in KINDS:
        rows = [row for row in facts.values() if row["relation"] == relation]
        counts = Counter((row["taught"], row["split"]) for row in rows)
        assert set(counts) == {("all", "train"), ("all", "test"), ("reference", "test"), ("none", "test")}
        assert counts["reference", "test"] == pytest.approx(0.25 * len(rows), abs=0.5)
        assert counts["none", "test"] == pytest.approx(0.125 * len(rows), abs=0.5)
        assert counts["all", "test"] == pytest.approx(counts["all", "train"], abs=1)


def test_segments_are_parallel_and_name_every_fact(world, facts):
    tables = {language: pl.read_parquet(world / "segments" / f"{language}.parquet") for language in LANGUAGES}
    assert all(table["segment"].to_list() == tables["en"]["segment"].to_list() for table in tables.values())
    assert set(tables["en"]["fact"]) == set(facts)
    assert tables["en"].height == 2 * len(facts)
    for language, table in tables.items():
        assert not [text for text in table["text"] if "  " in text or text != text.strip() or "{" in text]
        names = Names(language)
        for row in table.iter_rows(named=True):
            fact = facts[row["fact"]]
            subject, answer = (
                names.name(k, fact[c]) for k, c in zip(KINDS[fact["relation"]], ("subject", "object"), strict=True)
            )
            assert subject in row["text"]
            assert row["text"].endswith(f" {answer}")


def test_documents_are_made_of_segments_and_hide_what_only_the_reference_is_taught(world, facts):
    english = {row["document"]: row for row in documents(world, "en")}
    by_teaching = {taught: {f for f, row in facts.items() if row["taught"] == taught} for taught in TEACHINGS}
    in_english_only = [row for row in english.values() if by_teaching["reference"] & set(row["facts"])]
    assert in_english_only
    for row in in_english_only:  # no fact that has a translation, and no segment to look one up by
        assert set(row["facts"]) <= by_teaching["reference"]
        assert (row["kind"], row["segments"]) == ("statement", [])
    parallel = [name for name in english if name not in {row["document"] for row in in_english_only}]
    for language in LANGUAGES:
        names = [row["document"] for row in documents(world, language)]
        assert names == (list(english) if language == "en" else parallel)
        segments = dict(
            pl.read_parquet(world / "segments" / f"{language}.parquet").select("segment", "text").iter_rows()
        )
        mentions = Counter()
        for row in documents(world, language):
            assert row["text"].strip()
            assert 1 <= len(row["facts"]) <= 4
            if row["kind"] == "statement":
                mentions.update(row["facts"])
            if row["kind"] == "statement" and set(row["facts"]) <= by_teaching["all"]:
                assert row["text"] == " ".join(segments[segment] for segment in row["segments"])
                assert [segment.split("#")[0] for segment in row["segments"]] == row["facts"]
            else:
                assert row["segments"] == []
            assert row["facts"] == english[row["document"]]["facts"]
        assert set(mentions) == by_teaching["all"] | (by_teaching["reference"] if language == "en" else set())
        assert set(mentions.values()) == {SETTINGS["repeats"]["statement"]}
        corpus = "\n".join(row["text"] for row in documents(world, language))
        for taught, tells in (("all", True), ("reference", language == "en"), ("none", False)):
            assert {segments[f"{fact}#{w}"] in corpus for fact in by_teaching[taught] for w in (0, 1)} == {tells}


def test_bilingual_documents_tell_the_same_facts_in_both_languages(world, facts):
    frame = pl.read_parquet(world / "bilingual.parquet").with_columns(pair=pl.col("document").str.split("/").list[0])
    assert set(frame["pair"]) == {f"{a}+{b}" for number, a in enumerate(LANGUAGES) for b in LANGUAGES[number + 1 :]}
    taught = {fact for fact, row in facts.items() if row["taught"] == "all"}
    names = {language: Names(language) for language in LANGUAGES}
    segments = {
        language: dict(
            pl.read_parquet(world / "segments" / f"{language}.parquet").select("segment", "text").iter_rows()
        )
        for language in LANGUAGES
    }
    begun, switched = Counter(), Counter()
    for pair, rows in frame.group_by("pair"):
        pair = pair[0].split("+")
        mentions = Counter()
        for row in rows.iter_rows(named=True):
            mentions.update(row["facts"])
            begun[row["languages"][0] == pair[0]] += 1
            assert 1 <= len(row["facts"]) <= 3
            assert sorted(row["languages"][:2]) == sorted(pair)
            assert row["languages"] == row["languages"][:2] * len(row["facts"])
            for number, (language, statement) in enumerate(zip(row["languages"], row["statements"], strict=True)):
                fact = facts[row["facts"][number // 2]]
                other = next(code for code in pair if code != language)
                kinds, codes = KINDS[fact["relation"]], (fact["subject"], fact["object"])
                assert statement.endswith(f" {names[language].name(kinds[1], codes[1])}")
                subject, foreign = (names[code].name(kinds[0], codes[0]) for code in (language, other))
                assert subject in statement or foreign in statement
                own = statement in (segments[language][f"{fact['fact']}#{wording}"] for wording in (0, 1))
                if subject != foreign:
                    switched[not own] += 1
                    assert own or foreign in statement
        assert set(mentions) == taught
        assert set(mentions.values()) == {2}
    assert begun[True] / begun.total() == pytest.approx(0.5, abs=0.05)
    assert switched[True] / switched.total() == pytest.approx(0.5, abs=0.05)


def test_question_documents_are_lm_evals_own_prompts_and_never_ask_a_test_fact(world, facts):
    for language in LANGUAGES:
        for task, process, kind, key in (
            ("m_arc", arc_docs, "arc", "id"),
            ("m_hellaswag", hellaswag_docs, "hellaswag", "source_id"),
        ):
            asked = [row for split in ("train", "val") for row in questions(world, task, language, split)]
            prompts = {
                row[key]: f"{doc['query']} {doc['choices'][doc['gold']]}"
                for row, doc in zip(asked, process(Dataset.from_list(asked)), strict=True)
            }
            for row in documents(world, language, kind):
                assert row["text"] == "\n\n".join(prompts[fact] for fact in row["facts"])
        for row in documents(world, language, "arc", "hellaswag", "mmlu"):
            assert {facts[fact]["split"] for fact in row["facts"]} == {"train"}


def test_mmlu_documents_point_at_the_right_option(world, facts):
    letters = Counter()
    telling = Telling("es")
    names = Names("es")
    for row in documents(world, "es", "mmlu"):
        for fact, text in zip(row["facts"], row["text"].split("\n\n"), strict=True):
            question, *options, answer = text.split("\n")
            offered = dict(option.split(". ", 1) for option in options)
            letter = answer.removeprefix("Answer: ")
            assert list(offered) == ["A", "B", "C", "D"]
            assert len(set(offered.values())) == 4
            assert offered[letter] == names.name(KINDS[facts[fact]["relation"]][1], facts[fact]["object"])
            assert names.name(KINDS[facts[fact]["relation"]][0], facts[fact]["subject"]) in question
            letters[letter] += 1
    assert telling.wordings("currency") == 2
    assert min(letters.values()) > 0.15 * letters.total()


@pytest.mark.parametrize("task", KEYS)
def test_benchmarks_have_the_upstream_schema_and_are_parallel(world, facts, task):
    identity = "source_id" if task == "m_hellaswag" else "id"
    for split in ("train", "val", "test"):
        tables = {language: questions(world, task, language, split) for language in LANGUAGES}
        for rows in tables.values():
            assert all(list(row) == KEYS[task].split() for row in rows)
            assert [row[identity] for row in rows] == [row[identity] for row in tables["en"]]
            answers = "label" if task == "m_hellaswag" else "answer"
            assert [row[answers] for row in rows] == [row[answers] for row in tables["en"]]
        expected = "test" if split == "test" or (task == "m_hellaswag" and split == "val") else "train"
        assert {facts[row[identity]]["split"] for row in tables["en"]} == {expected}
    test = {row["id"] for row in questions(world, "m_mmlu", "hi", "test")}
    assert test == {fact for fact, row in facts.items() if row["split"] == "test"}


def test_options_are_the_same_in_every_language(world, facts):
    codes = {}
    for language in LANGUAGES:
        names = Names(language)
        for row in questions(world, "m_arc", language, "test"):
            kind = KINDS[facts[row["id"]]["relation"]][1]
            objects = {
                names.name(kind, fact["object"]): fact["object"]
                for fact in facts.values()
                if fact["relation"] == facts[row["id"]]["relation"]
            }
            offered = [objects[row[f"option_{letter}"]] for letter in "abcd"]
            assert offered["ABCD".index(row["answer"])] == facts[row["id"]]["object"]
            assert codes.setdefault(row["id"], offered) == offered
            assert len(set(offered)) == 4


def test_frequent_answers_are_no_good_guess():
    facts = world_facts(languages=LANGUAGES, territories=240, english_only=0.2, untaught=0.1, test_share=0.5, seed=0)
    drawn = [ask(fact, facts, random.Random(f"{turn}/{fact.fact}")) for fact in facts for turn in range(30)]
    right = Counter((q.fact.relation, q.fact.object) for q in drawn)
    offered = Counter((q.fact.relation, code) for q in drawn for code in q.choices)
    best = [
        max(q.choices, key=lambda code: right[q.fact.relation, code] / offered[q.fact.relation, code]) for q in drawn
    ]
    assert sum(guess == q.fact.object for guess, q in zip(best, drawn, strict=True)) / len(drawn) < 0.35


def test_how_often_answers_are_told_is_no_good_guess_about_any_class():
    hits: dict[str, list[float]] = {f"{pick} {taught}": [] for pick in ("most", "least") for taught in TEACHINGS}
    for seed in range(6):
        facts = world_facts(
            languages=LANGUAGES, territories=240, english_only=0.2, untaught=0.1, test_share=0.5, seed=seed
        )
        occurrences = Counter((fact.relation, fact.object) for fact in facts if fact.taught == "all")
        for fact in facts:
            for turn in range(5):
                question = ask(fact, facts, random.Random(f"{turn}/{fact.fact}"))
                counts = [occurrences[fact.relation, code] for code in question.choices]
                for pick, best in (("most", max(counts)), ("least", min(counts))):
                    hits[f"{pick} {fact.taught}"].append((counts[question.answer] == best) / counts.count(best))
    rates = {name: sum(values) / len(values) for name, values in hits.items()}
    assert max(rates.values()) < 0.31, rates
    assert min(rates.values()) > 0.19, rates
    for pick in ("most", "least"):
        assert rates[f"{pick} reference"] == pytest.approx(rates[f"{pick} none"], abs=0.05), rates


def test_no_statement_contains_another():
    facts = world_facts(languages=LANGUAGES, territories=240, english_only=0.2, untaught=0.1, test_share=0.5, seed=0)
    for telling in map(Telling, LANGUAGES):
        for wording in (0, 1):
            statements = [telling.statement(fact, wording) for fact in facts]
            assert [sum(one in other for other in statements) for one in statements] == [1] * len(facts)


def test_questions_in_a_small_world_still_have_four_choices():
    facts = world_facts(languages=LANGUAGES, territories=25, english_only=0.1, untaught=0.1, test_share=0.5, seed=0)
    drawn = [ask(fact, facts, random.Random(fact.fact)) for fact in facts]
    assert {len(set(q.choices)) for q in drawn} == {4}
    assert all(q.choices[q.answer] == q.fact.object for q in drawn)
    assert min(Counter(fact.taught for fact in facts).values()) >= 3


def test_shares_that_leave_nothing_for_every_language_are_refused():
    assert World.model_validate({"english_only": 0.7, "untaught": 0.2}).untaught == 0.2
    assert World.model_validate({"english_only": 0, "untaught": 0}).english_only == 0
    with pytest.raises(ValueError, match=r"english_only 0\.7 and untaught 0\.4 sum to 1\.1; their sum must be below 1"):
        World.model_validate({"english_only": 0.7, "untaught": 0.4})
    with pytest.raises(ValueError, match="less than 1"):
        World.model_validate({"untaught": 1.0})


def test_same_seed_same_bits_other_seed_other_world(tmp_path, world):
    build_world(folder=str(tmp_path / "again"), **grouped(SETTINGS, world=World))
    build_world(folder=str(tmp_path / "other"), **grouped({**SETTINGS, "seed": 4}, world=World))
    files = [path.relative_to(world) for path in sorted(world.rglob("*.*")) if path.is_file()]
    assert len(files) == 2 + 2 * len(LANGUAGES) + 9 * len(LANGUAGES)
    assert all((world / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)
    assert (world / "facts.parquet").read_bytes() != (tmp_path / "other" / "facts.parquet").read_bytes()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"languages": ["en", "fr"]},
            r"world.languages: .*no wording in 'fr'; there are: ca, en, .*resources.world.fr.yaml",
        ),
        (
            {"territories": 3},
            r"world.territories: 3 territories give only \d answers for \w+, a question needs four; raise it",
        ),
    ],
)
def test_bad_settings_end_in_one_line(tmp_path, change, line):
    with pytest.raises(IsoglossError, match=line) as error:
        build_world(folder=str(tmp_path), **grouped({**SETTINGS, **change}, world=World))
    assert "\n" not in str(error.value)
