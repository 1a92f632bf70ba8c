import logging
from pathlib import Path

import pytest
import torch

from isogloss.errors import IsoglossError
from isogloss.jsonl import json_object, read_json_lines
from isogloss.resume import TrainingState, digest_of, file_marks


def test_a_state_is_taken_up_by_the_same_digest_alone(tmp_path, caplog):
    state = TrainingState(tmp_path / "state", "a", every=3)
    assert state.load() is None
    assert [state.due(steps) for steps in (2, 3)] == [False, True]
    state.save(3, {"weights": torch.ones(2), "log": [1.0]})
    assert [state.due(steps) for steps in (5, 6)] == [False, True]

    resumed = TrainingState(tmp_path / "state", "a", every=4)
    saved = resumed.load()
    assert saved is not None
    assert torch.equal(saved["weights"], torch.ones(2))
    assert (saved["log"], saved["steps"]) == ([1.0], 3)
    assert [resumed.due(steps) for steps in (6, 7)] == [False, True]

    (tmp_path / "state" / "beside").touch()
    with caplog.at_level(logging.INFO):
        assert TrainingState(tmp_path / "state", "b", every=3).load() is None
    assert "of a run with other settings or code, thrown away; starting anew" in caplog.text
    assert not (tmp_path / "state").exists()


def test_a_state_that_was_cut_off_is_not_taken_up(tmp_path, caplog):
    state = TrainingState(tmp_path / "state", "a", every=3)
    state.save(3, {"weights": torch.ones(1000)})
    path = tmp_path / "state" / "state.pt"
    content = path.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content[:length])
        with caplog.at_level(logging.INFO):
            assert TrainingState(tmp_path / "state", "a", every=3).load() is None
        assert "cut off, thrown away; starting anew" in caplog.text
        assert not path.exists()
        caplog.clear()


def test_what_stands_beside_no_state_is_removed(tmp_path):
    (tmp_path / "state" / "checkpoints").mkdir(parents=True)
    assert TrainingState(tmp_path / "state", "a", every=3).load() is None
    assert not (tmp_path / "state").exists()


def test_a_digest_follows_values_and_files(tmp_path: Path):
    assert digest_of([1, "é"], {"a": 1, "b": 2}) == digest_of([1, "é"], {"b": 2, "a": 1})
    assert digest_of([1], [2]) != digest_of([1, 2])
    (tmp_path / "file").write_text("x")
    assert file_marks(tmp_path) == file_marks(tmp_path / "file")


@pytest.mark.parametrize(
    ("line", "message"), [(b"{", r"^here: not JSON \(.*\); mend it$"), (b"[1]", r"^here: not a JSON object; mend it$")]
)
def test_a_line_that_is_no_object_is_one_sentence(line, message):
    with pytest.raises(IsoglossError, match=message):
        json_object(line, "here", "mend it")


def test_lines_are_named_from_one(tmp_path):
    path = tmp_path / "val.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    assert list(read_json_lines(path, "arc")) == [(f"{path}, line 1", {"a": 1}), (f"{path}, line 2", {"a": 2})]
    with pytest.raises(IsoglossError, match=r"no such file; arc needs it in every language"):
        list(read_json_lines(tmp_path / "none.jsonl", "arc"))
