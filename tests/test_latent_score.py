"""The score stage: its table and its states against forwards by hand, and on bad input."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch.testing import assert_close

import standins
from config_sections import grouped
from isogloss.config.latent import Latent
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.latent import score as stage
from isogloss.latent.prompts import continuation, encode_question, letter_tokens, load_template, render
from isogloss.latent.score import score
from isogloss.models.loading import load_causal_model, load_tokenizer
from isogloss.sources.parallel_questions import read_questions
from isogloss.tables import TableWriter, read_table, table_metadata

WORDS = {
    "en": ["euro", "Swiss franc", "Indian rupee", "yen", "The currency of {} is", "Which currency?"],
    "es": ["euro", "franco suizo", "rupia de la India", "yen", "La moneda de {} es", "¿Qué moneda?"],
}
PLACES = ["Austria", "India", "Japan", "Peru", "Chad", "Mali"]
DEFAULTS: dict[str, Any] = {
    "reference": "en",
    "task": "mmmlu",
    "layout": "mmmlu",
    "spaces": {"en": " ", "es": " "},
    "prompt": "letters",
    "instruction": "reference",
    "layers": [0],
    "state_layers": [0, 1],
    "final_norm": True,
    "softcap": True,
    "token_budget": 2048,
    "dtype": "float32",
    "seed": 0,
    "metadata": {"study": "test"},
}


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Gemma 2 whose tokenizer has " A" to " D"."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standins, "TEXTS", [*standins.TEXTS, *["Answer: A B C D"] * 20])
        return standins.tiny_model(tmp_path_factory.mktemp("lm"), family="gemma2")


def write_questions(path: Path, *, long: int = -1) -> str:
    """Six questions in two languages, the second and fifth held out; the one at `long` does not fit the context."""
    rows = {
        lang: pl.DataFrame(
            {
                "question": [f"q/{place}" for place in PLACES],
                "lang": lang,
                "passage": None,
                "text": [
                    words[4].format(place) + (" x" * 600 if at == long else "") for at, place in enumerate(PLACES)
                ],
                "choices": [words[at % 4 : 4] + words[: at % 4] for at in range(len(PLACES))],
                "answer": [at % 4 for at in range(len(PLACES))],
                "held_out": [at in (1, 4) for at in range(len(PLACES))],
            },
            schema_overrides={"passage": pl.String, "answer": pl.Int32},
        )
        for lang, words in WORDS.items()
    }
    with TableWriter(path, rows["en"].to_arrow().schema) as writer:
        for frame in rows.values():
            writer.write(frame)
    return str(path)


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_questions(tmp_path_factory.mktemp("questions") / "mmmlu.parquet")


def run(lm: Path, questions: str, folder: Path, lang: str = "es", **changes: Any) -> pl.DataFrame:
    score(
        lm=str(lm), questions=questions, scores={lang: str(folder / "scores.parquet")},
        states={lang: str(folder / "states.safetensors")},
        **grouped(DEFAULTS | changes, settings=Latent, compute=Compute),
    )  # fmt: skip
    return read_table(folder / "scores.parquet")


def states(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(folder / "states.safetensors", framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def test_each_row_holds_what_a_forward_for_each_text_gives(lm: Path, questions: str, tmp_path: Path):
    found = run(lm, questions, tmp_path)
    own, theirs = read_questions(questions, "es"), read_questions(questions, "en")
    assert found["question"].to_list() == [f"q/{place}" for place in PLACES for _ in range(2)]
    assert found["layer"].to_list() == [0, 2] * len(PLACES)  # the last layer is there unasked
    model: Any = load_causal_model(lm)
    tokenizer, template = load_tokenizer(lm), load_template("mmmlu", "letters", "en")
    kept: list[Tensor] = []
    model.model.layers[0].register_forward_hook(lambda _, __, output: kept.append(output))

    @torch.no_grad()
    def log_probabilities(ids: list[int]) -> list[Tensor]:
        last = model(input_ids=torch.tensor([ids])).logits[0]
        cap = model.config.final_logit_softcapping
        lens = cap * (model.lm_head(model.model.norm(kept.pop()[0])) / cap).tanh()
        return [logits.log_softmax(1) for logits in (lens, last)]

    for at, row in enumerate(found.rows(named=True)):
        mine, reference, layer_index = own[at // 2], theirs[at // 2], at % 2
        text = render(template, mine)
        letters = letter_tokens(tokenizer, text, 4)
        assert (row["answer"], row["held_out"]) == (mine.answer, mine.held_out)
        for name, choices in (("native", mine.choices), ("reference", reference.choices)):
            prompt, continuations = encode_question(tokenizer, text, [continuation(choice) for choice in choices])
            for number, ids in enumerate(continuations):
                rows = log_probabilities(prompt + ids)[layer_index][len(prompt) - 1 : -1]
                mean = rows[torch.arange(len(ids)), ids].mean()
                assert row[name][number] == pytest.approx(float(mean), abs=1e-4)
                assert row[f"{name}_tokens"][number] == len(ids)
                assert row[f"{name}_characters"][number] == len(choices[number])
        end = log_probabilities(prompt)[layer_index][-1]
        assert row["letters"] == pytest.approx(end[letters.spaced].tolist(), abs=1e-4)
        assert letters.bare
        assert row["letters_bare"] == pytest.approx(end[letters.bare].tolist(), abs=1e-4)


def test_states_of_held_out_questions_are_those_at_the_last_prompt_token(lm: Path, questions: str, tmp_path: Path):
    run(lm, questions, tmp_path)
    tensors, about = states(tmp_path)
    assert json.loads(about["questions"]) == ["q/India", "q/Chad"]
    assert (about["task"], about["lang"], about["prompt"]) == ("mmmlu", "es", "letters")
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {"layer_0": (2, 32), "layer_1": (2, 32)}
    model: Any = load_causal_model(lm)
    tokenizer, template = load_tokenizer(lm), load_template("mmmlu", "letters", "en")
    kept: list[Tensor] = []
    model.model.layers[1].register_forward_hook(lambda _, __, output: kept.append(output[0, -1]))
    for question in read_questions(questions, "es"):
        if question.held_out:
            with torch.no_grad():
                model(input_ids=torch.tensor([encode_question(tokenizer, render(template, question), [" a"])[0]]))
    assert_close(tensors["layer_1"], torch.stack(kept), atol=1e-5, rtol=1e-5)


def test_of_the_reference_language_the_reference_texts_are_the_native_ones(lm: Path, questions: str, tmp_path: Path):
    found = run(lm, questions, tmp_path, lang="en")
    assert found["native"].to_list() == found["reference"].to_list()
    assert found["native_tokens"].to_list() == found["reference_tokens"].to_list()


def test_a_cloze_prompt_has_no_letters_and_the_native_instruction_is_another_prompt(
    lm: Path, questions: str, tmp_path: Path
):
    cloze = run(lm, questions, tmp_path, prompt="cloze", task="hellaswag", layout="hellaswag")
    assert cloze["letters"].null_count() == cloze["letters_bare"].null_count() == len(cloze)
    english, spanish = (run(lm, questions, tmp_path, instruction=way) for way in ("reference", "native"))
    assert english["native"].to_list() != spanish["native"].to_list()


def test_chunks_and_batches_change_no_number_and_the_same_run_no_bit(
    lm: Path, questions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole, again = run(lm, questions, tmp_path), run(lm, questions, tmp_path)
    assert whole.equals(again)
    first, _ = states(tmp_path)
    monkeypatch.setattr(stage, "_CHUNK", 2)
    parts = run(lm, questions, tmp_path, token_budget=64)
    for name in ("letters", "letters_bare", "native", "reference"):
        assert_close(torch.tensor(parts[name].to_list()), torch.tensor(whole[name].to_list()), atol=1e-5, rtol=1e-5)
    second, about = states(tmp_path)
    assert json.loads(about["questions"]) == ["q/India", "q/Chad"]
    assert_close(second["layer_1"], first["layer_1"], atol=1e-5, rtol=1e-5)


def test_a_prompt_longer_than_the_context_is_dropped_and_counted(
    lm: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = write_questions(tmp_path / "mmmlu.parquet", long=1)
    found = run(lm, path, tmp_path)
    assert "q/India" not in found["question"].to_list()
    assert found["question"].n_unique() == 5
    assert table_metadata(tmp_path / "scores.parquet")["too_long"] == 1
    assert json.loads(states(tmp_path)[1]["questions"]) == ["q/Chad"]
    assert "mmmlu, es: 1 of 6 prompts dropped, longer than the context" in caplog.text


def test_no_prompt_that_fits_is_one_line(lm: Path, questions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stage, "context_length", lambda _: 4)
    with pytest.raises(IsoglossError, match="none of 6 es prompts of mmmlu fits the model's context of 4 tokens"):
        run(lm, questions, tmp_path)
    assert not (tmp_path / "scores.parquet").exists()


def test_a_layer_that_does_not_exist_is_one_line(lm: Path, questions: str, tmp_path: Path):
    with pytest.raises(IsoglossError, match="no layer 3; the model has layers 0 to 2"):
        run(lm, questions, tmp_path, layers=[3])


def test_a_nan_names_layer_language_and_question(
    lm: Path, questions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = stage.score_continuations

    def spoilt(*arguments: Any, **named: Any) -> Any:
        found = real(*arguments, **named)
        broken = found[3].log_likelihoods.clone()
        broken[1, 0] = torch.nan
        found[3] = found[3]._replace(log_likelihoods=broken)
        return found

    monkeypatch.setattr(stage, "score_continuations", spoilt)
    with pytest.raises(IsoglossError, match="layer 2, language es, question q/Peru of mmmlu: NaN or infinity"):
        run(lm, questions, tmp_path)
    assert not (tmp_path / "scores.parquet").exists()
