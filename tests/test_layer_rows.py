import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from isogloss.errors import IsoglossError
from isogloss.tables import TableWriter, write_table
from isogloss.tables.layers import iter_layers, layers_in


def write(path, groups):
    """A table with a row group for each sequence of layers; a list column stands before `layer`."""
    schema = pa.schema({"ids": pa.list_(pa.int32()), "layer": pa.int32(), "row": pa.int64()})
    row = 0
    with TableWriter(path, schema) as writer:
        for layers in groups:
            writer.write(
                {"ids": [[1, 2]] * len(layers), "layer": layers, "row": list(range(row, row := row + len(layers)))}
            )
    return path


@pytest.mark.parametrize("size", [1, 3, 100])
def test_rows_are_those_of_a_plain_filter_in_any_order_and_row_groups(tmp_path, size):
    groups = [[0, 0, 2], [2, 2], [5, 0, 1], [3], [2, 3, 3, 3], [], [7]]
    paths = [write(tmp_path / "a.parquet", groups), write(tmp_path / "b.parquet", groups[::-1])]
    whole = pl.concat([pl.read_parquet(path) for path in paths])
    for wanted in ([2], [0, 3], [7, 1], [4], None):
        frames = list(iter_layers(paths, wanted, ["row", "ids"], batch_size=size))
        assert all(0 < frame.height <= size for frame in frames)
        expected = whole if wanted is None else whole.filter(pl.col("layer").is_in(wanted))
        found = pl.concat(frames) if frames else whole[:0].select("row", "ids")
        assert found.equals(expected.select("row", "ids"))
    assert pl.concat(list(iter_layers(paths, [3]))).columns == ["ids", "layer", "row"]
    assert layers_in(paths[0]) == [0, 1, 2, 3, 5, 7]


def test_no_more_than_a_row_group_is_held(tmp_path):
    """Tables of residuals are larger than any memory: the first batch must not bring the whole file along."""
    rows = np.random.default_rng(0).normal(size=(1000, 100)).astype(np.float32)  # 0.4 MB a row group
    schema = pa.schema({"layer": pa.int32(), "pooled": pa.list_(pa.float32(), 100)})
    with TableWriter(tmp_path / "many.parquet", schema) as writer:
        for _ in range(50):
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 100)
            writer.write({"layer": np.zeros(1000, dtype=np.int32), "pooled": vectors})
    before = pa.total_allocated_bytes()
    held = [
        pa.total_allocated_bytes() - before for _ in iter_layers([tmp_path / "many.parquet"], None, batch_size=1000)
    ]
    assert len(held) == 50
    assert max(held) < 50 * rows.nbytes / 4  # decoding takes a few times a row group


def test_a_file_that_is_cut_off_or_missing_is_named(tmp_path):
    with pytest.raises(IsoglossError, match="no such table"):
        list(iter_layers([tmp_path / "none.parquet"], [0]))
    write_table(tmp_path / "cut.parquet", pl.DataFrame({"layer": [0, 1]}))
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "cut.parquet").read_bytes()[:-20])
    with pytest.raises(IsoglossError, match="not a complete Parquet file"):
        layers_in(tmp_path / "cut.parquet")
