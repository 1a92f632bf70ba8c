import os
from pathlib import Path

import pytest

from isogloss import provenance, running
from isogloss.errors import IsoglossError
from test_provenance import Copy


def edited(copy: Copy, path: str, old: str, new: str) -> None:
    copy.replace(path, old, new)
    running._state.cache_clear()  # each job is a process of its own


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    copy = Copy(tmp_path, monkeypatch)
    monkeypatch.setattr(running, "PACKAGE", copy.package)
    monkeypatch.setattr(running, "SCRIPTS", copy.package.parent)
    monkeypatch.setattr(running, "RESOURCES", copy.resources)
    monkeypatch.setattr(running, "_digests", {})
    monkeypatch.setenv(running._VARIABLE, "{}")
    running._state.cache_clear()
    return copy


def test_a_stage_whose_code_was_edited_stops_and_no_other_does(copy: Copy):
    assert running.record("gap") == provenance.code_digest("gap")
    running.record("accuracy")
    running.check("gap")
    edited(copy, "stats.py", "binomtest(counts.first_only, differing)", "binomtest(counts.second_only, differing)")
    with pytest.raises(IsoglossError, match="edited after the run began, so nothing was computed"):
        running.check("accuracy")
    running.check("gap")
    edited(copy, "stats.py", "binomtest(counts.second_only, differing)", "binomtest(counts.first_only, differing)")
    running.check("accuracy")


def test_outside_of_a_run_nothing_is_checked(copy: Copy):
    edited(copy, "stats.py", "def mcnemar(", "def edited() -> None:\n    pass\n\n\ndef mcnemar(")
    running.check("accuracy")
    del os.environ[running._VARIABLE]
    running.check("accuracy")
