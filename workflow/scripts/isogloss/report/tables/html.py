"""Final tables as self-contained HTML pages: no script, no font or style from elsewhere, every text escaped."""

from collections.abc import Mapping
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl

from isogloss.report.entry import load
from isogloss.report.tables.sheet import Column, Sheet
from isogloss.tables import atomic_path, read_table, table_metadata

STYLE = """
body{margin:0;padding:24px 28px;background:#fff;color:#1f2937;font:14px/1.45 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{font-size:19px;font-weight:650;margin:0 0 2px}
p{margin:0 0 14px;color:#6b7280}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
caption{caption-side:bottom;text-align:left;color:#6b7280;padding-top:10px;font-size:12.5px}
th{position:sticky;top:0;background:#fff;text-align:left;vertical-align:bottom;font-weight:600;max-width:9em;padding:6px 14px 6px 0;border-bottom:2px solid #374151}
td{padding:3px 14px 3px 0;white-space:nowrap}
th.n,td.n{text-align:right}
td.i{color:#6b7280}
tr.first td{border-top:1px solid #d1d5db}
tbody tr:hover td{background:#f3f4f6}
"""  # noqa: E501 (a style sheet)


def html_table(
    *, table: str, output: str, drawing: str, heading: str, model: str, title: str, confidence: float
) -> None:
    """Write a model's table as a page; `drawing` names its `Sheet`, `title` is how the study calls the model.

    Shows the estimate and its interval side by side; a value that is not defined is a dash.
    """
    source, study = f"results/{model}/tables/{Path(table).name}", str(table_metadata(table).get("study", ""))
    page = render(read_table(table), load(drawing), heading, title, confidence, source=source, study=study)
    with atomic_path(Path(output)) as aside:
        aside.write_text(page, encoding="utf-8")


def render(
    frame: pl.DataFrame, sheet: Sheet, heading: str, title: str, confidence: float, *, source: str, study: str
) -> str:
    """The page as text."""
    columns = tuple(column for column in sheet.columns if column.name in frame.columns)  # kinds of model differ
    if sheet.body:
        body = sheet.body(frame)
    elif sheet.arrange:
        body = _table(*sheet.arrange(frame), confidence, source, study)
    else:
        body = _table(sheet.rows(frame) if sheet.rows else frame, columns, confidence, source, study)
    note = f"<p>{escape(sheet.note)}</p>\n" if sheet.note else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(heading)}</title>'
        f"<style>{STYLE}{sheet.style}</style></head>\n<body>\n<h1>{escape(heading)}</h1>\n<p>{escape(title)}</p>\n"
        f"{note}{body}\n</body>\n</html>\n"
    )


def fragment(
    frame: pl.DataFrame,
    sheet: Sheet,
    *,
    name: str,  # noqa: ARG001
    heading: str,  # noqa: ARG001
    title: str,  # noqa: ARG001
    confidence: float,
    source: str,
    study: str,
) -> str:
    """The table as a part of a page: no heading."""
    columns = tuple(column for column in sheet.columns if column.name in frame.columns)
    if sheet.body:
        body = sheet.body(frame)
    elif sheet.arrange:
        body = _table(*sheet.arrange(frame), confidence, source, study)
    else:
        body = _table(sheet.rows(frame) if sheet.rows else frame, columns, confidence, source, study)
    note = f'<p class="note">{escape(sheet.note)}</p>' if sheet.note else ""
    return f'{note}<div class="js-table scroll" tabindex="0">{body}</div>'


def _table(frame: pl.DataFrame, columns: tuple[Column, ...], confidence: float, source: str, study: str) -> str:
    """Rows as HTML; an interval's column is left out where the table has none."""
    head: list[str] = []
    for column in columns:
        head.append(f'<th class="{"n" if column.numeric else "t"}">{escape(column.header)}</th>')
        if column.low in frame.columns:
            head.append(f'<th class="n">{100 * confidence:g} % interval</th>')
    lines: list[str] = []
    for _, rows in groupby(frame.iter_rows(named=True), lambda row: row[columns[0].name]):
        first, *others = ("".join(_cells(row, column) for column in columns) for row in rows)
        lines += [f"<tr class='first'>{first}</tr>", *(f"<tr>{cells}</tr>" for cells in others)]
    body = "\n".join(lines)
    return (
        f"<table>\n<caption>{frame.height} rows. A dash: not defined. Every column at full precision: {escape(source)}"
        f" (study {escape(study)}).</caption>\n<thead><tr>{''.join(head)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n"
        "</table>"
    )


def _cells(row: Mapping[str, Any], column: Column) -> str:
    bounds = (column.low, column.high) if column.low in row else ()
    shown = ["–" if row[key] is None else escape(column.show(row[key])) for key in (column.name, *bounds)]
    cell = f'<td class="{"n" if column.numeric else "t"}">{shown[0]}</td>'
    if not bounds:
        return cell
    return f'{cell}<td class="n i">{"–" if row[column.low] is None else f"[{shown[1]}, {shown[2]}]"}</td>'
