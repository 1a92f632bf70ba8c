"""One colour and marker a language, one a script, one a model over a report, and one order of languages."""

import re
from itertools import combinations, pairwise

import pytest

from isogloss.languages import language, language_table
from isogloss.report import wanted
from isogloss.report.figures.scripts import script_looks
from isogloss.report.figures.style import FAINT
from isogloss.report.shared import palette
from isogloss.report.shared.classes import LOOKS
from isogloss.report.shared.context import Context
from synthetic import SHARES, settings

EVERY = (*language_table(), "pt-BR", "sr-Latn", "gsw", "gl", "cy", "es-419")


def study(*languages: str) -> Context:
    """The context of a study of these languages without groups; the first is the reference."""
    config = wanted.figure_settings(settings())
    others = {"reference": languages[0], "others": list(languages[1:]), "high_resource": [], "medium_low_resource": []}
    models = {name: {**model, "shares": {}} for name, model in config["models"].items()}
    bilingual = {"languages": list(languages[:2])}
    return Context("skewed", {**config, "languages": others, "models": models, "bilingual": bilingual})


TEN = Context("skewed", wanted.figure_settings(settings()))


def test_every_colour_stands_out_from_white():
    table = palette.language_looks(tuple(EVERY))
    paints = {
        *(paint for paint, _ in table.values()), *palette.COLOURS, *palette.PALETTE, *palette.MODELS, palette.OTHER,
        *palette.script_colours(tuple(EVERY)).values(), FAINT, *(look.colour for look in LOOKS.values()),
    }  # fmt: skip
    assert all(re.fullmatch("#[0-9A-Fa-f]{6}", paint) for paint in paints)
    assert {paint: palette.contrast(paint) for paint in paints if palette.contrast(paint) < 3} == {}
    assert palette.contrast("#FFFFFF") == 1
    assert palette.contrast("#000000") == pytest.approx(21)
    assert palette.contrast("#767676") == pytest.approx(4.54, abs=0.01)  # the known least grey for text


@pytest.mark.parametrize("codes", [tuple(SHARES), ("de", "fr", "pt", "sw", "ar", "ja", "en", "ko", "th"), EVERY])
def test_no_two_languages_of_a_study_look_the_same(codes):
    context = study(*codes)
    looks = {code: (palette.colour(code, context), palette.marker(code, context)) for code in codes}
    assert len(set(looks.values())) == len(codes)
    if len(codes) <= len(palette.COLOURS):
        assert len({paint for paint, _ in looks.values()}) == len({shape for _, shape in looks.values()}) == len(codes)


def test_the_papers_languages_look_the_same_in_every_study():
    others = study("de", "hi", "fr", "es")
    assert palette.colour("hi", others) == palette.colour("hi", TEN)
    assert palette.marker("es", others) == palette.marker("es", TEN)


def test_a_colour_means_a_language_or_of_many_a_script_and_never_a_model_or_series():
    few = script_looks(SHARES, TEN)
    assert {code: look.colour for code, look in few.items()} == {code: palette.colour(code, TEN) for code in SHARES}
    assert few["hi"].marker == few["mr"].marker != few["en"].marker == few["id"].marker
    context = study(*EVERY)
    many = script_looks(EVERY, context)
    scripts = {code: language(code).script for code in EVERY}
    assert len({look.colour for look in many.values()}) == len({look.marker for look in many.values()}) == 9
    for a, b in combinations(EVERY, 2):
        if scripts[a] == scripts[b]:
            assert many[a] == many[b]
    shades = {code: palette.colour(code, context) for code in EVERY}
    shared = {scripts[a] for a, b in combinations(EVERY, 2) if shades[a] == shades[b] and scripts[a] != scripts[b]}
    assert all(palette.rare(script, context.shown) for script in shared)
    assert all(palette.tells_script(look.colour) for look in many.values())
    assert not any(palette.tells_script(look.colour) for look in few.values())
    others = {*palette.PALETTE, *palette.MODELS}
    assert len(others) == len(palette.PALETTE) + len(palette.MODELS)
    assert not others & {*palette.COLOURS, *shades.values(), *(look.colour for look in LOOKS.values())}


def test_models_have_looks_of_their_own():
    models = {f"m{at}": {"title": str(at)} for at in range(12)}
    context = Context("", {**wanted.figure_settings(settings()), "models": models})
    looks = [palette.model_look(model, context) for model in models]
    assert len(set(looks)) == 12
    assert len({paint for paint, _ in looks[:6]}) == len({shape for _, shape in looks[:6]}) == 6


def test_one_order_of_languages_the_reference_its_family_and_script_ahead():
    assert TEN.ordered(SHARES) == ["en", "es", "it", "ca", "id", "mr", "hi", "zh", "ru", "ml"]
    assert TEN.by_group(SHARES) == ["en", "es", "it", "zh", "ru", "ca", "id", "mr", "hi", "ml"]
    assert TEN.ordered(["ml", "sw", "es", "en"]) == ["en", "es", "ml", "sw"]  # what the study does not name comes last
    of_hindi = study("hi", "en", "es", "mr", "ru")
    assert of_hindi.ordered(["ru", "en", "es", "mr", "hi"]) == ["hi", "mr", "en", "es", "ru"]
    every = study(*EVERY)
    scripts = [language(code).script for code in every.shown]
    assert every.shown[0] == "en"
    assert len(set(scripts)) == 1 + sum(a != b for a, b in pairwise(scripts))
