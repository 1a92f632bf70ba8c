"""Final tables as HTML: a page of its own for each, and a part of the summary page; every text escaped.

All that is shown can be read without a script. With table.js a reader sorts, filters and downloads; no script, font or
style comes from elsewhere.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import polars as pl

from isogloss.report.entry import load
from isogloss.report.tables.downloads import links
from isogloss.report.tables.sheet import TASK, TOY_TASK, Sheet
from isogloss.report.tables.view import NONE, Head, View, view
from isogloss.resources import CAPTIONS
from isogloss.tables import atomic_path, read_table, table_metadata

ASSETS = ("table.css", "table.js")
"""Style and script of a page, of the folder of captions."""
WIDE = 9
"""So many columns stand side by side on a printed page."""
LONG = 36
"""So many letters of text stand in a line; longer text breaks."""
STYLE = """
:root{color-scheme:light}
body{margin:0;padding:24px 28px;background:#fff;color:#1f2937;font:15px/1.5 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{font-size:20px;font-weight:650;margin:0}
h1+p{margin:0 0 14px}
@media(max-width:600px){body{padding:14px}}
"""  # noqa: E501 (a style sheet)


class Origin(NamedTuple):
    """Where a table is from."""

    source: str  # how its Parquet file is called: results/{model}/tables/{name}.parquet
    study: str
    file: Path  # where the Parquet file is read from
    link: str  # where it stands from the page
    toy: bool  # whether its questions are the toy world's, in the format of the tasks whose names they bear


def html_table(
    *, table: str, output: str, drawing: str, heading: str, model: str, title: str, confidence: float, toy: bool = False
) -> None:
    """Write a model's table as a page; `drawing` names its `Sheet`, `title` is how the study calls the model.

    A `toy` model's questions are not those of the tasks whose names they bear, which the page says. Shows
    the estimate and its interval side by side; a value that is not defined is a dash.
    """
    source, study = f"results/{model}/tables/{Path(table).name}", str(table_metadata(table).get("study", ""))
    frame, sheet = read_table(table), load(drawing)
    page = render(frame, sheet, heading, title, confidence, source=source, study=study, file=Path(table), toy=toy)
    with atomic_path(Path(output)) as aside:
        aside.write_text(page, encoding="utf-8")


def render(
    frame: pl.DataFrame,
    sheet: Sheet,
    heading: str,
    title: str,
    confidence: float,
    *,
    source: str,
    study: str,
    file: Path | None = None,
    toy: bool = False,
) -> str:
    """The page as text; `source` is how the Parquet table is called, `file` where it is read from."""
    style, script = ((CAPTIONS / name).read_text(encoding="utf-8") for name in ASSETS)
    origin = Origin(source, study, file or Path(source), f"../tables/{Path(source).name}", toy)
    part = _part(frame, sheet, f"{heading}, {title}", confidence, origin)
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(heading)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}{style}</style></head>\n'
        f"<body>\n<main>\n<h1>{escape(heading)}</h1>\n<p>{escape(title)}</p>\n{part}</main>\n"
        f"<script>\n{script}</script>\n</body>\n</html>\n"
    )


def fragment(
    frame: pl.DataFrame,
    sheet: Sheet,
    *,
    name: str,
    heading: str,
    title: str,
    confidence: float,
    source: str,
    study: str,
    file: Path | None = None,
    toy: bool = False,
) -> str:
    """A table as a part of results/summary.html, whose folds give it a heading.

    `source`: results/{model}/tables/{name}.parquet, which is also where `file`, the file itself, is by default.
    """
    heading = f"{heading}, {title}" if title else heading
    origin = Origin(source, study, file or Path(source), source.removeprefix("results/"), toy)
    return _part(frame, sheet, heading or name, confidence, origin)


def _part(frame: pl.DataFrame, sheet: Sheet, label: str, confidence: float, origin: Origin) -> str:
    """The note, what was left out, the links, and the table in its box."""
    whole = f"Every column at full precision: {escape(origin.source)} (study {escape(origin.study)})."
    above = f'<p class="table-note">{escape(sheet.note)}</p>\n' if sheet.note else ""
    tools = f'<p class="table-tools" data-nosearch>{links(frame, origin.file, origin.link)}</p>\n'
    if sheet.body:
        main = sheet.body(frame, "-".join(Path(origin.source).with_suffix("").parts[-3::2]))
    else:
        rows, columns = sheet.arrange(frame) if sheet.arrange else (frame, sheet.columns)
        rows = sheet.rows(rows) if sheet.rows else rows
        there = [column for column in columns if column.name in rows.columns]  # kinds of model differ
        there = [TOY_TASK if origin.toy and column is TASK else column for column in there]
        seen = view(rows, there, confidence)
        above += _left_out(seen)
        main = _table(seen, label)
        whole = f"{len(seen.rows):,} row{'' if len(seen.rows) == 1 else 's'}. {NONE}: not defined. {whole}"
    return f'<div class="js-table">\n{above}{tools}{main}<p class="table-note">{whole}</p>\n</div>\n'


def _left_out(seen: View) -> str:
    """What is the same in all rows, in a line; what no row has."""
    same = "; ".join(f"{escape(head)}: <b>{escape(text)}</b>" for head, text in seen.same)
    parts = [f"In all rows: {same}."] if same else []
    if seen.undefined:
        parts.append(f"Not defined in any row: {escape('; '.join(seen.undefined))}.")
    return f'<p class="table-note">{" ".join(parts)}</p>\n' if parts else ""


def _table(seen: View, label: str) -> str:
    """Rows within a box of their own that scrolls; the first column is that of the rows' heads."""
    if not seen.rows:
        return "<p>The table has no rows.</p>\n"
    kinds = [_kind(_look(head, cells)) for head, *cells in zip(seen.heads, *seen.rows, strict=True)]
    heads = "".join(
        f'<th scope="col"{kind}{" data-choices" if head.choices else ""}>{escape(head.text)}</th>'
        for kind, head in zip(kinds, seen.heads, strict=True)
    )
    lines = [_row(row, kinds, row[0] != above[0]) for row, above in zip(seen.rows, [("",), *seen.rows], strict=False)]
    body = "\n".join(lines)
    box = f'class="{_box(len(seen.heads))}" tabindex="0" role="region" aria-label="Table: {escape(label)}"'
    return f"<div {box}>\n<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>\n"


def _box(columns: int) -> str:
    """The classes of a table's box: many columns are printed across the page, and smaller."""
    return f"table-box{' wide' if columns > WIDE else ''}{' widest' if columns > 2 * WIDE else ''}"


def _look(head: Head, cells: Sequence[str]) -> str:
    """The class of a column's cells: an interval, text, or text so long that it breaks; numbers have none."""
    if head.interval or head.numeric:
        return "i" if head.interval else ""
    return "t l" if max(map(len, cells)) > LONG else "t"


def _row(row: Sequence[str], kinds: Sequence[str], first: bool) -> str:
    """`first`: of the rows with its first value, which a line parts from those above."""
    head = f'<th scope="row"{kinds[0]}>{escape(row[0])}</th>'
    cells = "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds[1:], row[1:], strict=True))
    return f"<tr{_kind('first' if first else '')}>{head}{cells}</tr>"


def _kind(name: str) -> str:
    return f' class="{name}"' if name else ""
