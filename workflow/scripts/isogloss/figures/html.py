"""Final tables as self-contained HTML pages: no script, no font or style from elsewhere, every text escaped."""

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from isogloss.figures import examples
from isogloss.figures.catalogue import TABLES
from isogloss.figures.classes import class_order, class_title, language_order
from isogloss.tables import atomic_path, read_table, table_metadata
from isogloss.wording import TASK_TITLES, named, number


def _number(digits: int, factor: float = 1.0) -> Callable[[Any], str]:
    return lambda value: number(factor * value, digits)


def _count(value: Any) -> str:
    return f"{value:,}"


def _p_value(value: Any) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


class Column(NamedTuple):
    """How a column is shown; `low` and `high` name the columns of its interval, set as one column after it."""

    name: str
    header: str  # with the unit
    show: Callable[[Any], str]
    numeric: bool = True
    low: str = ""
    high: str = ""


_TEACHING = {"all": "every language", "reference": "reference only", "none": "no language"}
_VARIANTS = {"with_reference": "reference in high-resource", "without_reference": "reference left out"}
_GROUPS = {"high_resource": "high-resource", "medium_low_resource": "medium-to-low-resource"}

_percent, _share, _cosine = _number(1), _number(1, 100), _number(3)


def _text(name: str, header: str, names: Mapping[str, str] | None = None) -> Column:
    return Column(name, header, lambda value: (names or {}).get(str(value), str(value)), numeric=False)


_LAYER = Column("layer", "decoder layer (0‑based)", _count)
_LANG = Column("lang", "language", named, numeric=False)
_TASK = _text("task", "task", TASK_TITLES)
_N = Column("n", "phrases", _count)
_CHANCE = Column("chance", "chance (%)", _share)
_N_FEATURES, _N_PHRASES = Column("n_features", "features", _count), Column("n_phrases", "phrases", _count)


_STEP = Column("step", "training step", _count)
_INJECTED = Column(
    "class", "class injected", lambda code: "none (as it is)" if code == "none" else class_title(code), numeric=False
)
_CLASS = Column("class", "class", class_title, numeric=False)


def _measured(name: str, header: str, show: Callable[[Any], str], prefix: str = "") -> Column:
    return Column(name, header, show, low=f"{prefix}ci_low", high=f"{prefix}ci_high")


def _bounded(name: str, header: str, show: Callable[[Any], str]) -> Column:
    return Column(name, header, show, low=f"{name}_low", high=f"{name}_high")


COLUMNS: dict[str, tuple[Column, ...]] = {
    "similarity": (
        _LAYER, _LANG, _measured("cosine", "cosine to the reference", _cosine),
        _measured("cosine_shuffled", "cosine, shuffled pairs", _cosine, "cosine_shuffled_"), _N,
    ),
    "group_gap": (_LAYER, _text("variant", "variant", _VARIANTS), _measured("gap_pct", "activation gap (%)", _percent)),
    "language_gap_summary": (
        _LANG, _measured("mean_gap_pct", "mean gap over layers (%)", _percent),
        Column("std_gap_pct", "standard deviation over layers (points)", _percent),
        Column("n_layers", "layers", _count),
    ),
    "language_gap": (
        _LAYER, _LANG, Column("mean_activation", "mean activation (SAE units)", _cosine),
        _measured("gap_pct", "gap to the reference (%)", _percent),
        Column("p_adjusted", "p of no difference, corrected", _p_value), _N_FEATURES, _N_PHRASES,
    ),
    "group_activation": (
        _LAYER, _text("group", "group", _GROUPS), _text("variant", "variant", _VARIANTS),
        _measured("mean_activation", "mean activation (SAE units)", _cosine),
    ),
    "activation_controls": (
        _LAYER, _LANG, _measured("gap_pct", "gap, own feature (%)", _percent, "gap_"),
        _measured("gap_equal_tokens_pct", "gap at equal token counts (%)", _percent, "gap_equal_tokens_"),
        _measured("gap_shuffled_pct", "gap, feature of another phrase (%)", _percent, "gap_shuffled_"),
        _measured("gap_random_pct", "gap, random feature (%)", _percent, "gap_random_"),
        Column("token_ratio", "tokens / reference's tokens", _number(2)),
        Column("characters_per_token", "characters per token", _number(2)), _N,
    ),
    "accuracy": (
        _TASK, _LANG, _text("metric", "metric"), _measured("accuracy", "accuracy (%)", _share),
        Column("stderr", "standard error (points)", _number(2, 100)), _CHANCE, Column("n", "questions", _count),
    ),
    "accuracy_change": (
        _text("adapter", "adapter"), _TASK, _LANG, _measured("accuracy", "accuracy (%)", _share),
        _measured("difference", "change against base (points)", _share, "difference_"),
        Column("p", "p (McNemar)", _p_value), Column("p_adjusted", "p, corrected", _p_value),
        Column("n", "questions", _count),
    ),
    "accuracy_by_teaching": (
        _text("adapter", "adapter"), _TASK, _LANG, _text("taught", "fact taught in", _TEACHING),
        _measured("accuracy", "accuracy (%)", _share), _CHANCE, Column("n", "questions", _count),
    ),
    "gap_accuracy_correlation": (
        _TASK, _measured("r", "Pearson's r", _number(2)), Column("p", "p", _p_value),
        Column("p_adjusted", "p, corrected", _p_value), Column("n", "languages", _count),
    ),
    "alignment_gain": (
        _text("run", "run"), _LAYER, _LANG, Column("before", "before (SAE units)", _cosine),
        Column("after", "after (SAE units)", _cosine), _measured("gain_pct", "gain (%)", _percent),
        _measured("gain_held_out_pct", "gain, held-out features (%)", _percent, "held_out_"),
        _measured("retention_pct", "retention of the reference (%)", _percent, "retention_"), _N_FEATURES, _N_PHRASES,
    ),
    "selectivity": (
        _LAYER, _CLASS, _bounded("share", "share of the features that are not silent (%)", _share),
        _bounded("monosemanticity", "monosemanticity (0 to 1)", _cosine),
        _bounded("span_length", "span length (tokens)", _number(2)), _N_FEATURES, _STEP,
    ),
    "intervention": (
        Column("alpha", "strength α", "{:g}".format), Column("n_features", "features injected, N", _count), _INJECTED,
        Column("step", "into step", _count),
    ),
    "sae_training": (
        _STEP, _LAYER, Column("fvu", "variance unexplained (%)", _share),
        Column("l0", "active features a token (L0)", _number(1)), Column("dead_features", "dead features", _count),
        Column("features", "features", _count), Column("k", "k", _count), Column("n_tokens", "tokens", _count),
        Column("learning_rate", "learning rate", "{:g}".format),
    ),
    "sae_quality": (
        _LAYER, Column("fvu", "variance unexplained (%)", _share),
        Column("l0", "active features a token (L0)", _number(1)), Column("dead_features", "dead features", _count),
        Column("features", "features", _count), Column("k", "k", _count), Column("n_tokens", "tokens", _count),
    ),
    "reproduction": (
        _LAYER, Column("records", "records measured", _count), Column("same_peak_pct", "same peak token (%)", _percent),
        Column("median_correlation", "median correlation over tokens", _cosine),
        Column("lowest_correlation", "lowest correlation", _cosine),
        Column("median_scale", "median of measured / recorded maximum", _number(2)),
    ),
    "translation_quality": (
        _LANG, Column("n", "phrases", _count), Column("ok", "kept", _count), Column("kept_pct", "kept (%)", _percent),
        Column("empty", "empty", _count), Column("runaway", "runaway", _count), Column("too_long", "too long", _count),
        Column("low_chrf", "low chrF", _count), _measured("chrf", "round-trip chrF", _percent),
        Column("characters_ratio", "characters / reference's characters", _number(2)),
    ),
    "phrase_counts": (
        _LAYER, Column("documents", "documents searched", _count), Column("records", "records read", _count),
        Column("tokens", "tokens searched", _count),
        Column("features_sampled", "features sampled", _count),
        Column("features_with_phrases", "features with phrases", _count), Column("windows", "windows found", _count),
        Column("duplicates_dropped", "duplicates dropped", _count),
        Column("records_malformed", "malformed records", _count),
        Column("unknown_tokens_dropped", "with unknown tokens", _count),
        Column("bos_peaks_dropped", "strongest at BOS", _count), Column("empty_dropped", "blank", _count),
        Column("n_phrases", "phrases kept", _count),
    ),
}  # fmt: skip

CHANGES = ("change", "ci_low", "ci_high", "beyond_random", "beyond_random_low", "beyond_random_high")
SCORES = {"chrf": "chrF", "bleu": "BLEU", "comet": "COMET"}
"""How the intervention's scores of translations are called; higher is better."""

NOTES = {
    "language_gap": "p tests that features answer to the language as to the reference. The choice of the reference's"
    " phrases as top activators alone breaks that, so a small p does not show a disparity.",
    "intervention": "Perplexity of the unfinished model with features of a class injected; change: against the same"
    " model as it is, below zero is better; against random: change less that with as many random features.",
    "examples": "Shade: activation as a share of the largest shown of the feature (hover for it); underlined: the"
    " strongest token of a context. A feature's class is of all its activations, not of these contexts.",
}
"""What a reader must know before reading a column, by table."""

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
    return frame, tuple(column for column in COLUMNS[name] if column.name in frame.columns)  # kinds of model differ


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
            Column(f"{lang} perplexity", f"{title}: perplexity", _number(2)),
            Column(f"{lang} change", f"{title}: change", _number(2), low=f"{lang} ci_low", high=f"{lang} ci_high"),
        ]
    beyond = "all beyond_random"
    columns.append(
        Column(beyond, "all documents: against random", _number(2), low=f"{beyond}_low", high=f"{beyond}_high")
    )
    for score, header in SCORES.items():
        for lang in langs[:-1]:
            its = frame.filter(pl.col("lang") == lang).drop_nulls(score) if score in frame.columns else frame.clear()
            if its.height:
                its = its.select(*key, pl.col(score).alias(f"{lang} {score}"))
                wide = wide.join(its, on=key, how="left", nulls_equal=True)
                columns.append(Column(f"{lang} {score}", f"{header} into {named(lang)}", _number(1)))
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
