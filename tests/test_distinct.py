import numpy as np
import polars as pl
import pytest

from isogloss.errors import IsoglossError
from isogloss.models.loading import load_tokenizer
from isogloss.residuals import pooling
from isogloss.sae import encode as encoding
from isogloss.tables import read_table, write_table
from isogloss.text.distinct import distinct_texts, each_group
from standins import TEXTS, tiny_sae
from test_capture import run as capture
from test_encode import OWNERS, SCHEMA
from test_encode import run as encode

IDS = pl.List(pl.Int32)
TABLE = pl.DataFrame(
    {
        "phrase": range(10, 19),
        "text": ["b", "a", None, "b", "?", "?", "?", "a", "c"],
        "ids": [None, None, None, None, [5, 6], [5, 6, 0], [5, 6], None, None],
    },
    schema_overrides={"ids": IDS},
)


@pytest.mark.parametrize("step", [1, 4, 100])
def test_texts_are_numbered_by_first_rows_in_whatever_pieces(step):
    distinct = distinct_texts(TABLE.iter_slices(step))
    assert distinct.number.tolist() == [0, 1, -1, 0, 2, 3, 2, 1, 4]
    assert distinct.first.tolist() == [0, 1, 4, 5, 8]


def test_nothing_and_nulls_have_no_texts():
    for table in (TABLE.clear(), TABLE.filter(pl.col("text").is_null())):
        distinct = distinct_texts([table])
        assert distinct.number.tolist() == [-1] * len(table)
        assert distinct.first.tolist() == []


def test_groups_hold_each_text_once_in_order(lm_folder):
    tokenizer = load_tokenizer(lm_folder)
    table = pl.DataFrame({"phrase": range(12), "text": TEXTS * 2, "ids": None}, schema_overrides={"ids": IDS})
    distinct = distinct_texts([table])
    for tokens in (1, 20, 10_000):
        groups = list(each_group(table.iter_slices(2), distinct, tokenizer, lang="en", context=100, tokens=tokens))
        assert [group.start for group in groups] == np.cumsum([0, *(len(group.ids) for group in groups)])[:-1].tolist()
        read = [tokenizer.decode(ids[1:]) for group in groups for ids in group.ids]
        assert len(read) == len(TEXTS)
        assert [phrase for group in groups for phrase in group.phrases] == list(range(6))
    with pytest.raises(IsoglossError, match=r"language hi, phrase 2: \d+ tokens, but the model reads 8"):
        list(each_group([table[2:]], distinct_texts([table[2:]]), tokenizer, lang="hi", context=8, tokens=9))


def repeated(path):
    """Phrases whose texts come again in every later part of the table."""
    texts = [TEXTS[row % 5] for row in range(len(OWNERS))]
    keys = {"phrase": range(len(OWNERS)), "layer": [o[0] for o in OWNERS], "feature": [o[1] for o in OWNERS]}
    write_table(path, pl.DataFrame({**keys, "text": texts, "ids": None, "chrf": None}, schema_overrides=SCHEMA))
    return path


@pytest.mark.parametrize("rows", [7, 4096])
def test_a_job_reads_a_text_once(lm_folder, tmp_path, monkeypatch, rows):
    path = repeated(tmp_path / "es.parquet")
    for layer in range(3):
        cfg = tiny_sae(tmp_path / "sae" / f"layer_{layer}", kind="jumprelu", seed=layer) / "cfg.json"
        cfg.write_text(cfg.read_text().replace("blocks.0.hook", f"blocks.{layer}.hook"))
    sizes: list[int] = []

    def counted(visit):
        def visited(model, batch, layers, reader):
            sizes.append(len(batch.rows))
            visit(model, batch, layers, reader)

        return visited

    for module in (pooling, encoding):
        monkeypatch.setattr(module, "visit_residuals", counted(module.visit_residuals))
    monkeypatch.setattr(encoding, "_PHRASES", rows)
    monkeypatch.setattr("isogloss.residuals.capture._PHRASES", rows)
    measured = encode(lm_folder, tmp_path / "sae", path, tmp_path / "encoded.parquet")
    assert sum(sizes) == 5
    assert measured["n_tokens"].null_count() == 0
    sizes.clear()
    pooled = capture(lm_folder, path, tmp_path / "captured.parquet", feature_stride=1)
    assert sum(sizes) == 5
    assert len(pooled) == 3 * len(OWNERS)
    assert (pooled["pooled"].to_numpy()[: 3 * 5] == pooled["pooled"].to_numpy()[3 * 5 : 3 * 10]).all()


def test_without_any_text_all_values_are_null(lm_folder, tmp_path):
    frame = read_table(repeated(tmp_path / "es.parquet")).with_columns(text=pl.lit(None, pl.String))
    write_table(tmp_path / "es.parquet", frame)
    pooled = capture(lm_folder, tmp_path / "es.parquet", tmp_path / "captured.parquet", feature_stride=1)
    assert pooled["pooled"].null_count() == 3 * len(OWNERS)
    for layer in range(3):
        cfg = tiny_sae(tmp_path / "sae" / f"layer_{layer}", kind="topk", seed=layer) / "cfg.json"
        cfg.write_text(cfg.read_text().replace("blocks.0.hook", f"blocks.{layer}.hook"))
    measured = encode(lm_folder, tmp_path / "sae", tmp_path / "es.parquet", tmp_path / "encoded.parquet")
    assert measured["activation"].null_count() == measured["n_tokens"].null_count() == len(OWNERS)
