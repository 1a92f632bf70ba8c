"""Captions in three layers: each has all of them, in words, for every study; text of the configuration stays text."""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined

from checkout import REPOSITORY, read_study
from isogloss.config import load_study
from isogloss.errors import IsoglossError
from isogloss.report import wanted
from isogloss.report.catalogue import BETWEEN_FIGURES, BETWEEN_TABLES, FIGURES, TABLES
from isogloss.report.page import captions
from isogloss.report.page.captions import Caption, caption
from isogloss.report.shared.literal import literal
from synthetic import settings

CONFIG = settings()
EVERY = sorted({*FIGURES, *TABLES, *BETWEEN_FIGURES, *BETWEEN_TABLES})
STUDIES = ("config/config.yaml", "tests/studies/mini.yaml", "tests/studies/smallest.yaml", "config/studies/real.yaml")
MOST_SEEN, MOST_READ = 40, 60
"""Words of the first and the second layer."""
IN_HOUSE = re.compile(r"(?<!report\.)\b(headline|mended|unseen-|lede|stand-in)\b")


def words(html: str) -> list[str]:
    return unescape(re.sub(r"<[^>]+>", " ", html)).split()


def shown(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a study shows, and of which model."""
    for model in config["models"]:
        for name in dict.fromkeys([*wanted.figures_of(config, model), *wanted.tables_of(config, model)]):
            yield name, model
    for name in dict.fromkeys([*wanted.between_figures(config), *wanted.between_tables(config)]):
        yield name, ""


def check(name: str, made: Caption) -> None:
    for layer in made:
        assert words(layer), name
        assert not re.search(r"[{}\\]|system-message|problematic|None\b|docutils", layer), (name, layer)
        assert not IN_HOUSE.search(layer), (name, layer)
    assert len(words(made.see)) <= MOST_SEEN, (name, len(words(made.see)))
    assert len(words(made.read)) <= MOST_READ, (name, len(words(made.read)))


def test_every_entry_has_a_caption_in_three_layers_of_few_words():
    assert len(EVERY) >= 57
    for name in EVERY:
        check(name, caption(name, CONFIG, "" if name in {*BETWEEN_FIGURES, *BETWEEN_TABLES} else "skewed"))


@pytest.mark.parametrize("path", STUDIES)
def test_captions_of_a_study(path):
    study = read_study(REPOSITORY / path)
    for model in study["models"].values():
        if "source" in model:  # what config.json of a fetched model says
            model["architecture"] = {"layers": 28, "d_model": 1024, "d_mlp": 3072, "heads": 16, "key_value_heads": 8}
            model["architecture"] |= {"d_head": 128, "vocabulary": 151_936}
    config = load_study(study).resolved()
    every = list(shown(config))
    assert every
    for name, model in every:
        check(name, caption(name, config, model))


def in_snakemake(name: str, config: dict[str, Any]) -> str:
    """A caption as Snakemake's report renders it for docutils, with the filter that report.smk adds to jinja2's."""
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters["literal"] = literal
    template = environment.from_string((REPOSITORY / f"workflow/report/{name}.rst").read_text())
    return template.render(snakemake={"config": config, "wildcards": {"model": "skewed"}})


def test_snakemake_shows_all_layers_and_no_mark():
    """Its report renders the file as a whole, with codes of languages, and docutils has nothing to complain of."""
    text = "\n\n".join(in_snakemake(name, CONFIG) for name in EVERY)
    body = publish_parts(text, writer="html", settings_overrides={"halt_level": 2})["body"]
    assert "{" not in body
    plain = " ".join(words(re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)))
    assert ".. reading" not in plain
    for part in caption("similarity_pairs", CONFIG, "skewed"):
        assert " ".join(words(part))[:60] in plain


def test_open_choices_and_languages_are_named():
    made = caption("alignment_gain", CONFIG, "skewed")
    for choice in ("squared", "pre_activation", "corpus", "1.0", "<code>alignment.weight</code>"):
        assert choice in made.details
    assert "what English keeps" in made.see
    assert "(English, Chinese, Russian, Spanish, Italian; Indonesian," in caption("group_gap", CONFIG, "skewed").details


def test_text_of_the_configuration_is_no_markup():
    hostile = (
        "x `click <javascript:alert(1)>`_ <script>alert(1)</script> |x| [1]_ a_ *b* ``c`` {{ 7*7 }}\n\n"
        ".. image:: http://example.org/x.png\n\n.. raw:: html\n\n   <b>\n\n.. include:: /etc/passwd\n\u202e"
        + "y"
        * 9000
    )
    config = settings()
    config["models"]["skewed"]["title"] = hostile
    made = caption("planted_truth", config)
    for forbidden in ("<script", "<a ", "<img", "<em", "<b>", "root:", "system-message"):
        assert forbidden not in made.details
    assert "`click <javascript:alert(1)>`_ <script>" in unescape(made.details)
    assert "{{ 7*7 }}" in made.details
    assert made.details.count("<p>") == caption("planted_truth", CONFIG).details.count("<p>")


TITLES = ("javascript:alert(1)//", "|a|_ `b`_ **c", "x https://example.org me@example.org [1]_", "* - `y <z:>`__ ..")


@pytest.mark.parametrize("title", TITLES)
def test_snakemake_shows_texts_of_the_study_as_they_are(title: str):
    """A bare `javascript:` would be a link that runs on a click, an open mark a box of docutils' errors."""
    config = settings()
    for model in config["models"].values():
        model["title"] = title
    tasks = config["benchmarks"]["tasks"]
    tasks["mark_"] = next(iter(tasks.values()))
    config["latent"]["tasks"]["mark_"] = next(iter(config["latent"]["tasks"].values()))
    body = publish_parts("\n\n".join(in_snakemake(name, config) for name in EVERY), writer="html")["body"]
    assert not re.findall(r"<a [^>]*>|system-message|problematic", body)
    assert title in unescape(body)
    assert "mark_ " in body


def test_every_caption_takes_the_study_through_the_filter():
    for path in [*(REPOSITORY / "workflow" / "report").glob("*.rst")]:
        assert not re.search(r"snakemake\.(?!config\|literal\b|wildcards\.model\])", path.read_text()), path.name
    assert 'DEFAULT_FILTERS["literal"] = literal' in (REPOSITORY / "workflow" / "rules" / "report.smk").read_text()


def test_a_caption_without_its_layers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "flat.rst").write_text("One sentence.\n\n.. reading\n\nAnother.\n")
    monkeypatch.setattr(captions, "CAPTIONS", tmp_path)
    with pytest.raises(IsoglossError, match=r"^workflow/report/flat\.rst: put a line `\.\. reading` and a line"):
        caption("flat", CONFIG)
