"""Valid files, damaged: values of other types, keys gone or twice, lines and bytes changed; as a number says.

Random text is refused by the first check of a reader. What finds faults is nearly right.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

DEEP, DIGITS = "\ue000deep", "\ue000digits"  # what JSON can say and Python's writer cannot
TEXTS = [
    *("", " ", "\u3000", "\u200b", "\ufeff", "\x00", "a\x00b", "a\u2028b", "a\nb", "a\r\nb", "\t", '"', "\\", "'", ","),
    *("\ud83d", "x\udc00", "\u202e", "١", "²", "1", "-1", "1.0", "1e3", "0x10", "NaN", "null", "no", "2024-01-01"),
    *("9" * 5000, "x" * 5000, "<bos>", "</s>", "<script>", "../..", "/etc/passwd", "%s{0}{x}", "ÿ" * 300, "A", "~no/x"),
    DEEP,
    DIGITS,
]
NUMBERS = [0, 1, -1, 3, 2**31, 2**32, 2**63, -(2**63), 10**30, 10**400, 0.5, 1.0, -0.0, 1e39, 1e308, math.nan, math.inf]
CONTAINERS: list[Any] = [[], {}, [[]], ["a"], ["a", 1], [None], {"a": 1}, {"en": "a", "es": "b"}, [["a"], {"b": []}]]


def odd(rng: Random) -> Any:
    """A value where another one is meant."""
    kinds: list[Sequence[Any]] = [TEXTS, TEXTS, NUMBERS, CONTAINERS, [None, True, False]]
    return deepcopy(rng.choice(rng.choice(kinds)))


def mutated(value: Any, rng: Random) -> Any:
    """`value` with one value in it, key, item, or itself, changed."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        out = dict(value)
        match rng.randrange(6):
            case 0:
                del out[key]
            case 1:
                out[rng.choice(TEXTS)] = out[key]
            case _:
                out[key] = mutated(out[key], rng)
        return out
    if isinstance(value, list) and value and rng.random() < 0.6:
        out, at = list(value), rng.randrange(len(value))
        match rng.randrange(4):
            case 0:
                del out[at]
            case 1:
                out.insert(at, deepcopy(out[at]))
            case _:
                out[at] = mutated(out[at], rng)
        return out
    return odd(rng)


def as_json(value: Any, rng: Random) -> str:
    """`value` as JSON, a key of its twice now and then."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.7)
    text = text.replace(json.dumps(DEEP), "[" * 3000 + "]" * 3000).replace(json.dumps(DIGITS), "9" * 5000)
    if isinstance(value, dict) and value and rng.random() < 0.05:
        text = f"{text[:-1]}, {json.dumps(rng.choice(list(value)))}: 1}}"
    return text


def encoded(text: str) -> bytes:
    """The text in UTF-8; what that cannot hold as the three bytes that it would have."""
    return text.encode("utf-8", "surrogatepass")


def json_lines(rows: Sequence[Mapping[str, Any]], rng: Random) -> bytes:
    """JSON Lines of `rows`, some of them mutated, and lines that are none."""
    out = [dict(row) for row in rows]
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        at = rng.randrange(len(out))
        out[at] = mutated(out[at], rng)
    lines = [as_json(row, rng) for row in out]
    if rng.random() < 0.3:
        at = rng.randrange(len(lines))
        lines.insert(
            at, rng.choice(["", " ", "[]", "1", "null", "<html>", lines[at], "{", '{"a": }', "NaN", "\ufeff{}"])
        )
    return in_bytes("\n".join(lines) + rng.choice(["\n", ""]), rng)


def in_bytes(text: str, rng: Random) -> bytes:
    """The text as a file: mostly UTF-8, and the bytes of it mostly whole."""
    match rng.randrange(24):
        case 0:
            return text.encode("utf-16", "surrogatepass")
        case 1:
            return text.encode("latin-1", "replace")
        case 2:
            text = text.replace("\n", "\r\n")
        case 3:
            text = "\ufeff" + text
    return broken(encoded(text), rng) if rng.random() < 0.25 else encoded(text)


def broken(content: bytes, rng: Random) -> bytes:
    """`content` with bytes flipped, cut off, doubled or put in."""
    out = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(6):
            case 0:
                del out[at:]
            case 1:
                del out[at : at + rng.randrange(1, 20)]
            case 2:
                out[at:at] = out[at : at + rng.randrange(1, 40)]
            case 3:
                out[at:at] = rng.choice(
                    [b"\x00", b"\xff", b"\n", b'"', b"\xed\xa0\xbd", b"\\ud83d", b"9" * 30, b"[", b"\xe2"]
                )
            case _ if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
    return bytes(out)


def as_list(value: Any) -> list[Any]:
    """The value itself if it is a list, else a list of it."""
    return value if isinstance(value, list) else [value]


def lines(content: bytes, rng: Random) -> bytes:
    """A text file with lines gone, twice or changed, and bytes broken."""
    parts = content.decode().split("\n")
    for _ in range(rng.choice([0, 1, 1, 2])):
        at = rng.randrange(len(parts))
        match rng.randrange(5):
            case 0:
                parts.insert(at, parts[at])
            case 1 if len(parts) > 1:
                del parts[at]
            case 2:
                parts[at] = str(rng.choice(TEXTS))
            case _:
                start = rng.randrange(len(parts[at]) + 1)
                stop = min(len(parts[at]), start + rng.choice([0, 1, 5]))
                parts[at] = parts[at][:start] + str(rng.choice([*TEXTS, *NUMBERS[:12]])) + parts[at][stop:]
    return in_bytes("\n".join(parts), rng)


def table(content: bytes, rng: Random, delimiter: str = ",") -> bytes:
    """A CSV or TSV file with fields of other kinds, or as `lines`."""
    if rng.random() < 0.5:
        return lines(content, rng)
    rows = list(csv.reader(io.StringIO(content.decode()), delimiter=delimiter))
    for _ in range(rng.choice([1, 1, 2])):
        at = rng.randrange(len(rows))
        rows[at] = [str(part) for part in as_list(mutated(rows[at], rng))]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return in_bytes(text.getvalue(), rng)


LATIN = b"\xff"
COLUMNS: list[Callable[[int], pa.Array]] = [
    lambda n: pa.array([None] * n),
    lambda n: pa.array(range(n)),
    lambda n: pa.array([0.5] * n),
    lambda n: pa.array([True] * n),
    lambda n: pa.array([b"\xff\xfe"] * n),
    lambda n: pa.array([["a", None]] * n),
    lambda n: pa.array([[1]] * n),
    lambda n: pa.array([{"a": 1}] * n),
    lambda n: pa.array([2**62] * n, pa.timestamp("ms")),
    lambda n: pa.array(["a"] * n).dictionary_encode(),
    lambda n: pa.array([""] * n),
    lambda n: pa.array(["a\x00b"] * n, pa.large_string()),
    lambda n: pa.StringArray.from_buffers(n, pa.array(range(n + 1), pa.int32()).buffers()[1], pa.py_buffer(LATIN * n)),
]


def parquet(rows: Sequence[Mapping[str, Any]], rng: Random) -> bytes:
    """A Parquet file of `rows` with a column of another kind, gone, doubled or renamed, or its bytes broken."""
    whole = pa.Table.from_pylist([dict(row) for row in rows])
    names, columns = list(whole.schema.names), list(whole.columns)
    for _ in range(rng.choice([0, 1, 1, 2])):
        at = rng.randrange(len(names))
        match rng.randrange(6):
            case 0 if len(names) > 1:
                del names[at], columns[at]
            case 1:
                names[at] = rng.choice(["a", "", "text", "é", names[0]])
            case 2:
                names.append(names[at])
                columns.append(columns[at])
            case _:
                columns[at] = rng.choice(COLUMNS)(len(rows))
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, names), sink, compression=rng.choice(["none", "snappy"]))
    return broken(sink.getvalue(), rng) if rng.random() < 0.3 else sink.getvalue()


def pickled(tensors: Mapping[str, torch.Tensor], rng: Random) -> bytes:
    """A file of `torch.save` whose tensors are lacking, called or made otherwise, or whose bytes are broken."""
    changed: dict[Any, Any] = dict(tensors)
    name = rng.choice(list(changed))
    odd = [1, "x", None, [changed[name]], torch.zeros(3), torch.zeros(2, 2).to_sparse(), changed[name].half()]
    match rng.randrange(4):
        case 0:
            del changed[name]
        case 1:
            changed[rng.choice([1, "x", None])] = changed[name]
        case 2:
            changed[name] = rng.choice(odd)
    stream = io.BytesIO()
    torch.save(rng.choice([changed] * 5 + [list(changed.values()), 3]), stream)
    return broken(stream.getvalue(), rng) if rng.random() < 0.4 else stream.getvalue()
