from pathlib import Path

import numpy as np
import polars as pl
import pytest

from compare_results import compare, main

FRAME = pl.DataFrame(
    {
        "lang": ["en", "es", None],
        "gap": [0.0, float("nan"), None],
        "layers": [[0, 1], [], None],
        "stream": pl.Series([[0.5, float("nan")], None, [1.0, 2.0]], dtype=pl.Array(pl.Float32, 2)),
        "scores": [{"n": 1, "r": 0.5}, {"n": 2, "r": None}, None],
    }
)
OTHER_NAN = np.array([0x7FF8000000000001], dtype=np.uint64).view(np.float64)[0]


def written(folder: Path, frame: pl.DataFrame, metadata: str = "a") -> Path:
    path = folder / "model" / "tables" / "gap.parquet"
    path.parent.mkdir(parents=True)
    frame.write_parquet(path, metadata={"code": metadata})
    return folder


def gaps(*values: float | None) -> pl.DataFrame:
    return FRAME.with_columns(pl.Series("gap", values, dtype=pl.Float64))


def test_metadata_the_kind_of_nan_and_hidden_folders_do_not_count(tmp_path, capsys):
    before, after = written(tmp_path / "a", FRAME), written(tmp_path / "b", gaps(0.0, OTHER_NAN, None), "b")
    (after / ".training").mkdir()
    FRAME.write_parquet(after / ".training" / "state.parquet")
    assert main(str(before), str(after)) == 0
    assert capsys.readouterr().out == "1 tables, 0 differ\n"


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (gaps(-0.0, OTHER_NAN, None), "column gap, row 0: 0.0, then -0.0"),
        (gaps(0.0, None, None), "column gap, row 1: nan, then None"),
        (gaps(np.nextafter(0.0, 1), OTHER_NAN, None), "column gap, row 0: 0.0, then 5e-324"),
        (FRAME.with_columns(layers=pl.Series([[0, 1], [], []])), "column layers, row 2: None, then []"),
        (FRAME.with_columns(layers=pl.Series([[0], [1], None])), "column layers, row 0: [0, 1], then [0]"),
        (FRAME.with_columns(layers=pl.Series([[0, 2], [1], None])), "column layers, row 0: [0, 1], then [0, 2]"),
        (
            FRAME.with_columns(
                stream=pl.Series([[0.5, float("nan")], None, [1.0, 2.5]], dtype=pl.Array(pl.Float32, 2))
            ),
            "column stream, row 2: [1.0, 2.0], then [1.0, 2.5]",
        ),
        (
            FRAME.with_columns(scores=pl.Series([{"n": 1, "r": 0.5}, {"n": 2, "r": 0.0}, None])),
            "column scores, row 1: {'n': 2, 'r': None}, then {'n': 2, 'r': 0.0}",
        ),
        (FRAME.reverse(), "column lang, row 0: 'en', then None"),
        (FRAME.head(2), "3 rows, then 2"),
        (FRAME.with_columns(pl.col("gap").cast(pl.Float32)), "column gap: double, then float"),
        (FRAME.select("gap", "lang"), "columns ['lang', 'gap', 'layers', 'stream', 'scores'], then ['gap', 'lang']"),
    ],
)
def test_the_first_difference_is_named(tmp_path, capsys, changed, line):
    before, after = written(tmp_path / "a", FRAME), written(tmp_path / "b", changed)
    assert main(str(before), str(after)) == 1
    assert capsys.readouterr().out == f"model/tables/gap.parquet: {line}\n1 tables, 1 differ\n"


def test_a_table_of_one_side_alone_is_named(tmp_path):
    before, after = written(tmp_path / "a", FRAME), written(tmp_path / "b", FRAME)
    FRAME.write_parquet(before / "model" / "more.parquet")
    FRAME.write_parquet(after / "world.parquet")
    assert compare(before, after) == {"model/more.parquet": f"not in {after}", "world.parquet": f"not in {before}"}


def test_two_folders_without_tables_are_not_the_same(tmp_path):
    assert main(str(tmp_path), str(tmp_path)) == 1
