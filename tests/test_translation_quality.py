import numpy as np
import polars as pl
import pytest

from config_sections import grouped
from isogloss.config.measures import Statistics
from isogloss.errors import IsoglossError
from isogloss.phrases.translation import TRANSLATIONS
from isogloss.phrases.translation_quality import measure_quality
from isogloss.tables import TableWriter, read_table, table_metadata


def table(path, lang, rows, source_lang="en"):
    """Rows of phrase, layer, feature, text, status, chrf."""
    frame = pl.DataFrame(rows, schema=["phrase", "layer", "feature", "text", "status", "chrf"], orient="row")
    with TableWriter(path, TRANSLATIONS, {"lang": lang, "source_lang": source_lang}) as writer:
        writer.write(frame.with_columns(ids=pl.lit(None)))
    return str(path)


def measure(folder, tables, **more):
    output = folder / "tables" / "translation_quality.parquet"
    arguments = {"confidence": 0.9, "bootstrap": 300, "seed": 3, "metadata": {"study": "x"}, **more}
    arguments = grouped(arguments, statistics=Statistics)
    langs, translations = zip(*tables, strict=True)
    measure_quality(
        translations=translations,
        langs=langs,
        translation_quality=str(output),
        **grouped(arguments, statistics=Statistics),
    )
    return read_table(output)


@pytest.fixture
def two(tmp_path):
    """English and Hindi in two blocks each."""
    en = [
        table(tmp_path / "en0", "en", [(0, 0, 1, "abcd", "ok", None), (1, 0, 1, "ab", "ok", None)]),
        table(tmp_path / "en1", "en", [(9, 1, 1, "abcdef", "ok", None), (10, 1, 2, "x", "ok", None)]),
    ]
    hi = [
        table(tmp_path / "hi0", "hi", [(0, 0, 1, "भारत", "ok", 60.0), (1, 0, 1, None, "low_chrf", 10.0)]),
        table(tmp_path / "hi1", "hi", [(9, 1, 1, "क", "ok", 50.0), (10, 1, 2, None, "runaway", None)]),
    ]
    return [("en", en[0]), ("hi", hi[0]), ("en", en[1]), ("hi", hi[1])]


def test_a_language_has_one_row_over_its_blocks(two, tmp_path):
    english, hindi = measure(tmp_path, two).rows(named=True)
    assert (hindi["lang"], hindi["n"], hindi["ok"], hindi["runaway"], hindi["low_chrf"]) == ("hi", 4, 2, 1, 1)
    assert hindi["empty"] == hindi["too_long"] == 0
    assert hindi["kept_pct"] == 50
    assert (hindi["chrf"], hindi["n_chrf"]) == (40, 3)
    assert 10 <= hindi["ci_low"] < 40 < hindi["ci_high"] <= 60
    assert hindi["characters_ratio"] == pytest.approx((4 + 1) / (4 + 6))
    assert (english["lang"], english["kept_pct"], english["characters_ratio"], english["n_chrf"]) == ("en", 100, 1, 0)
    assert english["chrf"] is english["ci_low"] is english["ci_high"] is None
    assert table_metadata(tmp_path / "tables" / "translation_quality.parquet") == {"study": "x"}


def test_without_the_reference_there_is_no_ratio_and_the_rest_stays(two, tmp_path):
    whole = measure(tmp_path, two)
    alone = measure(tmp_path, [pair for pair in two if pair[0] == "hi"])
    assert alone["characters_ratio"].to_list() == [None]
    assert alone.drop("characters_ratio").equals(whole.filter(pl.col("lang") == "hi").drop("characters_ratio"))


def test_nothing_usable_is_a_row_of_nulls(tmp_path):
    only = [("hi", table(tmp_path / "hi", "hi", [(0, 0, 1, None, "empty", None)]))]
    row = measure(tmp_path, only).row(0, named=True)
    assert (row["kept_pct"], row["empty"], row["chrf"], row["characters_ratio"]) == (0, 1, None, None)


def test_the_interval_covers_the_mean_as_often_as_it_says(tmp_path):
    generator = np.random.default_rng(0)
    covered, trials = 0, 60
    for _ in range(trials):
        of_feature = generator.normal(50, 8, size=80)
        rows = [
            (phrase, 0, phrase // 2, "x", "ok", float(generator.normal(of_feature[phrase // 2], 4)))
            for phrase in range(160)
        ]
        row = measure(tmp_path, [("hi", table(tmp_path / "hi", "hi", rows))]).row(0, named=True)
        covered += row["ci_low"] <= 50 <= row["ci_high"]
    assert covered / trials >= 0.82


def test_tables_of_other_phrases_are_an_error(two, tmp_path):
    other = table(tmp_path / "ml", "ml", [(0, 0, 1, "x", "ok", None), (2, 0, 1, "x", "ok", None)])
    with pytest.raises(IsoglossError, match=r"ml: the phrases are not those of .*en0; translate both again"):
        measure(tmp_path, [*two, ("ml", other)])
