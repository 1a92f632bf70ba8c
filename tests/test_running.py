import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from isogloss import provenance, running
from isogloss.errors import IsoglossError
from test_provenance import Copy


def edited(copy: Copy, path: str, old: str, new: str) -> None:
    copy.replace(path, old, new)
    new_process()


def new_process() -> None:
    """Each job is one."""
    running._state.cache_clear()
    running._known.cache_clear()


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Copy]:
    copy = Copy(tmp_path, monkeypatch)
    monkeypatch.setattr(running, "PACKAGE", copy.package)
    monkeypatch.setattr(running, "SCRIPTS", copy.package.parent)
    monkeypatch.setattr(running, "RESOURCES", copy.resources)
    monkeypatch.setattr(running, "_digests", {})
    monkeypatch.setenv(running._VARIABLE, "{}")
    monkeypatch.delenv(running._STUDY, raising=False)
    monkeypatch.chdir(tmp_path)
    new_process()
    yield copy
    new_process()


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


def test_digests_are_kept_until_a_file_changes(copy: Copy, monkeypatch: pytest.MonkeyPatch):
    at_exit = []
    monkeypatch.setattr(running.atexit, "register", lambda function, *arguments: at_exit.append((function, arguments)))
    digest = running.kept_digest("accuracy")
    for function, arguments in at_exit:
        function(*arguments)
    new_process()
    with monkeypatch.context() as patch:
        patch.setattr(running, "code_digest", lambda *_: pytest.fail("made again"))
        assert running.kept_digest("accuracy") == digest
    edited(copy, "stats.py", "binomtest(counts.first_only, differing)", "binomtest(counts.second_only, differing)")
    assert running.kept_digest("accuracy") == provenance.code_digest("accuracy") != digest


def test_a_run_keeps_to_the_study_that_it_began_with(copy: Copy, monkeypatch: pytest.MonkeyPatch):
    began = {"study": "one", "models": {"lm": {"layers": {20: "a", "final": "b"}}}}
    edited_study = {"study": "one", "models": {"lm": {"layers": {20: "c"}}}}
    assert running.kept_study(edited_study) is edited_study  # outside of a run
    monkeypatch.setenv(running._STUDY, "")
    running.keep_study(began)
    assert running.kept_study(began) is began
    assert running.kept_study(edited_study) == {"study": "one", "models": {"lm": {"layers": {"20": "a", "final": "b"}}}}
    for path in Path(".snakemake").iterdir():
        path.unlink()
    with pytest.raises(IsoglossError, match=r"the study was edited after the run began, and .*json, where it was kept"):
        running.kept_study(edited_study)
    assert running.kept_study(began) is began
