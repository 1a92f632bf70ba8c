import subprocess
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from isogloss.errors import IsoglossError
from isogloss.tables import (
    TableWriter,
    atomic_path,
    iter_table,
    open_table,
    read_table,
    table_metadata,
    write_table,
)
from isogloss.tables.disparity import SIMILARITY_PAIRS
from isogloss.tables.layers import iter_layers, layers_in

SCHEMA = pa.schema({"phrase": pa.int64(), "text": pa.string()})


def test_streamed_row_groups_come_back_in_order_with_metadata(tmp_path: Path):
    path = tmp_path / "new" / "phrases.parquet"
    with TableWriter(path, SCHEMA, {"study": "s", "layers": [0, 1]}) as writer:
        writer.write({"phrase": [0, 1], "text": ["a", "ब"]})
        writer.write(pl.DataFrame({"text": ["c"], "phrase": [2]}))
    assert open_table(path).num_row_groups == 2
    assert read_table(path).rows() == [(0, "a"), (1, "ब"), (2, "c")]
    assert [len(frame) for frame in iter_table(path, batch_size=2)] == [2, 1]
    assert table_metadata(path) == {"study": "s", "layers": [0, 1]}


def test_a_failed_write_leaves_the_old_table_and_no_debris(tmp_path: Path):
    path = tmp_path / "t.parquet"
    write_table(path, pl.DataFrame({"x": [1]}))

    def half() -> None:
        with TableWriter(path, SCHEMA) as writer:
            writer.write({"phrase": [0], "text": ["a"]})
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        half()
    assert read_table(path)["x"].to_list() == [1]
    assert [child.name for child in tmp_path.iterdir()] == ["t.parquet"]


def test_atomic_folder_replaces_the_old_one(tmp_path: Path):
    target = tmp_path / "lm"
    for content in ("old", "new"):
        with atomic_path(target) as aside:
            aside.mkdir()
            (aside / "config.json").write_text(content)
    assert (target / "config.json").read_text() == "new"
    assert [child.name for child in tmp_path.iterdir()] == ["lm"]


def folder_at(target: Path, content: str) -> None:
    with atomic_path(target) as aside:
        aside.mkdir()
        (aside / "config.json").write_text(content)


def test_a_folder_stays_if_another_run_takes_the_new_one_away(tmp_path: Path):
    target = tmp_path / "lm"
    folder_at(target, "old")
    orphan = atomic_path(target)
    aside = orphan.__enter__()
    aside.mkdir()
    folder_at(tmp_path / "lm2", "another name")
    assert aside.exists()
    folder_at(target, "the successor's")
    with pytest.raises(IsoglossError, match="lm: another run in this folder began to write it; this one leaves it"):
        orphan.__exit__(None, None, None)
    assert (target / "config.json").read_text() == "the successor's"
    assert sorted(child.name for child in tmp_path.iterdir()) == ["lm", "lm2"]


def test_a_folder_that_a_kill_left_out_of_the_way_is_put_back(tmp_path: Path):
    target = tmp_path / "lm"
    folder_at(target, "old")
    target.replace(tmp_path / ".lm.old")  # killed between two renames
    with pytest.raises(RuntimeError, match="fails"), atomic_path(target):
        raise RuntimeError("fails")
    assert (target / "config.json").read_text() == "old"
    target.replace(tmp_path / ".lm.old")
    folder_at(target, "new")
    assert (target / "config.json").read_text() == "new"
    assert [child.name for child in tmp_path.iterdir()] == ["lm"]


@pytest.mark.parametrize("keep", [0, 4, 0.5, 0.99])
def test_truncated_parquet_is_one_clear_line(tmp_path: Path, keep: float):
    path = tmp_path / "cut.parquet"
    write_table(path, pl.DataFrame({"x": list(range(1000))}))
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(len(whole) * keep)])
    with pytest.raises(IsoglossError, match=r"cut\.parquet: not a complete Parquet file.*delete it and run") as caught:
        read_table(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(IsoglossError, match="no such table"):
        read_table(tmp_path / "absent.parquet")


def test_a_table_without_a_column_that_is_asked_for_is_one_line(tmp_path: Path):
    path = tmp_path / "narrow.parquet"
    write_table(path, pl.DataFrame({"x": [1], "layer": [0]}))
    assert read_table(path, ["x"]).columns == ["x"]
    sentence = r"narrow\.parquet: no column y, so edited or not ours; delete it and run snakemake again"
    with pytest.raises(IsoglossError, match=sentence):
        read_table(path, ["x", "y"])
    with pytest.raises(IsoglossError, match=sentence):
        list(iter_table(path, ["y"]))
    with pytest.raises(IsoglossError, match=sentence):
        list(iter_layers([path], [0], ["x", "y"]))
    write_table(path, pl.DataFrame({"x": [1]}))
    with pytest.raises(IsoglossError, match=r"no column layer, so edited"):
        layers_in(path)


def test_full_disk_is_one_clear_line_and_loses_nothing(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        write_table(disk / "t.parquet", pl.DataFrame({"x": [1]}))
        noise = pl.DataFrame({"x": pl.Series([hash((i, "x")) for i in range(200_000)], dtype=pl.Int64)})
        with pytest.raises(IsoglossError, match="the disk is full, nothing was written; free some space"):
            write_table(disk / "t.parquet", noise)
        assert read_table(disk / "t.parquet")["x"].to_list() == [1]
        assert [child.name for child in disk.iterdir()] == ["t.parquet"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_final_tables_keep_their_contract(tmp_path: Path):
    path = tmp_path / "tables" / "similarity_pairs.parquet"
    frame = pl.DataFrame(
        {"extra": [1], "n": [3], "cosine": [0.5], "centred": [0.5], "lang_b": ["hi"], "lang_a": ["en"], "layer": [0]}
    )
    write_table(path, frame, contract=SIMILARITY_PAIRS)
    schema = open_table(path).schema_arrow
    assert schema.names == [*SIMILARITY_PAIRS, "extra"]
    assert [schema.field(name).type for name in SIMILARITY_PAIRS] == [*SIMILARITY_PAIRS.values()]
    with pytest.raises(ValueError, match=r"contract's columns \['cosine'\]"):
        write_table(path, frame.drop("cosine"), contract=SIMILARITY_PAIRS)
