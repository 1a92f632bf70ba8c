"""Study files of version 0.1: each still loads, or every complaint names what replaces a key."""

import re
from pathlib import Path

import pytest

from isogloss.config import REMOVED, load_study, schema
from isogloss.config.files import read_file
from isogloss.errors import IsoglossError

OLD = Path(__file__).parent / "studies" / "0.1"


@pytest.mark.parametrize("path", sorted(OLD.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_study_of_01_loads_or_is_told_what_replaces_each_key(path: Path):
    try:
        study = load_study(read_file(path), origin=path.name)
    except IsoglossError as error:
        first, *lines = str(error).splitlines()
        assert first == f"{len(lines)} mistake(s) in the configuration"
        sentence = re.compile(rf"  {re.escape(path.name)}: ([\w.-]+): no longer a key; (.+)")
        said = [sentence.fullmatch(line) for line in lines]
        assert all(said), lines
        assert {match[2] for match in said if match} <= set(REMOVED.values())
    else:
        assert study.study == path.stem


def test_every_key_of_01_is_one_still_or_has_a_sentence():
    now = set(re.findall(r"^\| *`([^`]+)` *\|", schema.key_reference(), flags=re.MULTILINE))
    old = (OLD / "keys.txt").read_text(encoding="utf-8").split()
    assert len(old) == 172
    gone = [key for key in old if key not in now and not any(f"{key}.".startswith(f"{one}.") for one in REMOVED)]
    assert gone == []
    assert not now & REMOVED.keys()
    assert all(re.search(r"\b(write|give|set|name|leave|has|is|are|stands?)\b", advice) for advice in REMOVED.values())
