"""What the interactive charts share: looks, panels of models, tooltips, sliders, and the highlight of a language.

A chart is drawn from rows whose numbers are the tables' own; tooltips round them to four digits. A language or model
stands in the rows by its code; the parameters `languages` and `models` have the titles, each once. charts.js sets the
parameter `language`, a code or "", in every chart of a page: marks of other languages fade. It also gives a chart its
width, so that a phone shows it, and its theme.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt
import polars as pl
import polars.selectors as cs

from isogloss.report.figures.style import DASHES, Look
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.palette import PALETTE, SHAPES, colour, marker, model_look

Chart = alt.LayerChart | alt.FacetChart
Models = Mapping[str, Tables]
"""Tables of every model by its name; of what compares models those of "", as comparison/{table}."""
Contexts = Mapping[str, Context]

MOST_NAMED = 16
"""Up to so many languages, a legend names each; of more, the pointer does."""
MOST_LETTERS = 60  # of a title
LAYER = "decoder layer (0-based)"

# matplotlib's markers as Vega's shapes, paths within the square from -1 to 1 where Vega has none of that name.
_SHAPES = {
    "o": "circle", "s": "square", "D": "diamond", "d": "M0,-1L.55,0L0,1L-.55,0Z", "^": "triangle-up",
    "v": "triangle-down", "P": "cross", "<": "triangle-left", ">": "triangle-right", "": "circle",
    "H": "M1,0L.5,.87L-.5,.87L-1,0L-.5,-.87L.5,-.87Z",
    "X": "M-.35,0L-.9,-.55L-.55,-.9L0,-.35L.55,-.9L.9,-.55L.35,0L.9,.55L.55,.9L0,.35L-.55,.9L-.9,.55Z",
    "p": "M0,-1L.95,-.31L.59,.81L-.59,.81L-.95,-.31Z",
    "*": "M0,-1L.24,-.32L.95,-.31L.38,.12L.59,.81L0,.4L-.59,.81L-.38,.12L-.95,-.31L-.24,-.32Z",
    "h": "M0,-1L.87,-.5L.87,.5L0,1L-.87,.5L-.87,-.5Z",
}  # fmt: skip


def shape(mark: str) -> str:
    """Vega's shape for a marker of matplotlib."""
    return _SHAPES.get(mark, "circle")


class Measure(NamedTuple):
    """A column that a chart shows, and its interval in the columns {interval}_low and {interval}_high."""

    column: str
    title: str  # of the axis and the tooltip, with the unit
    interval: str = ""  # the column's own name where none is given
    share: bool = False  # from 0 to 1, shown in percent

    @property
    def low(self) -> str:
        return f"{self.interval or self.column}_low"

    @property
    def high(self) -> str:
        return f"{self.interval or self.column}_high"

    @property
    def columns(self) -> list[str]:
        return [self.column, self.low, self.high]

    @property
    def digits(self) -> str:
        """Format of the tooltip: four digits."""
        return ".2%" if self.share else ".4~r"

    @property
    def axis(self) -> dict[str, Any]:
        """What an axis or legend of the measure is told."""
        return {"title": self.title or None, **({"format": "~%"} if self.share else {})}

    def tips(self) -> list[alt.Tooltip]:
        """The value and its interval, as `with_interval` writes it."""
        return [
            alt.Tooltip(self.column, type="quantitative", title=self.title or "value", format=self.digits),
            alt.Tooltip("interval", type="nominal"),
        ]

    def with_interval(self, chart: Any) -> Any:
        """A chart whose rows also have the interval in words."""
        low, high = (f"format(datum[{end!r}], {self.digits!r})" for end in (self.low, self.high))
        return chart.transform_calculate(
            interval=f"isValid(datum[{self.low!r}]) ? {low} + ' to ' + {high} + ', ' + confidence : 'none'"
        )


class Key(NamedTuple):
    """What tells marks apart: a column, what the legend calls it, and the look of each of its values, in order."""

    column: str
    title: str
    looks: Mapping[Any, Look]
    channels: tuple[str, ...] = ("color", "shape", "strokeDash")
    titles: str = ""  # the parameter with the values' titles: "languages", "models", or none
    legend: bool = True

    def encodings(self, *channels: str) -> dict[str, Any]:
        """Those of the channels that this key has, with scales that name every value and its look."""
        ranges = {
            "color": [look.colour for look in self.looks.values()],
            "shape": [shape(look.marker) for look in self.looks.values()],
            "strokeDash": [[1, 0] if look.dash == "-" else list(look.dash[1]) for look in self.looks.values()],
        }
        kinds = {"color": alt.Color, "shape": alt.Shape, "strokeDash": alt.StrokeDash}
        return {
            channel: kinds[channel](
                self.column,
                type="nominal",
                scale=alt.Scale(domain=list(self.looks), range=ranges[channel]),
                legend=self._legend(),
            )
            for channel in channels
            if channel in self.channels
        }

    def _legend(self) -> alt.Legend | None:
        if not self.legend or len(self.looks) < 2:
            return None
        named_by: dict[str, Any] = {"labelExpr": f"{self.titles}[datum.value]"} if self.titles else {}
        return alt.Legend(title=self.title or None, symbolOpacity=1, **named_by)


def languages(codes: Sequence[str], context: Context) -> Key:
    """Languages by their own colours and markers, those of the medium-to-low-resource group dashed."""
    low = set(context.settings["languages"]["medium_low_resource"])
    looks = {
        code: Look(colour(code, context), marker(code, context), DASHES[1] if code in low else "-") for code in codes
    }
    return Key("lang", "language", looks, titles="languages", legend=len(codes) <= MOST_NAMED)


def models(contexts: Contexts, *channels: str) -> Key:
    """Models by colour and marker, the same in every chart."""
    looks = {model: Look(*model_look(model, context)) for model, context in contexts.items()}
    return Key("model", "model", looks, channels or ("color", "shape"), titles="models")


def values(titles: Iterable[str], title: str = "", *channels: str) -> Key:
    """Other values, by name in the column `what`: no language's and no model's."""
    looks = {
        name: Look(PALETTE[number % len(PALETTE)], SHAPES[number % len(SHAPES)], DASHES[number % len(DASHES)])
        for number, name in enumerate(titles)
    }
    return Key("what", title, looks, channels or ("color", "shape", "strokeDash"))


def over_models(tables: Models, name: str, *columns: str) -> pl.DataFrame:
    """A table of every model, in the column `model` its name; of `columns` those that are there, of none all."""
    parts = [
        frame.select(pl.lit(model).alias("model"), *([one for one in frame.columns if one in columns] or [pl.all()]))
        for model, of_model in tables.items()
        for frame in (of_model[name],)
    ]
    return pl.concat(parts, how="diagonal_relaxed") if parts else pl.DataFrame()


def source(frame: pl.DataFrame) -> alt.Chart:
    """A chart of a table's rows; what is no number becomes undefined."""
    decimals = frame.select(cs.float()).columns
    finite = [pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in decimals]
    return alt.Chart(frame.with_columns(finite))  # pyright: ignore[reportArgumentType]


def model_title(model: str, contexts: Contexts) -> str:
    """How the study calls a model, cut where it is long."""
    title = " ".join(contexts[model].title(model).split())
    return title if len(title) <= MOST_LETTERS else title[: MOST_LETTERS - 1] + "…"


def fading(faint: float = 0.12, full: float = 1.0, test: str = "datum.lang === language") -> Any:
    """Opacity of a mark: faint where another language is highlighted."""
    return alt.condition(f"!language || {test}", alt.value(full), alt.value(faint))


def language_tip() -> alt.Tooltip:
    """The language of a mark, in words; its rows must have `named_languages`."""
    return alt.Tooltip("Language", type="nominal", title="language")


def model_tip() -> alt.Tooltip:
    return alt.Tooltip("Model", type="nominal", title="model")


def titled(chart: Any) -> Any:
    """A chart whose rows have the titles of their language and model."""
    return chart.transform_calculate(Language="languages[datum.lang]", Model="models[datum.model]")


def count_tip(column: str, title: str) -> alt.Tooltip:
    """A number of things."""
    return alt.Tooltip(column, type="quantitative", title=title, format=",d")
