"""The links by which a page hands out a table: all columns and rows at full precision, as CSV and as Parquet."""

import gzip
from base64 import b64encode
from html import escape
from pathlib import Path

import polars as pl
from polars.exceptions import ComputeError

MOST_BYTES = 256 * 1024
"""Files up to this size are within the page, compressed; a larger Parquet file is linked to, a larger CSV left out."""


def links(frame: pl.DataFrame, source: Path, link: str) -> str:
    """HTML of the links to `frame`, the whole table as it was read from the Parquet file `source`.

    `link` is where that file stands from the page: what the Parquet link leads to without scripts, or where the file is
    too large. The page's script (table.js) unpacks what is embedded; without it there is no CSV.
    """
    stem = "-".join(part for part in (*source.parts[-3:-2], source.stem) if part)
    content = source.read_bytes() if source.is_file() else b""
    parquet = _embedded(content) if content else ""
    out = _anchor("CSV", f"{stem}.csv", "text/csv", csv) if (csv := _embedded(_csv(frame))) else ""
    return out + _anchor("Parquet", f"{stem}.parquet", "application/vnd.apache.parquet", parquet, link)


def _csv(frame: pl.DataFrame) -> bytes:
    """As Polars writes it; nothing for a table with lists, which CSV cannot hold."""
    try:
        return frame.write_csv().encode()
    except ComputeError:
        return b""


def _embedded(content: bytes) -> str:
    """The bytes for an attribute, the same in every run; empty where there are none or too many."""
    packed = gzip.compress(content, mtime=0) if len(content) <= 8 * MOST_BYTES else content
    return b64encode(packed).decode() if content and len(packed) <= MOST_BYTES else ""


def _anchor(label: str, name: str, kind: str, packed: str, link: str = "") -> str:
    reference = f' href="{escape(link)}"' if link else " hidden"  # what only a script can hand out is shown by it
    data = f' data-type="{kind}" data-gzip="{packed}"' if packed else ""
    return f'<a class="button js-download" download="{escape(name)}"{reference}{data}>{label}</a>'
