import polars as pl
import pytest

from isogloss.errors import IsoglossError
from isogloss.tables import TableWriter, open_table, read_table, table_metadata, write_table
from isogloss.text import translation
from isogloss.text.phrases import PHRASES
from isogloss.text.translation import translate


@pytest.fixture
def phrases(tmp_path):
    with TableWriter(tmp_path / "phrases.parquet", PHRASES) as writer:
        for layer, rows in ((0, [["b", "a"], ["c"]]), (1, [["a"]])):
            writer.write(
                pl.DataFrame(
                    {
                        "phrase": [10 * layer + n for n in range(len(rows))],
                        "layer": layer,
                        "feature": 4,
                        "rank": 0,
                        "text": [" ".join(row) for row in rows],
                        "activation": 1.0,
                        "feature_max": 1.0,
                        "segments": rows,
                    }
                )
            )
    return tmp_path / "phrases.parquet"


def run(phrases, texts, backend="parallel"):
    folder = phrases.parent
    write_table(folder / "ml.parquet", pl.DataFrame({"segment": list(texts), "text": list(texts.values())}))
    output = folder / "translations" / "ml.parquet"
    translate(
        phrases=str(phrases),
        segments=str(folder / "ml.parquet"),
        output=str(output),
        lang="ml",
        backend=backend,
        metadata={"study": "x"},
    )
    return output


def test_segments_are_looked_up_and_joined_in_order(phrases):
    output = run(phrases, {"a": "ഒന്ന്", "b": "രണ്ട്", "c": "മൂന്ന്"})
    assert read_table(output).rows() == [(0, 0, 4, "രണ്ട് ഒന്ന്"), (1, 0, 4, "മൂന്ന്"), (10, 1, 4, "ഒന്ന്")]
    assert open_table(output).num_row_groups == open_table(phrases).num_row_groups == 2
    assert table_metadata(output) == {"study": "x"}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"a": "1", "b": "2"}, r"ml\.parquet: segment 'c' is missing in language ml"),
        ({"a": "1", "b": "2", "c": " "}, r"ml\.parquet: segment 'c' has an empty text in language ml"),
    ],
)
def test_gaps_in_the_memory_are_named_and_nothing_is_written(phrases, texts, message):
    with pytest.raises(IsoglossError, match=message):
        run(phrases, texts)
    assert not (phrases.parent / "translations" / "ml.parquet").exists()


def test_a_segment_that_is_there_twice_is_an_error(phrases):
    folder = phrases.parent
    write_table(folder / "twice.parquet", pl.DataFrame({"segment": ["a", "a"], "text": ["1", "2"]}))
    with pytest.raises(IsoglossError, match="'a' is there twice"):
        translation.read_segments(str(folder / "twice.parquet"))


def test_another_backend_fits_beside_it(phrases, monkeypatch):
    class Shouting:
        def translate(self, phrases):
            return [phrase.text.upper() if phrase.phrase < 10 else "" for phrase in phrases]

    monkeypatch.setitem(translation.BACKENDS, "shouting", lambda lang, resource: Shouting())
    with pytest.raises(IsoglossError, match=r"phrase 10 \('a'\) came back empty in ml"):
        run(phrases, {"a": "1"}, backend="shouting")
