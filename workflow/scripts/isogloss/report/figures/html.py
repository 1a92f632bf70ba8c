"""Final tables as self-contained HTML pages: no script, no font or style from elsewhere, every text escaped."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from isogloss.report.figures import examples
from isogloss.report.figures.catalogue import TABLES
from isogloss.report.figures.classes import class_order, language_order
from isogloss.report.figures.columns import COLUMNS, NOTES, TRANSFER_BY_LANGUAGE, Column, decimals
from isogloss.report.wording import named
from isogloss.tables import atomic_path, read_table, table_metadata

CHANGES = ("change", "ci_low", "ci_high", "beyond_random", "beyond_random_low", "beyond_random_high")
MOST_PAIRS = 500
"""So many pairs of languages are listed; of more, each language's means."""

SCORES = {"chrf": "chrF", "bleu": "BLEU", "comet": "COMET"}
"""How the intervention's scores of translations are called; higher is better."""

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


def html_table(*, table: str, output: str, name: str, model: str, title: str, confidence: float) -> None:
    """Write the catalogue's table `name` of a model as a page; `title` is how the study calls the model.

    Shows the estimate and its interval side by side; a value that is not defined is a dash.
    """
    page = render(
        read_table(table),
        name,
        title,
        confidence,
        source=f"results/{model}/tables/{Path(table).name}",
        study=str(table_metadata(table).get("study", "")),
    )
    with atomic_path(Path(output)) as aside:
        aside.write_text(page, encoding="utf-8")


def render(frame: pl.DataFrame, name: str, title: str, confidence: float, *, source: str, study: str) -> str:
    """The page as text."""
    if name == "examples":
        style, shown = STYLE + examples.STYLE, examples.body(frame)
    else:
        frame, columns = prepared(frame, name)
        head, body = grid(frame, columns, confidence)
        style, shown = (
            STYLE,
            (
                f"<table>\n<caption>{frame.height} rows. A dash: not defined. Every column at full"
                f" precision: {escape(source)} (study {escape(study)}).</caption>\n"
                f"<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"
            ),
        )
    heading = escape(TABLES[name].title)
    note = f"<p>{escape(NOTES[name])}</p>\n" if name in NOTES else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{heading}</title>'
        f"<style>{style}</style></head>\n<body>\n<h1>{heading}</h1>\n<p>{escape(title)}</p>\n{note}{shown}\n"
        "</body>\n</html>\n"
    )


def prepared(frame: pl.DataFrame, name: str) -> tuple[pl.DataFrame, tuple[Column, ...]]:
    """The rows and columns that a table shows."""
    if name == "intervention":
        return _side_by_side(frame)
    if name == "accuracy":
        frame = frame.filter(pl.col("adapter") == "base")
    elif name == "accuracy_change":
        frame = frame.filter(pl.col("adapter") != "base")
    elif name == "selectivity":
        last = frame.filter(pl.col("step") == frame["step"].max())
        frame = last.sort("layer", pl.col("class").replace_strict(_place(last["class"])))
    elif name == "sae_training":
        frame = frame.sort("step", "layer")
    elif name == "steering_summary":
        frame = frame.filter(pl.col("vector") != "none")
    elif name == "transfer" and frame.height > MOST_PAIRS:
        return _by_language(frame), TRANSFER_BY_LANGUAGE
    return frame, tuple(column for column in COLUMNS[name] if column.name in frame.columns)  # kinds of model differ


def _by_language(frame: pl.DataFrame) -> pl.DataFrame:
    """A row a task and language of the table of pairs: its means over the others, and what it receives most from."""
    key = ["task", "lang"]
    pairs = frame.rename({"lang_a": "lang", "lang_b": "other"})
    out = pairs.group_by(key, maintain_order=True).agg(
        pl.col("consistency").mean(), out_of=pl.col("positive_transfer").mean(), n_languages=1 + pl.len()
    )
    incoming = frame.rename({"lang_b": "lang", "lang_a": "source"}).sort(
        "positive_transfer", descending=True, nulls_last=True, maintain_order=True
    )
    into = incoming.group_by(key).agg(
        into=pl.col("positive_transfer").mean(),
        source=pl.col("source").first(),
        best=pl.col("positive_transfer").first(),
    )
    return out.join(into, on=key, how="left", maintain_order="left")


def _place(codes: pl.Series) -> dict[str, int]:
    return {code: place for place, code in enumerate(["none", *class_order(codes)])}


def _side_by_side(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[Column, ...]]:
    """The intervention's rows as in the paper's Table 1: a row an injection, the languages' measures side by side."""
    key = ["alpha", "n_features", "class", "step"]
    columns, wide = [*COLUMNS["intervention"]], frame.select(key).unique()
    langs = [*language_order(frame["lang"]), "all"]
    for lang in langs:
        its = frame.filter(pl.col("lang") == lang).select(*key, pl.col("perplexity", *CHANGES).name.prefix(f"{lang} "))
        wide = wide.join(its, on=key, how="left", nulls_equal=True)
        title = "all documents" if lang == "all" else named(lang)
        columns += [
            Column(f"{lang} perplexity", f"{title}: perplexity", decimals(2)),
            Column(f"{lang} change", f"{title}: change", decimals(2), low=f"{lang} ci_low", high=f"{lang} ci_high"),
        ]
    beyond = "all beyond_random"
    columns.append(
        Column(beyond, "all documents: against random", decimals(2), low=f"{beyond}_low", high=f"{beyond}_high")
    )
    for score, header in SCORES.items():
        for lang in langs[:-1]:
            its = frame.filter(pl.col("lang") == lang).drop_nulls(score) if score in frame.columns else frame.clear()
            if its.height:
                its = its.select(*key, pl.col(score).alias(f"{lang} {score}"))
                wide = wide.join(its, on=key, how="left", nulls_equal=True)
                columns.append(Column(f"{lang} {score}", f"{header} into {named(lang)}", decimals(1)))
    return wide.sort("alpha", "n_features", pl.col("class").replace_strict(_place(wide["class"]))), tuple(columns)


def grid(frame: pl.DataFrame, columns: tuple[Column, ...], confidence: float) -> tuple[str, str]:
    """Head and body rows as HTML; the interval's columns are left out where the table has none."""
    head: list[str] = []
    for column in columns:
        head.append(f'<th class="{_side(column)}">{escape(column.header)}</th>')
        if column.low in frame.columns:
            head.append(f'<th class="n">{100 * confidence:g} % interval</th>')
    lines: list[str] = []
    before: Any = None
    for row in frame.iter_rows(named=True):
        key = row[columns[0].name]
        cells = "".join(_cells(row, column) for column in columns)
        lines.append(f"<tr class='first'>{cells}</tr>" if key != before else f"<tr>{cells}</tr>")
        before = key
    return f"<tr>{''.join(head)}</tr>", "\n".join(lines)


def _side(column: Column) -> str:
    return "n" if column.numeric else "t"


def _cells(row: Mapping[str, Any], column: Column) -> str:
    shown = _shown(row[column.name], column)
    cell = f'<td class="{_side(column)}">{shown}</td>'
    if column.low in row:
        low, high = (_shown(row[bound], column) for bound in (column.low, column.high))
        cell += '<td class="n i">–</td>' if row[column.low] is None else f'<td class="n i">[{low}, {high}]</td>'
    return cell


def _shown(value: Any, column: Column) -> str:
    return "–" if value is None else escape(column.show(value))
