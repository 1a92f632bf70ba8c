"""Tiny parallel corpora in exactly the layouts in which they are published."""

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

TEXTS = {
    "eng_Latn": ["The bridge was built in 1890.", 'She said "no".', "It rains, it pours.", "Who was there?"],
    "spa_Latn": ["El puente se construyó en 1890.", "Dijo «no».", "Llueve, diluvia.", "¿Quién estaba?"],
    "cmn_Hans": ["这座桥建于1890年。", "她说“不”。", "下雨，下大雨。", "谁在那里？"],
    "hin_Deva": ["पुल 1890 में बना था।", 'उसने कहा "नहीं"।', "बारिश हो रही है।", "वहाँ कौन था?"],
}
URLS = ["https://en.wikinews.org/wiki/Bridge"] * 2 + ["https://en.wikivoyage.org/wiki/Rain"] * 2


def flores_plus(folder: Path, texts: Mapping[str, Sequence[str]] = TEXTS, kind: str = "jsonl") -> Path:
    """openlanguagedata/flores_plus: {dev,devtest}/CODE.jsonl; Parquet up to version 4.0."""
    for code, sentences in texts.items():
        language, script, *variant = code.split("_")
        rows = [
            {
                "id": number,
                "iso_639_3": language,
                "iso_15924": script,
                "glottocode": "stan1293",
                "variant": "".join(variant),
                "text": text,
                "url": URLS[number % len(URLS)],
                "domain": "wikinews",
                "topic": "health",
                "has_image": "yes",
                "has_hyperlink": "no",
                "last_updated": "1.0",
                "split": "dev",
            }
            for number, text in enumerate(sentences)
        ]
        write_rows(folder / "dev" / f"{code}.{kind}", rows)
    return folder


def flores_200(folder: Path, texts: Mapping[str, Sequence[str]] = TEXTS) -> Path:
    """FLORES-200's archive: {dev,devtest}/CODE.{dev,devtest}, a sentence a line."""
    for code, sentences in texts.items():
        write_text(folder / "dev" / f"{code.replace('cmn', 'zho')}.dev", "".join(f"{line}\n" for line in sentences))
    return folder


def moses(folder: Path, texts: Mapping[str, Sequence[str]], name: str = "Tatoeba") -> Path:
    """OPUS' Moses format: NAME.en-hi.en and NAME.en-hi.hi, line by line."""
    pair = "-".join(sorted(texts))
    for lang, sentences in texts.items():
        write_text(folder / f"{name}.{pair}.{lang}", "".join(f"{line}\n" for line in sentences))
    return folder


def write_text(path: Path, text: str) -> None:
    """A file of plain text, compressed if its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode()
    if path.suffix == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(content)
    else:
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table in the format that the file's name says: Parquet, JSON Lines, CSV, or TSV without quotes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.name.removesuffix(".gz").removesuffix(".zst").rpartition(".")[2]
    if kind == "parquet":
        pl.DataFrame(rows).write_parquet(path)
    elif kind == "jsonl":
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    elif kind == "tsv":
        lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
        write_text(path, "".join("\t".join(line) + "\n" for line in lines))
    else:
        plain = path.with_name("plain.csv")
        with plain.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        write_text(path, plain.read_text(encoding="utf-8"))
        if path != plain:
            plain.unlink()
