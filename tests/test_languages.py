"""The language table: Belebele's languages, under the names that CLDR has for them."""

import re
from collections import Counter
from itertools import pairwise

from babel import Locale

from isogloss.languages import in_order, language_table, world_languages

OWN_COLOUR = ["en", "zh", "ru", "es", "it", "id", "ca", "mr", "ml", "hi", "ja"]
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
        assert re.fullmatch(r"#[0-9A-F]{6}", row.colour)
        assert code.partition("-")[2] in ("", row.script)
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


def test_eleven_languages_come_first_in_colours_of_their_own_and_the_others_share_those_of_their_script():
    table = language_table()
    assert list(table)[:11] == OWN_COLOUR
    own = {table[code].colour for code in OWN_COLOUR}
    others = [row for code, row in table.items() if code not in OWN_COLOUR]
    assert len(own) == 11
    assert not own & {row.colour for row in others}
    assert all(count == 1 for count in Counter(script for script, _ in {(r.script, r.colour) for r in others}).values())
    changes = sum(one.colour != other.colour for one, other in pairwise(others))
    assert changes == len({row.colour for row in others}) - 1  # scripts of a colour stand together


def test_the_world_is_told_where_it_has_templates_and_order_is_the_tables():
    assert world_languages() == ["en", "zh", "ru", "es", "it", "id", "ca", "mr", "ml", "hi"]
    assert in_order(["sw", "zh-Hant", "hi", "ar", "en"]) == ["en", "hi", "sw", "ar", "zh-Hant"]
