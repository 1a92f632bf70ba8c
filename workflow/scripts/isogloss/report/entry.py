"""An entry of the report: what makes it, what it is made from, and what a study must have for it."""

from importlib import import_module
from typing import Any, NamedTuple


class Needs(NamedTuple):
    """What a model and its study must have for an entry."""

    analyses: tuple[str, ...] = ()  # of the model; "phrases": similarity or gap
    runs: str = "any"  # alignment runs: any | several (languages) | single (language) | benchmarked
    trait: str = (
        ""  # of the model: taught (on the toy world) | exports | trained_saes | checkpoints (several) | injected
    )
    backend: str = "any"  # translation.backend: any | machine (all but parallel)
    key: str = ""  # dotted key of the config that must be set


class Entry(NamedTuple):
    """A figure or an HTML table."""

    drawing: str  # module:name of the function that draws the figure, or of the table's `Sheet`
    title: str  # short: the report's list shows it
    category: str  # of the report's menu
    needs: Needs
    tables: tuple[str, ...] = ()  # Parquet tables under results/{model}/tables; by default the one of its own name
    loss: bool = False  # made from results/{model}/alignment/{run}.parquet of every run instead
    takeaway: str = ""  # module:name of the function of tables and `Context` that returns the figure's `Takeaway`
    chart: str = ""  # module:name of the function of every model's tables and `Context` that returns its Altair chart

    @property
    def name(self) -> str:
        """What the figure or table and its caption are called."""
        return self.drawing.partition(":")[2].lower()


class Takeaway(NamedTuple):
    """What a figure shows, in one sentence computed from its tables, and of how many it shows it."""

    text: str  # a whole sentence, plain words, at most about 25
    n: str = ""  # of how many: "9 languages, 4 layers, 30 features"


class Finding(NamedTuple):
    """Sentences of the landing page, and the key figure that stands below them."""

    function: str  # module:name of the function of the tables and the study's `Context` that returns the sentences
    section: str  # heading, a number before it left out; a section's findings stand side by side in the catalogue
    needs: Needs
    tables: tuple[str, ...]
    figure: str = ""  # name in the catalogue
    alternative: str = ""  # what a reader who cannot see the figure is told


def load(name: str) -> Any:
    """What `module:name` names."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
