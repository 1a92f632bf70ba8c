"""The language table: Belebele's languages, under the names that CLDR has for them."""

import re

import pytest
from babel import Locale

from isogloss.languages import (
    canonical_code,
    in_order,
    language,
    language_table,
    spacing,
    word_spacing,
    world_languages,
)

OF_MMMLU = ["ar", "bn", "de", "es", "fr", "hi", "id", "it", "ja", "ko", "pt", "sw", "yo", "zh"]
SEVERAL_SCRIPTS = {"ar": "ar-Latn", "bn": "bn-Latn", "hi": "hi-Latn", "ne": "ne-Latn", "si": "si-Latn", "ur": "ur-Latn"}


def test_belebeles_122_languages_are_there_once_each():
    table = language_table()
    assert len(table) == 122
    assert len({row.flores for row in table.values()}) == len({row.name for row in table.values()}) == 122
    for code, row in table.items():
        assert code == row.code
        assert re.fullmatch(r"[a-z]{2,3}(-[A-Z][a-z]{3})?", code)
        assert re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", row.flores)
        assert row.flores.endswith(f"_{row.script}")
        assert code.partition("-")[2] in ("", row.script)
        assert row.top_family
    assert set(OF_MMMLU) < set(table)


def test_names_are_cldrs():
    known = Locale("en").languages
    checked = 0
    for code, row in language_table().items():
        name, _, of_script = code.partition("-")
        if name not in known:
            assert len(name) == 3
        elif of_script:
            assert row.name in (f"{known[name]} (Latin)", f"{known[name]} (Traditional)")
        else:
            assert row.name == known[name]
            checked += 1
    assert checked == 113
    assert {code: language_table()[other].name for code, other in SEVERAL_SCRIPTS.items()} == {
        code: f"{language_table()[code].name} (Latin)" for code in SEVERAL_SCRIPTS
    }


def test_eleven_languages_come_first_and_the_others_stand_by_script():
    table = language_table()
    assert list(table)[:11] == ["en", "zh", "ru", "es", "it", "id", "ca", "mr", "ml", "hi", "ja"]
    others = [row.script for row in table.values()][11:]
    latin = [at for at, script in enumerate(others) if script == "Latn"]
    assert latin == list(range(len(latin)))


def test_the_world_is_told_where_it_has_templates_and_order_is_the_tables():
    assert world_languages() == ["en", "zh", "ru", "es", "it", "id", "ca", "mr", "ml", "hi"]
    assert in_order(["sw", "zh-Hant", "hi", "ar", "en"]) == ["en", "hi", "sw", "ar", "zh-Hant"]
    assert in_order(["yue", "sr-Latn", "gl", "he", "en"]) == ["en", "he", "gl", "sr-Latn", "yue"]


@pytest.mark.parametrize(
    ("code", "name", "script", "family", "flores"),
    [
        ("sw", "Swahili", "Latn", "Bantu", "swh_Latn"),
        ("gl", "Galician", "Latn", "Galician", "glg_Latn"),
        ("be", "Belarusian", "Cyrl", "Belarusian", "bel_Cyrl"),
        ("cy", "Welsh", "Latn", "Welsh", "cym_Latn"),  # not wel, as libraries have it
        ("yue", "Cantonese", "Hant", "Cantonese", "yue_Hant"),
        ("gsw", "Swiss German", "Latn", "Swiss German", "gsw_Latn"),
        ("mai", "Maithili", "Deva", "Maithili", "mai_Deva"),
        ("no", "Norwegian", "Latn", "Norwegian", "nor_Latn"),
        ("ku", "Kurdish", "Latn", "Kurdish", None),  # kmr or kur
        ("acq", "acq", "Arab", "acq", "acq_Arab"),  # CLDR has a script and no name
        ("tl", "Tagalog", "Latn", "Malayo-Polynesian", "tgl_Latn"),  # of the table: CLDR calls it fil
        ("sr-Latn", "Serbian (Latin)", "Latn", "Slavic", "srp_Latn"),
        ("zh-TW", "Chinese (Taiwan)", "Hant", "Sinitic", "zho_Hant"),
        ("pt-BR", "Portuguese (Brazil)", "Latn", "Romance", "por_Latn"),
        ("pt-PT", "Portuguese (Portugal)", "Latn", "Romance", None),  # a variety that FLORES-200 doesn't have
        ("es-419", "Spanish (Latin America)", "Latn", "Romance", None),
        ("ca-valencia", "Catalan (valencia)", "Latn", "Romance", None),
    ],
)
def test_any_language_has_name_script_family_and_the_codes_that_follow(
    code: str, name: str, script: str, family: str, flores: str | None
):
    row = language(code)
    assert row[:4] == (code, name, script, family)
    assert row.flores == flores


def test_scripts_codes_and_order_of_the_table_follow_from_cldr_too():
    """What is derived for other languages is right for those that the table has by hand."""
    from isogloss.languages import _by_cldr

    rows = language_table()
    derived = {code: _by_cldr(code) for code in rows}
    assert {code: row.name for code, row in derived.items() if row.name != rows[code].name} == {}
    assert {code: row.script for code, row in derived.items() if row.script != rows[code].script} == {}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("PT_br", "pt-BR"),
        ("pt_BR", "pt-BR"),
        ("EN", "en"),
        ("iw", "he"),
        ("in", "id"),
        ("sh", "sr-Latn"),
        ("cmn", "zh"),
        ("eng_Latn", "en"),
        ("als_Latn", "sq"),
        ("zho_Hant", "zh-Hant"),
        ("zh-Hans", "zh"),
        ("sr-Cyrl", "sr"),
        ("ko-Kore", "ko"),
        ("zh-hant", "zh-Hant"),
    ],
)
def test_every_language_has_one_spelling(text: str, code: str):
    assert canonical_code(text) == code
    assert language(code).code == code
    with pytest.raises(ValueError, match=rf"'{text}' is written {code} "):
        language(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("english", "did you mean en?"),
        ("Norwegian", "did you mean no?"),
        ("englsh", "did you mean en or "),
        ("jp", "did you mean ja?"),
        ("cz", "did you mean cs?"),
        ("zh-yue", "codes are BCP 47"),
        ("xx", "codes are BCP 47"),
        ("all", "codes are BCP 47"),
        ("mul", "codes are BCP 47"),
        ("", "codes are BCP 47"),
        ("../en", "codes are BCP 47"),
        ("en-u-co-phonebk", "codes are BCP 47"),
        ("en-XX", "CLDR has no XX; write en"),
        ("en-Abcd", "CLDR has no Abcd; write en"),
    ],
)
def test_what_is_no_code_comes_with_what_may_be_meant(text: str, meant: str):
    with pytest.raises(ValueError, match=re.escape(f"unknown language {text!r}") + f".*{re.escape(meant)}"):
        language(text)


def test_sentences_are_spaced_as_their_script_is():
    unspaced = {code for code in language_table() if not spacing(code)}
    assert unspaced == {"zh", "zh-Hant", "ja"}
    assert (spacing("yue"), spacing("th"), spacing("ko"), spacing("vi"), spacing("zh-Latn")) == ("", " ", " ", " ", " ")


def test_words_are_spaced_as_their_script_is():
    unspaced = {code for code in language_table() if not word_spacing(code)}
    assert unspaced == {"zh", "zh-Hant", "ja", "th", "lo", "km", "my", "shn", "bo"}
    assert [word_spacing(code) for code in ("yue", "ko", "vi", "hi", "zh-Latn", "dz")] == ["", " ", " ", " ", " ", ""]


def test_top_families_are_glottologs_and_follow_from_the_family():
    table = language_table()
    known = {
        "en": "Indo-European",
        "hi": "Indo-European",
        "ml": "Dravidian",
        "zh": "Sino-Tibetan",
        "my": "Sino-Tibetan",
    }
    known |= {"id": "Austronesian", "fi": "Uralic", "ha": "Afro-Asiatic", "sw": "Atlantic-Congo", "bm": "Mande"}
    known |= {"th": "Tai-Kadai", "vi": "Austroasiatic", "eu": "Basque", "mn": "Mongolic-Khitan", "luo": "Nilotic"}
    assert {code: table[code].top_family for code in known} == known
    assert len({(row.family, row.top_family) for row in table.values()}) == len({row.family for row in table.values()})
    assert (language("pt-BR").top_family, language("qu").top_family) == ("Indo-European", None)
