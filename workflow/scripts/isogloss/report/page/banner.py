"""What the page says first: whether its world is synthetic or real, of which models and languages it tells."""

from typing import NamedTuple

from isogloss.report.shared.study import Study
from isogloss.report.shared.wording import listed, name


class Banner(NamedTuple):
    """The page's first words."""

    kind: str  # synthetic | real | both
    title: str
    text: str


_TITLES = {"synthetic": "A synthetic world", "real": "A real model", "both": "Real models beside a synthetic world"}
MOST_NAMED = 10


def banner(study: Study) -> Banner:
    """Synthetic where every model was trained here on the toy world, real where none was."""
    models = study.settings["models"]
    toys = [model for model in models if models[model]["kind"] == "toy"]
    kind = "synthetic" if len(toys) == len(models) else "both" if toys else "real"
    titles = [study.title(model) for model in models]
    titles = [f"“{title if len(title) <= 80 else f'{title[:79]}…'}”" for title in titles]
    languages = study.context().languages
    few = len(languages) <= MOST_NAMED
    named = listed([name(code) for code in languages]) if few else f"{len(languages)} languages"
    one = len(models) == 1
    shown = listed(titles) if len(titles) <= 3 else f"{listed(titles[:2])} and {len(titles) - 2} more"
    texts = {
        "synthetic": f"Small language model{'' if one else 's'} ({shown}) trained here on documents made for it, with"
        f" known shares of {len(languages)} languages. No published model is in it; questions are facts of this world,"
        " not benchmarks.",
        "real": f"{shown}, measured in {named}. How much of each language it was trained on is not known.",
        "both": f"{shown}, measured in {named}. {len(toys)} of {len(models)} were trained here on invented documents.",
    }
    return Banner(kind, _TITLES[kind], texts[kind])
