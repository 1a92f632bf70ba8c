"""Steering vectors and their controls against hand calculation, and states that do not fit."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close

from isogloss.errors import IsoglossError
from isogloss.latent.vectors import (
    States,
    common_questions,
    random_vectors,
    read_states,
    shared_vectors,
    steering_vectors,
    write_vectors,
)

QUESTIONS = ["q/c", "q/a", "q/b"]


def states(lang: str, values: Tensor, questions: list[str] | None = None) -> States:
    """States of two layers, the second ten times the first."""
    return States(f"{lang}.safetensors", "mmmlu", lang, "letters", questions or QUESTIONS, {0: values, 4: 10 * values})


def saved(path: Path, **changes: str) -> str:
    about = {"task": "mmmlu", "lang": "es", "prompt": "letters", "questions": json.dumps(QUESTIONS), **changes}
    save_file({f"layer_{layer}": torch.randn(3, 8) for layer in (0, 4)}, path, metadata=about)
    return str(path)


def test_a_vector_is_the_difference_of_means_whatever_the_order_of_the_questions():
    es = states("es", torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 6.0]]))
    en = states("en", torch.tensor([[9.0, 9.0], [0.0, 3.0], [3.0, 0.0]]), ["q/b", "q/c", "q/a"])
    found = steering_vectors(es, en, QUESTIONS)
    assert_close(found, {0: torch.tensor([2.0, 2.0]), 4: torch.tensor([20.0, 20.0])})
    some = steering_vectors(es, en, ["q/a"])
    assert_close(some[0], torch.tensor([1.0, 0.0]))


def test_the_vector_of_a_language_that_is_the_reference_is_zero_and_so_is_its_control():
    en = states("en", torch.randn(3, 8))
    own = steering_vectors(en, en, QUESTIONS)
    assert all(not vector.any() for vector in own.values())
    assert all(not vector.any() for vector in random_vectors(own, seed=0, task="mmmlu", lang="en").values())


def test_vectors_there_and_back_are_opposite():
    es, en = states("es", torch.randn(3, 8)), states("en", torch.randn(3, 8))
    there, back = steering_vectors(es, en, QUESTIONS), steering_vectors(en, es, QUESTIONS)
    assert all(torch.equal(there[layer], -back[layer]) for layer in there)


def test_a_random_vector_is_as_long_as_the_own_and_a_function_of_seed_task_language_and_layer():
    own = {layer: torch.randn(64) for layer in (0, 4)}
    given = {"seed": 1, "task": "mmmlu", "lang": "es"}
    drawn = random_vectors(own, **given)
    for layer, vector in drawn.items():
        assert_close(vector.norm(), own[layer].norm())
        assert torch.equal(vector, random_vectors({layer: own[layer]}, **given)[layer])
    directions = [vector / vector.norm() for vector in drawn.values()]
    for change in ({"seed": 2}, {"task": "belebele"}, {"lang": "hi"}):
        directions.append(random_vectors(own, **{**given, **change})[0])
    cosines = torch.stack([vector / vector.norm() for vector in [*directions, own[0]]])
    assert ((cosines @ cosines.T).triu(1).abs() < 0.5).all()


def test_the_shared_vector_is_the_mean_of_the_languages():
    own = [{0: torch.randn(8)} for _ in range(3)]
    assert_close(shared_vectors(own)[0], sum(vectors[0] for vectors in own) / 3)


def test_questions_that_a_language_lacks_are_in_no_vector():
    some = states("hi", torch.randn(2, 8), ["q/b", "q/c"])
    assert common_questions([states("es", torch.randn(3, 8)), some]) == ["q/c", "q/b"]


def test_states_of_another_draw_are_one_line():
    other = states("en", torch.randn(1, 8), ["q/z"])
    with pytest.raises(IsoglossError, match=r"es\.safetensors: has no question in common with en\.safetensors"):
        common_questions([states("es", torch.randn(3, 8)), other])


def test_states_are_read_as_they_were_written(tmp_path):
    stored = read_states(saved(tmp_path / "es"), task="mmmlu", prompt="letters", layers=[4])
    assert (stored.lang, stored.questions, set(stored.layers)) == ("es", QUESTIONS, {4})
    assert stored.layers[4].shape == (3, 8)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "belebele"}, "these are the states of task mmmlu, prompt letters, not of belebele, letters"),
        ({"prompt": "cloze"}, "these are the states of task mmmlu, prompt letters, not of mmmlu, cloze"),
        ({"layers": [2]}, "no states of layer 2; .* latent.steering.layers"),
    ],
)
def test_states_of_something_else_are_one_line(tmp_path, given, message):
    with pytest.raises(IsoglossError, match=message):
        read_states(saved(tmp_path / "es"), **{"task": "mmmlu", "prompt": "letters", "layers": [0], **given})


def test_states_that_are_missing_damaged_or_no_numbers_are_one_line(tmp_path):
    wanted = {"task": "mmmlu", "prompt": "letters", "layers": [0]}
    with pytest.raises(IsoglossError, match="no such states"):
        read_states(str(tmp_path / "none"), **wanted)
    (tmp_path / "cut").write_bytes(Path(saved(tmp_path / "es")).read_bytes()[:100])
    with pytest.raises(IsoglossError, match="cut: damaged safetensors file"):
        read_states(str(tmp_path / "cut"), **wanted)
    about = {"task": "mmmlu", "lang": "es", "prompt": "letters", "questions": "[]"}
    save_file({"layer_0": torch.tensor([[1.0, float("nan")]])}, tmp_path / "nan", metadata=about)
    with pytest.raises(IsoglossError, match="nan: NaN or infinity in the states of layer 0"):
        read_states(str(tmp_path / "nan"), **wanted)


def test_saved_vectors_come_with_what_they_are(tmp_path):
    own = {0: torch.randn(8), 4: torch.randn(8)}
    write_vectors(str(tmp_path / "es"), own, {"lang": "es", "questions": QUESTIONS, "seed": 3})
    with safe_open(tmp_path / "es", framework="pt") as file:
        about = file.metadata()
        assert {name: file.get_tensor(name).tolist() for name in ("layer_0", "layer_4")} == {
            f"layer_{layer}": vector.tolist() for layer, vector in own.items()
        }
    assert (about["lang"], json.loads(about["questions"]), about["seed"]) == ("es", QUESTIONS, "3")
    assert [path.name for path in tmp_path.iterdir()] == ["es"]
