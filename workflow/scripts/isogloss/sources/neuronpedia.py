"""Neuronpedia's exports of features' top activations, record by record (resources/papers.md, paper A).

A layer is a folder of batch-N.jsonl.gz; a line is a text of (mostly) 128 tokens with the activation of one feature at
each. Records of a feature may lie in any file, in any order.
"""

import gzip
import logging
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from isogloss.errors import IsoglossError, shown
from isogloss.jsonl import each_line, json_object
from isogloss.sources.values import whole_number

logger = logging.getLogger(__name__)

UNKNOWN = -1
_INDEX = re.compile(rb'"index": ?"?(\d{1,18})"?[,}]')  # no string holds it: there its quotes are escaped
_BATCH = re.compile(r"batch-(\d{1,18})\.jsonl\.gz")
_LARGEST = 3.4e38  # float32, which activations are kept in
_DIGITS = 18
_ROUNDING = 0.002  # values are rounded to three decimals; so may their maximum be, on its own


class Record(NamedTuple):
    """A recorded text and one feature's activations on it."""

    feature: int
    tokens: list[str]  # strings of the vocabulary, BOS among them in some exports
    values: list[float]  # activation at each token
    maximum: float
    peak: int  # position of the first strongest token
    origin: tuple[Path, int]  # file and line, counted from 1


class Malformed(NamedTuple):
    """A record that cannot be used."""

    reason: str
    origin: tuple[Path, int]


def read_records(folder: str | Path, *, layer: int, features: int, stride: int) -> Iterator[Record | Malformed]:
    """The records of every `stride`-th feature of `layer` in the order of the export (files by number).

    A record whose fields do not fit together is `Malformed`. Raises `IsoglossError` naming file and line for a file
    that is cut off or damaged, a line that is no JSON object, and records of another SAE: a feature that a dictionary
    of `features` does not have, a source of another layer. Lines of features left out are searched for their number
    only.
    """
    for path in export_files(folder):
        number = 0
        try:
            with gzip.open(path) as lines:
                for number, line in each_line(lines, str(path)):  # pyright: ignore[reportArgumentType]
                    if not line.strip():
                        continue
                    index = _INDEX.search(line)
                    if index and int(index[1]) % stride and int(index[1]) < features:
                        continue
                    record = _record(line, (path, number), layer, features)
                    if isinstance(record, Malformed) or record.feature % stride == 0:
                        yield record
        except (EOFError, zlib.error, OSError) as error:
            raise IsoglossError(
                f"{path}: cut off or damaged, the last good line is {number} ({error}); fetch it again: delete"
                f" {folder} and run snakemake again"
            ) from error


def export_files(folder: str | Path) -> list[Path]:
    """batch-N.jsonl.gz of a layer in ascending order of N; however many there are."""
    numbers = {int(match[1]): path for path in Path(folder).glob("*") if (match := _BATCH.fullmatch(path.name))}
    if not numbers:
        raise IsoglossError(f"{folder}: no batch-N.jsonl.gz there, so no exports; fetch them again")
    if lacking := max(numbers) + 1 - len(numbers):
        first = next(number for number in count() if number not in numbers)
        logger.warning("%s: batch-%d.jsonl.gz is not there (%d such)", folder, first, lacking)
    return [numbers[number] for number in sorted(numbers)]


def _record(line: bytes, origin: tuple[Path, int], layer: int, features: int) -> Record | Malformed:
    row = json_object(line, at(origin), f"delete {origin[0].parent} and fetch it again")
    if lacking := [name for name in ("index", "tokens", "values", "maxValue", "maxValueTokenIndex") if name not in row]:
        return Malformed(f"no {', '.join(lacking)}", origin)
    _check_source(row, origin, layer, features)
    tokens, values, maximum, peak = row["tokens"], row["values"], row["maxValue"], row["maxValueTokenIndex"]
    index = None if isinstance(row["index"], float) else whole_number(row["index"])
    if index is None or index < 0:
        return Malformed(f"index {shown(row['index'])}", origin)
    if not isinstance(tokens, list) or not isinstance(values, list) or not tokens or len(tokens) != len(values):
        return Malformed("tokens and values are not lists of one length", origin)
    try:
        finite = math.isfinite(sum(values)) and math.isfinite(maximum)
    except (TypeError, OverflowError):
        finite = False
    if not finite or set(map(type, tokens)) != {str}:
        return Malformed("a value is not a finite number or a token no string", origin)
    if not _is_utf8("".join(tokens)):
        return Malformed("a token is half a surrogate pair", origin)
    strongest = max(values)
    if max(strongest, -min(values)) > _LARGEST:
        return Malformed("a value is beyond float32", origin)
    tolerance = _ROUNDING + 1e-3 * abs(strongest)
    if abs(strongest - maximum) > tolerance:
        return Malformed(f"maxValue is {shown(maximum)}, the largest value {strongest}", origin)
    if not isinstance(peak, int) or not 0 <= peak < len(values) or strongest - values[peak] > tolerance:
        return Malformed(f"maxValueTokenIndex is {shown(peak)}, the largest value at {values.index(strongest)}", origin)
    return Record(index, tokens, values, float(maximum), values.index(strongest), origin)


def _check_source(row: Mapping[str, Any], origin: tuple[Path, int], layer: int, features: int) -> None:
    index, source = row["index"], row.get("layer")
    number = int(index) if isinstance(index, str) and index.isdecimal() and len(index) <= _DIGITS else index
    if (isinstance(number, int) and number >= features) or (isinstance(number, str) and number.isdecimal()):
        raise IsoglossError(
            f"{at(origin)}: feature {shown(number)}, but the SAE has {features} features: the export of another SAE;"
            " check neuronpedia.source and saes.ids"
        )
    named = re.match(r"0*(\d+)(-|$)", str(source)) if isinstance(source, str | int) else None
    if named and named[1] != str(layer):
        raise IsoglossError(
            f"{at(origin)}: a record of {shown(source)}, not of layer {layer}; check neuronpedia.source, or delete the"
            " exports and fetch them again"
        )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def at(origin: tuple[Path, int]) -> str:
    """`file:line`."""
    return f"{origin[0]}:{origin[1]}"


class Vocabulary(dict[str, int]):
    """The id of a token as exports write it; `UNKNOWN` for what is no token of `tokenizer`.

    Exports hold the vocabulary's own strings; some are made readable, which is undone here. The first of these that
    the vocabulary has is taken: the token as it is ("▁the", "<0x0A>", "Ġthe"); with "↵" and "Ċ" as newline, "Ġ" as
    space; with "▁" for a space (SentencePiece); the byte token of a single character ("<0x09>"); the characters of
    byte-level BPE, first for the characters only that its alphabet lacks (a space, a newline, a dash), then for all.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(tokenizer.get_vocab())

    def __missing__(self, token: str) -> int:
        plain = token.replace("↵", "\n").replace("Ċ", "\n").replace("Ġ", " ")
        forms = [plain, plain.replace(" ", "▁")]
        if len(plain) == 1 and ord(plain) < 128:
            forms.append(f"<0x{ord(plain):02X}>")
        spaced = token.replace("↵", "\n").replace("▁", " ")
        forms.append("".join(c if c in _ALPHABET else _byte_level(c) for c in spaced))
        forms.append(_byte_level(plain.replace("▁", " ")))
        known = (number for form in forms if (number := self.get(form, UNKNOWN)) != UNKNOWN)
        self[token] = next(known, UNKNOWN)
        return self[token]


def _byte_level(text: str) -> str:
    return "".join(_BYTES[byte] for byte in text.encode())


def _byte_characters() -> list[str]:
    """The character of each byte in byte-level BPE: itself if it is printable Latin-1, else the next from U+0100."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


_BYTES = _byte_characters()
_ALPHABET = frozenset(_BYTES)
