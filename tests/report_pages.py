"""results/summary.html of synthetic studies, made without a workflow: tables, figures, then the stage of the page."""

import copy
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from isogloss.report import wanted
from isogloss.report.catalogue import BETWEEN_FIGURES, FIGURES
from isogloss.report.entry import Entry
from isogloss.report.figures.draw import figure
from isogloss.report.page.summary import summary
from isogloss.tables import read_table, table_metadata, write_table
from synthetic import metadata, settings, write_results
from synthetic_explorer import explorer_tables

HOSTILE = (
    '</script><script>window.pwned=1;alert(1)</script><img src=x onerror="window.pwned=1">\' --> ]]> {{ 7*7 }}'
    " {% for a in b %} `javascript:` |a| *b* c_ \u202eright to left\u2066 &lt;b&gt; \\u003c \u2028 https://example.org/x"
)
LONG = "Long" * 2500
OTHER_LANGUAGES = {"es": "ar", "it": "he", "zh": "zh-Hant", "ru": "ur", "ca": "pt-BR", "mr": "fa"}
FREE = ("reason", "partial_reason", "document", "question")  # columns of text that is no key
DEFINED = re.compile(  # columns of floats that always have a value
    r"alpha|gamma.*|learning_rate|accuracy.*|.*chance|stderr|mean_activation|stability.*|nearest.*|ties|fvu|l0|loss"
    r"|same_peak.*|.*correlation.*|kept.*|cosine.*|characters.*|token.*|explained.*|share|pc\d|perplexity|.*activations"
)
WHOLE = ("gap_accuracy", "training", "explorer")  # tables that are not written where something in them is not defined
Change = Callable[[pl.DataFrame, str], pl.DataFrame]


class Made(NamedTuple):
    """A study's page and what it was made from."""

    folder: Path
    config: dict[str, Any]

    @property
    def page(self) -> Path:
        return self.folder / "results" / "summary.html"

    def table(self, name: str, model: str = "skewed") -> pl.DataFrame:
        return read_table(self.folder / f"results/{model}/tables/{name}.parquet")


def make_page(
    folder: Path, config: dict[str, Any], change: Change | None = None, drawn: Collection[str] | None = ()
) -> Made:
    """The page of a study in an empty folder; `change` makes each table another, by the table's name.

    `drawn` names the figures that are drawn, the others are blank; None for all that the page shows as they are, those
    of entries without a chart.
    """
    with chdir(folder):
        write_results(folder, config, dict.fromkeys(config["models"], 0.0) | {next(iter(config["models"])): 20.0})
        languages = [*config["languages"]["high_resource"], *config["languages"]["medium_low_resource"]]
        for model, asked in config["models"].items():
            for name, frame in explorer_tables(languages, (asked["architecture"]["layers"] - 1) // 2).items():
                write_table(folder / f"results/{model}/tables/{name}.parquet", frame, metadata())
        if change:
            for path in folder.glob("results/*/tables/*.parquet"):
                write_table(path, change(read_table(path), path.stem), table_metadata(path))
        for path in map(Path, wanted.summary_figures(config)):
            _draw(path, config, drawn)
        summary(
            tables=wanted.summary_tables(config),
            figures=wanted.summary_figures(config),
            settings=config,
            output="results/summary.html",
            landing="results/overview.rst",
        )
    return Made(folder, config)


def _draw(path: Path, config: Mapping[str, Any], drawn: Collection[str] | None) -> None:
    model = "" if path.parts[1] == "comparison" else path.parts[1]
    entry: Entry = FIGURES[path.stem] if model else BETWEEN_FIGURES[path.stem]
    if entry.chart or (drawn is not None and path.stem not in drawn):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 4"/>', encoding="utf-8")
        return
    figure(
        tables=wanted.figure_inputs(config, path.stem, model) if model else wanted.between_figure_inputs(path.stem),
        output=str(path),
        picture=str(path.with_suffix(".png")),
        title=entry.title,
        takeaway=entry.takeaway,
        drawing=entry.drawing,
        model=model,
        settings=wanted.figure_settings(config),
    )


def demo() -> dict[str, Any]:
    """Two models, ten languages, four layers, every analysis: the shape of the default study."""
    return settings()


def large() -> dict[str, Any]:
    """A model of 26 layers in ten languages, every analysis."""
    return of_one_model(settings(26))


def of_one_model(config: dict[str, Any]) -> dict[str, Any]:
    """The study without its control."""
    del config["models"]["equal"], config["models"]["skewed"]["control"]
    return config


def smallest(analyses: tuple[str, ...]) -> dict[str, Any]:
    """A model of one layer, one pair of languages, and of these analyses."""
    config = of_one_model(settings(1, ("en", "ml"), world={"languages": ["en", "ml"], "bilingual": 0.1}))
    config["models"]["skewed"]["analyses"] = list(analyses)
    return config


def hostile(config: dict[str, Any], first: str = HOSTILE, second: str = LONG) -> dict[str, Any]:
    """The study with these titles, and with languages that are written from right to left or have long codes."""
    config = renamed(copy.deepcopy(config))
    for model, title in zip(config["models"].values(), (first, second), strict=False):
        model["title"] = title
    return config


def renamed(value: Any) -> Any:
    """A part of a configuration with other languages in place of some."""
    if isinstance(value, dict):
        return {OTHER_LANGUAGES.get(key, key): renamed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [renamed(part) for part in value]
    return OTHER_LANGUAGES.get(value, value) if isinstance(value, str) else value


def with_hostile_texts(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """A table whose free texts are `HOSTILE`."""
    columns = [column for column in FREE if column in frame.columns]
    frame = frame.with_columns(pl.lit(HOSTILE).alias(column) for column in columns)
    if "tokens" in frame.columns and frame.schema["tokens"] == pl.List(pl.String):
        frame = frame.with_columns(pl.col("tokens").list.eval(pl.lit(HOSTILE[:60]) + pl.element()))
    return frame


def without_values(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """A table in which nothing could be computed: every float null but keys and what always is a number."""
    if name in WHOLE:
        return frame
    floats = [column for column, kind in frame.schema.items() if kind.is_float() and not DEFINED.fullmatch(column)]
    reasons = [pl.col(column).fill_null("nothing was measured") for column in FREE[:2] if column in frame.columns]
    return frame.with_columns(*(pl.lit(None, frame.schema[column]).alias(column) for column in floats), *reasons)
