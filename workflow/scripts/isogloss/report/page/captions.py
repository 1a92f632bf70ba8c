"""Captions of figures and tables in three layers: what one sees, how to read it, and the details.

workflow/report/{name}.rst holds all three, for Snakemake's report too, which shows them through. Two comments part
them: `.. reading` and `.. details`. Each takes the study through the filter `literal`, so that its texts stay texts.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined

from isogloss.errors import IsoglossError
from isogloss.report.shared.literal import literal
from isogloss.report.shared.wording import name as language_name
from isogloss.resources import CAPTIONS

LAYERS = re.compile(r"^\.\. (?:reading|details)$", flags=re.MULTILINE)
_MARK = "isogloss-layer"
_DOCUTILS = {
    "raw_enabled": False,
    "file_insertion_enabled": False,
    "_disable_config": True,
    "report_level": 5,
    "halt_level": 5,
    "embed_stylesheet": False,
    "stylesheet_path": "",
    "syntax_highlight": "none",
}


class Caption(NamedTuple):
    """The layers of a caption as HTML."""

    see: str
    read: str
    details: str


def caption(name: str, settings: Mapping[str, Any], model: str = "") -> Caption:
    """The caption of a figure or table of a model, "" where models are compared; `settings` is the resolved config.

    Unlike Snakemake's report, which shows codes, it names languages. Raises IsoglossError for a caption without its
    three layers.
    """
    job = {"config": _with_names(settings), "wildcards": {"model": model}}
    text = _template(name).render(snakemake=job)
    if len(LAYERS.findall(text)) != 2:
        raise IsoglossError(
            f"workflow/report/{name}.rst: put a line `.. reading` and a line `.. details` between parts"
        )
    return Caption(*_html(LAYERS.sub(f"\n\n{_MARK}\n\n", text)))


@lru_cache
def _template(name: str) -> Any:
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters["literal"] = literal
    return environment.from_string((CAPTIONS / f"{name}.rst").read_text(encoding="utf-8"))


@lru_cache(maxsize=1024)
def _html(text: str) -> list[str]:
    """The parts of a caption; captions of models that do not differ in what they say are made once."""
    body = publish_parts(text, writer="html5", settings_overrides=_DOCUTILS).get("body", "")
    body = re.sub(r'<span class="docutils literal">(.*?)</span>(?!</span>)', r"<code>\1</code>", body, flags=re.DOTALL)
    return [part.strip() for part in body.split(f"<p>{_MARK}</p>")]


def _with_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    languages, phrases = settings["languages"], settings["phrases"]
    named = {
        key: language_name(value) if isinstance(value, str) else [language_name(code) for code in value or ()]
        for key, value in languages.items()
    }
    chose = phrases["language"] and language_name(phrases["language"])
    return {**settings, "languages": named, "phrases": {**phrases, "language": chose}}
