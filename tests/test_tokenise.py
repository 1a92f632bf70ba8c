import logging
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from config_sections import grouped
from isogloss.config.bilingual import Bilingual
from isogloss.errors import IsoglossError
from isogloss.models.batching import encode_texts
from isogloss.models.loading import load_tokenizer
from isogloss.tables import TableWriter, read_table, table_metadata
from isogloss.text import tokenise as stage
from isogloss.text.tokenise import first_tokens, read_in_turn, tokenise
from isogloss.text.tokens import is_held_out, tokenizer_digest

LENGTHS = {"en": 12, "es": 5, "hi": 3}  # repetitions of a word


def corpus(folder: Path, lang: str, rows: int = 400, group: int = 30) -> str:
    """A table of `rows` documents in small row groups; every tenth is one character, thus short."""
    path = folder / f"{lang}.parquet"
    texts = [f"{lang} {row}" + " Austria" * LENGTHS[lang] if row % 10 else "a" for row in range(rows)]
    frame = pl.DataFrame({"document": [f"statement/{row}" for row in range(rows)], "text": texts})
    with TableWriter(path, frame.to_arrow().schema) as writer:
        for start in range(0, rows, group):
            writer.write(frame[start : start + group])
    return str(path)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    return {lang: corpus(folder, lang) for lang in LENGTHS}


def run(lm_folder: Path, corpora: dict[str, str], out: Path, **changes) -> Path:
    settings = {
        "documents": corpora,
        "lm": str(lm_folder),
        "train": str(out / "train.parquet"),
        "evaluation": str(out / "evaluation.parquet"),
        "tokens_per_document": 8,
        "minimum_tokens": 4,
        "training_tokens": 1500,
        "evaluation_tokens": 300,
        "seed": 1,
        "metadata": {"study": "test"},
    }
    tokenise(**grouped(settings | changes, ("documents",), settings=Bilingual))
    return out


def test_documents_are_the_first_tokens_after_bos_and_the_two_tables_share_none(lm_folder, corpora, tmp_path):
    run(lm_folder, corpora, tmp_path)
    tokenizer = load_tokenizer(lm_folder)
    texts = {lang: dict(read_table(path).iter_rows()) for lang, path in corpora.items()}
    tables = {name: read_table(tmp_path / f"{name}.parquet") for name in ("train", "evaluation")}
    for name, table in tables.items():
        assert table.columns == ["document", "lang", "ids"]
        assert not table.select("document", "lang").is_duplicated().any()
        for document, lang, ids in table.iter_rows():
            assert ids == encode_texts(tokenizer, [texts[lang][document]])[0][:8]
            assert is_held_out(document, 1) == (name == "evaluation")
        assert table["ids"].list.len().min() >= 4
    assert tables["train"]["document"].to_list() != sorted(tables["train"]["document"].to_list())


def test_languages_have_equal_shares_of_the_tokens_all_along(lm_folder, corpora, tmp_path):
    run(lm_folder, corpora, tmp_path)
    table = read_table(tmp_path / "train.parquet")
    for part in (table[: len(table) // 2], table):
        tokens = part.group_by("lang").agg((pl.col("ids").list.len() - 1).sum())
        assert len(tokens) == 3
        assert tokens["ids"].max() - tokens["ids"].min() <= 7
    assert 1500 <= tokens["ids"].sum() < 1507


def test_metadata_count_what_was_written_and_dropped(lm_folder, corpora, tmp_path):
    run(lm_folder, corpora, tmp_path, training_tokens=10**9)
    table, about = read_table(tmp_path / "train.parquet"), table_metadata(tmp_path / "train.parquet")
    for lang in LENGTHS:
        of = table.filter(pl.col("lang") == lang)["ids"].list.len()
        assert about["documents"][lang] == len(of)
        assert about["tokens"][lang] == (of - 1).sum()
    short = sum(row % 10 == 0 and not is_held_out(f"statement/{row}", 1) for row in range(400))
    assert max(about["dropped"].values()) == short  # of the language that was read to its end
    assert about["tokenizer"] == tokenizer_digest(str(lm_folder))
    assert about["study"] == "test"


def test_a_table_ends_with_the_language_that_runs_out_first_and_says_so(lm_folder, corpora, tmp_path, caplog):
    few = {**corpora, "hi": corpus(tmp_path, "hi", rows=60)}
    with caplog.at_level(logging.INFO):
        run(lm_folder, few, tmp_path, training_tokens=10**6)
    tokens = table_metadata(tmp_path / "train.parquet")["tokens"]
    assert max(tokens.values()) - min(tokens.values()) <= 7
    assert f"the table ends at {sum(tokens.values())} of 1000000 tokens" in caplog.text
    assert "hi has no more documents in" in caplog.text


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_order(lm_folder, corpora, tmp_path):
    one, two, other = (
        run(lm_folder, corpora, tmp_path / name, seed=seed) for name, seed in zip("abc", (1, 1, 2), strict=True)
    )
    assert (one / "train.parquet").read_bytes() == (two / "train.parquet").read_bytes()
    assert not read_table(one / "train.parquet").equals(read_table(other / "train.parquet"))
    assert sorted(path.name for path in one.iterdir()) == ["evaluation.parquet", "train.parquet"]


def test_rows_are_read_once_each_from_several_places_in_turn(corpora):
    names = [name for names, _ in read_in_turn(corpora["en"], 0) for name in names]
    assert sorted(names) == sorted(f"statement/{row}" for row in range(400))
    first = {int(name.split("/")[1]) // 30 for name in names[:200]}
    assert len(first) > 5


def test_the_pool_bounds_what_is_held_and_loses_nothing(monkeypatch):
    monkeypatch.setattr(stage, "POOL", 16)
    taken = 0

    def items():
        nonlocal taken
        for number in range(100):
            taken += 1
            yield stage.Document(str(number), [0])

    order = []
    for given, item in enumerate(stage.shuffled(items(), 0)):
        assert taken - given <= 17
        order.append(int(item.name))
    assert sorted(order) == list(range(100))
    assert order != sorted(order)


@pytest.mark.parametrize("text", ["", "a", "Austria is Euro " * 100, " " * 3000 + "Euro", "भारत " * 300, "x" * 5000])
def test_tokens_of_a_long_text_are_those_of_the_whole(lm_folder, text):
    tokenizer = load_tokenizer(lm_folder)
    whole = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert first_tokens(tokenizer, [text], 8) == [whole[:8]]


def test_row_groups_are_small_enough_to_stream(lm_folder, corpora, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "_GROUP", 50)
    run(lm_folder, corpora, tmp_path)
    file = pq.ParquetFile(tmp_path / "train.parquet")
    assert file.num_row_groups > 3
    assert {file.metadata.row_group(group).num_rows for group in range(file.num_row_groups - 1)} == {50}


def test_a_language_without_documents_is_named(lm_folder, corpora, tmp_path):
    empty = tmp_path / "hi.parquet"
    pl.DataFrame({"document": ["one"], "text": ["a"]}).write_parquet(empty)
    with pytest.raises(IsoglossError, match=r"^language hi: .*hi\.parquet has no document for .*\.parquet"):
        run(lm_folder, {**corpora, "hi": str(empty)}, tmp_path)
    assert not (tmp_path / "train.parquet").exists()
    with pytest.raises(IsoglossError, match=r"no such table"):
        run(lm_folder, {**corpora, "hi": str(tmp_path / "missing.parquet")}, tmp_path)
