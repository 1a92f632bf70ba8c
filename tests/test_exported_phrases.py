import gzip
import json
import logging
import math
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from config_sections import grouped
from exports import write_exports, write_lines
from isogloss.config.measures import Phrases
from isogloss.errors import IsoglossError
from isogloss.phrases import exported as stage
from isogloss.phrases.exported import RECORDS, export_phrases
from isogloss.phrases.search import PHRASES
from isogloss.tables import open_table, read_table, table_metadata
from standins import TEXTS, tiny_sae

LAYER, FEATURES, SOURCE = 1, 64, "1-gemmascope-res-16k"
SETTINGS = {"threshold": 0.8, "window": 4, "feature_stride": 3, "per_feature": 3, "checked_records": 5}
MANY = [f"{a} {b}." for a in TEXTS for b in reversed(TEXTS)]


@pytest.fixture(scope="module", params=["topk", "jumprelu"])
def sae(request, tmp_path_factory) -> Path:
    return tiny_sae(tmp_path_factory.mktemp("sae") / f"layer_{LAYER}", kind=request.param)


def exported(lm: Path, sae: Path, folder: Path, **changes) -> Path:
    settings = {"texts": MANY, "source": SOURCE, "layer": LAYER, "records_per_feature": 10, **changes}
    write_exports(folder, lm=lm, sae=sae, **settings)
    return folder / "gemma-2-2b" / SOURCE / "activations"


@pytest.fixture(scope="module")
def exports(lm_folder, sae, tmp_path_factory) -> Path:
    return exported(lm_folder, sae, tmp_path_factory.mktemp("v1"))


def run(lm: Path, exports: Path, out: Path, **changes) -> tuple[pl.DataFrame, pl.DataFrame, dict]:
    export_phrases(
        **grouped(
            {
                "exports": str(exports),
                "lm": str(lm),
                "phrases": str(out / "layer_1.parquet"),
                "records": str(out / "layer_1.records.parquet"),
                "counts": str(out / "layer_1.counts.parquet"),
                "layer": LAYER,
                "features": FEATURES,
                "metadata": {"study": "x"},
                **SETTINGS,
                **changes,
            },
            settings=Phrases,
        )
    )
    tables = (read_table(out / f"layer_1{part}.parquet") for part in ("", ".records", ".counts"))
    phrases, records, counts = tables
    return phrases, records, counts.row(0, named=True)


def rows_of(exports: Path) -> list[dict]:
    paths = sorted(exports.glob("*.gz"), key=lambda path: int(path.name.split("-")[1].split(".")[0]))
    return [json.loads(line) for path in paths for line in gzip.decompress(path.read_bytes()).splitlines()]


def written(path: Path, *files: list[dict]) -> Path:
    path.mkdir(exist_ok=True, parents=True)
    for number, rows in enumerate(files):
        write_lines(path / f"batch-{number}.jsonl.gz", [json.dumps(row) + "\n" for row in rows])
    return path


def naive(lm: Path, exports: Path, *, threshold, window, feature_stride, per_feature, **_) -> list[tuple]:
    """Everything of a feature at once, tokens cut as strings."""
    tokenizer = AutoTokenizer.from_pretrained(lm)
    by_feature, found = defaultdict(list), []
    for row in rows_of(exports):
        peak = row["values"].index(max(row["values"]))
        if row["tokens"][peak] != "<bos>" and int(row["index"]) % feature_stride == 0:
            by_feature[int(row["index"])].append((row["maxValue"], peak, row["tokens"]))
    for feature, rows in sorted(by_feature.items()):
        largest, texts = max(rows)[0], []
        for value, peak, tokens in sorted(rows, key=lambda row: -row[0]):
            left = " ".join(tokens[max(0, peak - window) : peak]).split("<bos>")[-1].split()
            right = " ".join(tokens[peak : peak + window + 1]).split("<bos>")[0].split()
            ids = tokenizer.convert_tokens_to_ids(left + right)
            text = tokenizer.decode(ids).strip().strip("�").strip()
            if text and value >= threshold * largest and ids not in texts and len(texts) < per_feature:
                found.append((feature, len(texts), text, ids, value, largest))
                texts.append(ids)
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"threshold": 0.5, "per_feature": 20, "feature_stride": 1},
        {"window": 1, "feature_stride": 7, "threshold": 1.0},
        {"window": 100, "per_feature": 1},
    ],
)
def test_phrases_are_those_of_a_plain_search(lm_folder, exports, tmp_path, changes):
    phrases, _, counts = run(lm_folder, exports, tmp_path, **changes)
    expected = naive(lm_folder, exports, **{**SETTINGS, **changes})
    assert len(expected) > 5
    exact = phrases.select("feature", "rank", "text", "ids")
    assert exact.rows() == [row[:4] for row in expected]
    assert phrases["activation"].to_list() == pytest.approx([row[4] for row in expected], rel=1e-6)
    assert phrases["feature_max"].to_list() == pytest.approx([row[5] for row in expected], rel=1e-6)
    assert phrases["phrase"].to_list() == [2**32 + n for n in range(len(expected))]
    assert phrases["layer"].unique().to_list() == [LAYER]
    assert phrases["segments"].to_list() == [[]] * len(expected)
    dropped = counts["empty_dropped"] + counts["duplicates_dropped"] + counts["surplus_dropped"]
    assert counts["n_phrases"] == len(expected) == counts["windows"] - dropped
    assert counts["features_with_phrases"] == phrases["feature"].n_unique()
    assert counts["mean_tokens"] == pytest.approx(phrases["ids"].list.len().mean())
    assert counts["cut_short"] == (phrases["ids"].list.len() < 2 * {**SETTINGS, **changes}["window"] + 1).sum()


def test_what_is_written_has_its_schema_metadata_and_counts(lm_folder, exports, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "_PHRASES", 4)
    phrases, records, counts = run(lm_folder, exports, tmp_path)
    for name, schema in (("layer_1", PHRASES), ("layer_1.records", RECORDS)):
        assert pq.read_schema(tmp_path / f"{name}.parquet").remove_metadata().equals(schema)
        assert table_metadata(tmp_path / f"{name}.parquet") == {"study": "x"}
    assert open_table(tmp_path / "layer_1.parquet").num_row_groups == math.ceil(len(phrases) / 4)
    read = [row for row in rows_of(exports) if int(row["index"]) % 3 == 0]
    assert counts["layer"] == LAYER
    assert counts["features_sampled"] == 22
    assert counts["records"] == len(read)
    assert counts["features_recorded"] == len({row["index"] for row in read})
    assert counts["duplicates_dropped"] + counts["surplus_dropped"] > 0
    nothing = ["records_malformed", "unknown_tokens_dropped", "bos_peaks_dropped"]
    assert [counts[name] for name in nothing] == [0] * 3
    assert len(records) == SETTINGS["checked_records"]


def test_checked_records_are_the_strongest_of_evenly_spaced_features(lm_folder, exports, tmp_path):
    rows = rows_of(exports)
    tokenizer = AutoTokenizer.from_pretrained(lm_folder)
    for count in (0, 1, 5, 1000):
        phrases, records, _ = run(lm_folder, exports, tmp_path, checked_records=count)
        features = phrases["feature"].unique().sort().to_list()
        chosen = records["feature"].to_list()
        assert len(chosen) == min(count, len(features))
        assert chosen == sorted(set(chosen))
        if count == 5:
            assert (chosen[0], chosen[-1]) == (features[0], features[-1])
            positions = [features.index(feature) for feature in chosen]
            assert max(b - a for a, b in pairwise(positions)) <= math.ceil((len(features) - 1) / 4)
        for record in records.iter_rows(named=True):
            own = [row for row in rows if row["index"] == str(record["feature"])]
            best = max(own, key=lambda row: row["maxValue"])  # of equal ones the first
            assert tokenizer.convert_ids_to_tokens(record["ids"]) == best["tokens"]
            assert record["values"] == pytest.approx(best["values"], rel=1e-6)
            assert record["peak"] == best["maxValueTokenIndex"]
            assert record["layer"] == LAYER


def test_records_of_a_feature_may_lie_in_any_file_in_any_order(lm_folder, exports, tmp_path):
    whole, records, counts = run(lm_folder, exports, tmp_path / "whole")
    rows = rows_of(exports)
    spread = written(tmp_path / "spread", rows[::2], rows[1::2], [])
    assert run(lm_folder, spread, tmp_path / "b")[2] == counts
    backwards = written(tmp_path / "backwards", rows[::-1])  # weakest first: the maximum is known last
    phrases, again, reversed_counts = run(lm_folder, backwards, tmp_path / "c")
    assert reversed_counts == counts
    distinct = pl.struct("feature", "activation").is_unique()
    assert phrases.filter(distinct).drop("phrase", "rank").equals(whole.filter(distinct).drop("phrase", "rank"))
    assert again["feature"].equals(records["feature"])


def record(tokens: list[str], values: list[float], **changes) -> dict:
    peak = values.index(max(values))
    return {
        "layer": SOURCE, "index": "3", "tokens": tokens, "values": values, "maxValue": max(values),
        "maxValueTokenIndex": peak, **changes,
    }  # fmt: skip


def one_feature(lm: Path, folder: Path, rows: list[dict], **changes):
    phrases, _, counts = run(
        lm, written(folder / "exports", rows), folder, **{"window": 2, "per_feature": 9, **changes}
    )
    tokenizer = AutoTokenizer.from_pretrained(lm)
    return [tokenizer.convert_ids_to_tokens(ids) for ids in phrases["ids"]], phrases, counts


def test_windows_end_with_the_text_and_at_special_tokens(lm_folder, tmp_path):
    a, b, c, d, e = "a", "b", "c", "d", "e"
    rows = [
        record(["<bos>", a, b, c, d, e], [0.0, 0, 0, 9.9, 0, 0]),
        record(["<bos>", a, b, c, d, e], [0.0, 9.8, 0, 0, 0, 0]),  # a leading BOS is no part of the window
        record([a, b, c, d, e], [9.7, 0, 0, 0, 0]),  # no BOS in the record, the same window
        record([a, b, c, d, e], [0.0, 0, 0, 0, 9.6]),
        record([a, b, "<bos>", d, e], [0.0, 0, 0, 9.5, 0]),  # documents packed into one context
        record([e, b, "<eos>", d, e], [0.0, 9.4, 0, 0, 0]),
        record(["<bos>", "<bos>", c, "<eos>"], [0.0, 0, 9.3, 0]),
        record(["<bos>", a, b], [9.2, 0, 0]),
        record([a, "<eos>", b], [0.0, 99.0, 0]),  # counts for no maximum
    ]
    windows, phrases, counts = one_feature(lm_folder, tmp_path, rows)
    assert windows == [[a, b, c, d, e], [a, b, c], [c, d, e], [d, e], [e, b], [c]]
    assert phrases["text"].to_list() == ["abcde", "abc", "cde", "de", "eb", "c"]
    assert phrases["feature_max"].to_list() == pytest.approx([9.9] * 6)
    assert (counts["duplicates_dropped"], counts["bos_peaks_dropped"], counts["cut_short"]) == (1, 2, 5)


def test_windows_without_text_are_dropped_and_torn_characters_cut_off(lm_folder, tmp_path):
    rows = [
        record(["Ġ", "Ċ", "Ġ"], [0.0, 9.9, 0]),
        record(["à", "¤"], [0.0, 9.8]),  # two of the three bytes of a letter
        record(["Ġ", "¤", "ķ", "cur", "Ċ"], [0.0, 0, 9.7, 0, 0]),
        record(["cur", "à", "¤", "ķ", "x"], [0.0, 0, 9.6, 0, 0]),
    ]
    windows, phrases, counts = one_feature(lm_folder, tmp_path, rows)
    assert phrases["text"].to_list() == ["cur", "curकx"]
    assert windows == [rows[2]["tokens"], rows[3]["tokens"]]  # the model still reads all of it
    assert counts["empty_dropped"] == 2
    assert phrases["rank"].to_list() == [0, 1]


def test_equal_maxima_keep_the_order_of_the_export(lm_folder, tmp_path):
    rows = [
        record([letter, "x"], [value, 0.0]) for letter, value in zip("abcdef", (5.0, 7, 6.5, 7, 6.5, 4), strict=True)
    ]
    windows, _, counts = one_feature(lm_folder, tmp_path, rows, per_feature=3)
    assert [window[0] for window in windows] == ["b", "d", "c"]
    assert (counts["windows"], counts["surplus_dropped"]) == (4, 1)


def test_features_that_never_fire_have_no_phrases(lm_folder, tmp_path):
    rows = [record(["a", "b"], [0.0, 0.0], index="0"), record(["a", "b"], [0.0, 1.0])]
    _, phrases, counts = one_feature(lm_folder, tmp_path, rows)
    assert phrases["feature"].to_list() == [3]
    assert (counts["records"], counts["features_recorded"]) == (2, 1)
    with pytest.raises(IsoglossError, match=r"none of the 1 records .*: 1 do not fire; .* or lower"):
        one_feature(lm_folder, tmp_path, rows[:1])
    with pytest.raises(IsoglossError, match="no record of a sampled feature"):
        one_feature(lm_folder, tmp_path, [record(["a", "b"], [0.0, 1.0], index="4")])


@pytest.mark.parametrize(
    ("tokens", "values", "line"),
    [
        (["<bos>", "a"], [5.0, 1.0], "1 are strongest at BOS or another special token; take exports .*leave BOS out"),
        (["Ġ", "Ġ"], [0.0, 5.0], "1 have a blank window; raise phrases.window"),
    ],
)
def test_exports_with_nothing_usable_say_why_and_what_helps(lm_folder, tmp_path, tokens, values, line):
    with pytest.raises(IsoglossError, match=line) as error:
        one_feature(lm_folder, tmp_path, [record(tokens, values)])
    assert "\n" not in str(error.value)


def test_a_token_that_is_half_a_surrogate_pair_makes_one_record_malformed(lm_folder, tmp_path):
    rows = [record(["a", "b"], [0.0, 1.0])] * 200 + [record(["\ud83d", "b"], [0.0, 1.0])]
    _, _, counts = one_feature(lm_folder, tmp_path, rows)
    assert (counts["records"], counts["records_malformed"]) == (201, 1)


def test_a_few_malformed_records_are_counted_and_many_stop(lm_folder, tmp_path, caplog):
    rows = [record([f"{n % 10}", "a"], [1.0, 0.0]) for n in range(199)]
    rows[50] = record(["a"], [1.0, 0.0])
    with caplog.at_level(logging.WARNING):
        counts = one_feature(lm_folder, tmp_path, rows)[2]
    assert (counts["records"], counts["records_malformed"]) == (199, 1)
    assert "batch-0.jsonl.gz:51: malformed record (tokens and values are not lists of one length)" in caplog.text
    rows[150] = record(["a", "b"], [1.0, math.nan])
    with pytest.raises(IsoglossError, match=r"gz:51: malformed record .*, the first of 2 of 199; are these"):
        one_feature(lm_folder, tmp_path, rows)


def test_a_few_unknown_tokens_are_counted_and_exports_of_another_tokenizer_refused(lm_folder, tmp_path, caplog):
    rows = [record([f"{n % 10}", "a"], [1.0, 0.0]) for n in range(199)]
    rows[20]["tokens"][1] = "▁Quatsch"
    with caplog.at_level(logging.WARNING):
        windows, _, counts = one_feature(lm_folder, tmp_path, rows, per_feature=99)
    assert (counts["unknown_tokens_dropped"], len(windows)) == (1, 10)
    assert "gz:21: token '▁Quatsch' is not in the model's vocabulary" in caplog.text
    rows[30]["tokens"] = ["▁Unfug", "a"]
    with pytest.raises(
        IsoglossError, match=r"gz:21: token '▁Quatsch' .* first of 2 such records of 199: exports of anoth"
    ):
        one_feature(lm_folder, tmp_path, rows)
    assert not list(tmp_path.glob("*.partial"))


def test_tokens_made_readable_give_the_same_phrases(lm_folder, exports, tmp_path):
    raw = run(lm_folder, exports, tmp_path / "raw")
    rows = rows_of(exports)
    for row in rows:
        row["tokens"] = [token.replace("Ġ", " ") for token in row["tokens"]]
    readable = run(lm_folder, written(tmp_path / "readable", rows), tmp_path / "out")
    assert all(a.equals(b) for a, b in zip(raw[:2], readable[:2], strict=True))


def test_mistakes_in_the_export_leave_no_tables(lm_folder, exports, tmp_path):
    with pytest.raises(IsoglossError, match="feature 32, but the SAE has 32 features"):
        run(lm_folder, exports, tmp_path, features=32)
    with pytest.raises(IsoglossError, match="a record of '1-gemmascope-res-16k', not of layer 2"):
        run(lm_folder, exports, tmp_path, layer=2)
    with pytest.raises(IsoglossError, match=r"no batch-N\.jsonl\.gz"):
        run(lm_folder, tmp_path, tmp_path)
    assert not list(tmp_path.iterdir())
