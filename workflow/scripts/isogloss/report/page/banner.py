"""What the page says first: whether its world is synthetic or real, of which models and languages it tells."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from isogloss.report.shared.study import Study, banner_kind
from isogloss.report.shared.wording import listed, name, number


class Banner(NamedTuple):
    """The page's first words."""

    kind: str  # synthetic | real | both
    title: str
    text: str


_TITLES = {"synthetic": "A synthetic world", "real": "A real model", "both": "Real models beside a synthetic world"}
MOST_NAMED = 10
FEW_MODELS = 3
"""Of so many models the shares of their languages are said."""


def banner(study: Study) -> Banner:
    """Synthetic where every model was trained here on the toy world, real where none was."""
    models = study.settings["models"]
    toys = [model for model in models if models[model]["kind"] == "toy"]
    kind = banner_kind(study.settings)
    titles = [study.title(model) for model in models]
    titles = [f"“{title if len(title) <= 80 else f'{title[:79]}…'}”" for title in titles]
    read = [f"{title}: {_shares(models[model])}" for model, title in zip(models, titles, strict=True)]
    languages = study.context().languages
    few = len(languages) <= MOST_NAMED
    named = listed([name(code) for code in languages]) if few else f"{len(languages)} languages"
    one = len(models) == 1
    shown = listed(titles) if len(titles) <= 3 else f"{listed(titles[:2])} and {len(titles) - 2} more"
    texts = {
        "synthetic": f"Small language model{'' if one else 's'} trained here on invented documents in"
        f" {len(languages)} languages ({'; '.join(read) if len(read) <= FEW_MODELS else shown})."
        " No published model; questions are facts of that world, no benchmarks.",
        "real": f"{shown}, measured in {named}. How much of each language it was trained on is not known.",
        "both": f"{shown}, measured in {named}. {len(toys)} of {len(models)} were trained here on invented documents.",
    }
    return Banner(kind, _TITLES[kind], texts[kind])


def _shares(model: Mapping[str, Any]) -> str:
    """`0.8 to 25 % a language`, of a model trained here."""
    shares = [100 * share for share in (model.get("shares") or {}).values()] or [0.0]
    low, high = (number(value, 1).removesuffix(".0") for value in (min(shares), max(shares)))
    return f"{low if low == high else f'{low} to {high}'}\u00a0% a language"
