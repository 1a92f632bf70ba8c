import gzip
import json
import re

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from exports import write_exports, write_lines
from isogloss.errors import IsoglossError
from isogloss.sources.neuronpedia import UNKNOWN, Malformed, Record, Vocabulary, export_files, read_records
from standins import TEXTS, tiny_sae, tiny_tokenizer

SOURCE = "1-gemmascope-res-16k"
# fmt: off
FIELDS = [  # of neuronpedia's export-data.py
    "id", "modelId", "layer", "index", "creatorId", "dataSource", "tokens", "maxValue", "minValue", "values",
    "maxValueTokenIndex", "dfaValues", "dfaMaxValue", "dfaTargetIndex", "binContains", "binMin", "binMax",
]
# fmt: on


def record(**changes) -> dict:
    return {
        "layer": SOURCE,
        "index": "2",
        "tokens": ["<bos>", "The", "Ġcur", "ren"],
        "values": [0.0, 1.5, 3.25, 0.0],
        "maxValue": 3.25,
        "maxValueTokenIndex": 2,
        **changes,
    }


def folder_of(path, *files: list[dict]):
    path.mkdir(exist_ok=True)
    for number, rows in enumerate(files):
        write_lines(path / f"batch-{number}.jsonl.gz", [json.dumps(row) + "\n" for row in rows])
    return path


def read(folder, **changes) -> list[Record | Malformed]:
    return list(read_records(folder, **{"layer": 1, "features": 64, "stride": 1, **changes}))


@pytest.fixture(scope="module")
def exported(lm_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    sae = tiny_sae(folder / "sae", kind="jumprelu")
    write_exports(folder / "v1", lm=lm_folder, sae=sae, layer=1, texts=TEXTS * 4, source=SOURCE)
    return folder / "v1" / "gemma-2-2b" / SOURCE / "activations"


def test_records_are_read_in_the_order_of_the_export(exported):
    rows = [
        json.loads(line) for path in export_files(exported) for line in gzip.decompress(path.read_bytes()).splitlines()
    ]
    assert all(list(row) == FIELDS for row in rows)
    for stride in (1, 3):
        chosen = [row for row in rows if int(row["index"]) % stride == 0]
        found = read(exported, stride=stride)
        assert [one[:5] for one in found] == [
            (int(row["index"]), row["tokens"], row["values"], row["maxValue"], row["maxValueTokenIndex"])
            for row in chosen
        ]
    assert len({one.feature for one in found}) > 15
    assert {row["binContains"] for row in rows} == {-1, 0.2}


def test_files_go_by_number_and_a_gap_is_logged(tmp_path, caplog):
    for number in (10, 9, 0, 2):
        write_lines(tmp_path / f"batch-{number}.jsonl.gz", [])
    (tmp_path / "fetched.json").touch()
    assert [path.name for path in export_files(tmp_path)] == [f"batch-{n}.jsonl.gz" for n in (0, 2, 9, 10)]
    assert r"batch-1.jsonl.gz is not there (7 such)" in caplog.text
    with pytest.raises(IsoglossError, match="no batch-N"):
        export_files(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tokens": ["a"]}, "not lists of one length"),
        ({"tokens": [], "values": []}, "not lists of one length"),
        ({"values": None}, "not lists of one length"),
        ({"values": [0.0, float("nan"), 3.25, 0.0]}, "not a finite number"),
        ({"values": [0.0, None, 3.25, 0.0]}, "not a finite number"),
        ({"values": [0.0, "1", 3.25, 0.0]}, "not a finite number"),
        ({"values": [0.0, 10**400, 3.25, 0.0]}, "not a finite number"),
        ({"maxValue": None}, "not a finite number"),
        ({"maxValue": float("inf")}, "not a finite number"),
        ({"tokens": ["<bos>", "The", 7, "ren"]}, "not a finite number or a token no string"),
        ({"maxValue": 3.5}, r"maxValue is 3\.5, the largest value 3\.25"),
        ({"maxValueTokenIndex": 1}, "maxValueTokenIndex is 1, the largest value at 2"),
        ({"maxValueTokenIndex": 4}, "maxValueTokenIndex is 4"),
        ({"maxValueTokenIndex": None}, "maxValueTokenIndex is None"),
        ({"index": "two"}, "index 'two'"),
    ],
)
def test_records_that_do_not_fit_together_are_told_apart(tmp_path, changes, reason):
    folder = folder_of(tmp_path / "exports", [record(), record(**changes), record(index=4)])
    first, broken, last = read(folder, stride=2)
    assert isinstance(first, Record)
    assert isinstance(last, Record)
    assert isinstance(broken, Malformed)
    assert re.search(reason, broken.reason)
    assert broken.origin == (folder / "batch-0.jsonl.gz", 2)


@pytest.mark.parametrize("field", ["index", "tokens", "values", "maxValue", "maxValueTokenIndex"])
def test_records_without_a_needed_field_are_malformed(tmp_path, field):
    row = record()
    del row[field]
    (broken,) = read(folder_of(tmp_path / "exports", [row]))
    assert isinstance(broken, Malformed)
    assert broken.reason == f"no {field}"


def test_what_rounding_does_is_no_mistake(tmp_path):
    rows = [
        record(maxValue=3.2504),
        record(values=[0.0, 3.25, 3.25, 0.0]),  # equal once rounded; the first is taken
        record(values=[0.0, 3.249, 3.25, 0.0], maxValueTokenIndex=1),
        record(values=[0, 2, 3, 0], maxValue=3),
    ]
    assert [(one.maximum, one.peak) for one in read(folder_of(tmp_path / "exports", rows))] == [
        (3.2504, 2),
        (3.25, 1),
        (3.25, 2),
        (3.0, 2),
    ]


def test_a_file_that_is_cut_off_or_damaged_is_named_with_its_last_good_line(exported, tmp_path):
    name = "batch-1.jsonl.gz"
    good = gzip.decompress((exported / name).read_bytes()).splitlines(keepends=True)
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_bytes((exported / name).read_bytes()[:-2000])
    seen = []
    with pytest.raises(IsoglossError) as caught:
        seen += read_records(tmp_path, layer=1, features=64, stride=1)
    last = re.fullmatch(
        rf"{tmp_path}/{name}: cut off or damaged, the last good line is (\d+) \(.*\); fetch it again: delete {tmp_path}"
        r" and run snakemake again",
        str(caught.value),
    )
    assert 0 < int(last[1]) < len(good)
    for damaged in (b"not gzip", gzip.compress(b"".join(good))[:-8] + b"x" * 8, gzip.compress(b"")[:-4]):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(IsoglossError, match=f"{name}: cut off or damaged"):
            read(tmp_path)


def test_lines_that_are_no_json_objects_are_named(tmp_path):
    path = folder_of(tmp_path / "exports") / "batch-0.jsonl.gz"
    line = json.dumps(record())
    for broken, reason in ((line[:-9], "not JSON"), ("[1, 2]", "not a JSON object"), (line + line, "not JSON")):
        write_lines(path, [line + "\n", broken + "\n", line + "\n"])
        with pytest.raises(IsoglossError, match=rf"batch-0\.jsonl\.gz:2: {reason}"):
            read(path.parent)
    path.write_bytes(gzip.compress(line.encode() + b"\n" + b'{"index": "2", "\xff": 1}\n'))
    with pytest.raises(IsoglossError, match="gz:2: not JSON"):
        read(path.parent)


def test_exports_of_another_sae_or_layer_are_refused(tmp_path):
    folder = folder_of(tmp_path / "exports", [record(), record(index="64")])
    assert len(read(folder, features=65)) == 2
    for stride in (1, 3):  # 64 is not among every third
        with pytest.raises(IsoglossError, match=r"gz:2: feature 64, but the SAE has 64 features"):
            read(folder, stride=stride)
    with pytest.raises(IsoglossError, match=r"gz:1: a record of '1-gemmascope-res-16k', not of layer 11"):
        read(folder, layer=11, features=65)
    for source in ("layer_7/width_16k", None):
        assert len(read(folder_of(tmp_path / "other", [record(layer=source)]))) == 1


def test_a_feature_left_out_costs_no_parsing_wherever_its_number_stands(tmp_path):
    rows = [record(index=str(index)) for index in range(8)]
    rows[3] = {"tokens": ['"index": "2"', "index"], **dict(reversed(rows[3].items()))}
    rows[5]["index"] = 5
    folder = folder_of(tmp_path / "exports")
    for separators in ((",", ":"), (", ", ": ")):
        lines = [json.dumps(row, separators=separators) + "\n" for row in rows]
        write_lines(folder / "batch-0.jsonl.gz", lines)
        assert [one.feature for one in read(folder)] == list(range(8))
        assert [one.feature for one in read(folder, stride=2)] == [0, 2, 4, 6]


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """Gemma's forms: "▁" for a space, newlines as they are, bytes as <0x..>."""
    entries = ["<pad>", "<eos>", "<bos>", "<unk>", "▁the", "the", "\n", "\n\n", "<0x09>", "<0x0A>", "▁", "▁▁", "↵"]
    tokenizer = Tokenizer(models.BPE({entry: n for n, entry in enumerate(entries)}, []))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", unk_token="<unk>")


def test_tokens_become_the_ids_of_the_vocabulary():
    tokenizer = tiny_tokenizer()
    own = tokenizer.get_vocab()
    vocabulary = Vocabulary(tokenizer)
    assert {token: vocabulary[token] for token in own} == own
    gemma = Vocabulary(sentencepiece_like())
    names = ["▁the", " the", "Ġthe", "the", "\n", "Ċ", "\n\n", "ĊĊ", "<0x0A>", "\t", "<0x09>", " ", "  ", "↵", "<bos>"]
    assert [gemma[name] for name in names] == [4, 4, 4, 5, 6, 6, 7, 7, 9, 8, 8, 10, 11, 12, 2]
    assert [gemma[name] for name in ("▁The", "", "Ã", "<|outofrange|>", "▁The")] == [UNKNOWN] * 5


def test_tokens_that_dashboards_make_readable_are_found_again():
    # SAEDashboard (neuronpedia_runner.py) writes these for byte-level BPE; "Ġ" is the rest of a character's bytes.
    readable = {"âĢĶ": "—", "âĢĵ": "–", "âĢľ": "“", "âĢĿ": "”", "âĢĺ": "‘", "âĢĻ": "’", "Ġ": " ", "Ċ": "\n", "ĉ": "\t"}
    entries = ["<bos>", *readable, "Ġâ", "âĢĶĠ", "ĠâĢľ", "ĊĊ", "Ã©", "Ġthe", "ĠÃ©t", "é", "\u0120\u00e0\u00a4"]
    tokenizer = Tokenizer(models.BPE({entry: n for n, entry in enumerate(entries)}, []))
    vocabulary = Vocabulary(PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>"))
    for number, entry in enumerate(entries):
        shown = entry
        for raw, text in readable.items():
            shown = shown.replace(raw, text)
        assert vocabulary[shown] == vocabulary[entry] == number
    assert vocabulary["▁the"] == vocabulary[" the"] == entries.index("Ġthe")
    assert vocabulary["↵↵"] == entries.index("ĊĊ")
    assert vocabulary[" ét"] == entries.index("ĠÃ©t")  # wholly decoded
