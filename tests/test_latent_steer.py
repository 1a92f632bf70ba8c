"""The steer stage: its rows against forwards by hand and the score stage, and on bad input."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import MambaConfig, MambaForCausalLM

import standins
from config_sections import grouped
from isogloss.config.latent import Generation, Latent, Steering
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.latent import steered_scores as stage
from isogloss.latent.prompts import continuation, encode_question, letter_tokens, load_template, render
from isogloss.latent.score import score
from isogloss.latent.steer import steer
from isogloss.latent.steer_random import steer_random
from isogloss.latent.steered_answers import continue_steered
from isogloss.models.decoding import stopping_tokens
from isogloss.models.hooks import changed_after
from isogloss.models.loading import load_causal_model, load_tokenizer
from isogloss.sources.parallel_questions import read_questions
from isogloss.tables import TableWriter, read_table, table_metadata, write_table
from isogloss.text.translation_score import score_translations
from standins import FAMILIES, tiny_model

WORDS = {
    "en": ["euro", "Swiss franc", "Indian rupee", "yen", "The currency of {} is"],
    "es": ["euro", "franco suizo", "rupia de la India", "yen", "La moneda de {} es"],
    "hi": ["यूरो", "फ़्रैंक", "रुपया", "येन", "{} की मुद्रा"],
}
PLACES = ["Austria", "India", "Japan", "Peru", "Chad", "Mali", "Oman"]
HELD_OUT = {"q/India", "q/Chad", "q/Oman"}
Folder = Path


def write_questions(path: Path) -> str:
    """Seven questions in three languages, three of them held out."""
    rows = {
        lang: pl.DataFrame(
            {
                "question": [f"q/{place}" for place in PLACES],
                "lang": lang,
                "passage": "Money",
                "text": [words[4].format(place) for place in PLACES],
                "choices": [words[at % 4 : 4] + words[: at % 4] for at in range(len(PLACES))],
                "answer": [at % 4 for at in range(len(PLACES))],
                "held_out": [f"q/{place}" in HELD_OUT for place in PLACES],
            },
            schema_overrides={"answer": pl.Int32},
        )
        for lang, words in WORDS.items()
    }
    with TableWriter(path, rows["en"].to_arrow().schema) as writer:
        for frame in rows.values():
            writer.write(frame)
    return str(path)


SETTINGS: dict[str, Any] = {
    "reference": "en", "task": "hellaswag", "layout": "hellaswag",
    "instruction": "reference", "token_budget": 2048, "dtype": "float32",
    "seed": 0, "metadata": {"study": "test"}, "spaces": dict.fromkeys(WORDS, " "),
}  # fmt: skip


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A model, questions, and scores and states of three languages and both prompts."""
    folder = tmp_path_factory.mktemp("scored")
    with pytest.MonkeyPatch.context() as patch:  # a tokenizer that has " A" to " D"
        patch.setattr(standins, "TEXTS", [*standins.TEXTS, *["Answer: A B C D"] * 20])
        lm = tiny_model(folder / "lm", family="gemma2")
    questions = write_questions(folder / "questions.parquet")
    for prompt in ("letters", "cloze"):
        score(
            lm=str(lm), questions=questions, prompt=prompt, layers=[2], state_layers=[0, 1, 2],
            scores={lang: str(folder / f"{prompt}-{lang}.parquet") for lang in WORDS},
            states={lang: str(folder / f"{prompt}-{lang}.safetensors") for lang in WORDS},
            **grouped(SETTINGS, settings=Latent, compute=Compute),
        )  # fmt: skip
    return folder


def run(scored: Folder, folder: Path, prompt: str = "letters", lang: str = "es", **changes: Any) -> pl.DataFrame:
    """The rows of the stage with every control, unless `changes` say otherwise."""
    states = {other: str(scored / f"{prompt}-{other}.safetensors") for other in WORDS}
    given: dict[str, Any] = {
        "lm": str(scored / "lm"), "questions": str(scored / "questions.parquet"), "prompt": prompt, "states": states,
        "controls": {lang: "hi"}, "shared": True, "random": True, "layers": [0, 2], "gammas": [-2.0, 0.0, 1.5],
        "steered": {lang: str(folder / "steered.parquet")}, "vectors": {lang: str(folder / "vectors.safetensors")},
        "generation": None, "generated": {}, **SETTINGS,
    }  # fmt: skip
    given |= changes
    steer(**grouped(given, ("layers",), settings=Steering, compute=Compute))
    return read_table(given["steered"][lang])


def column(frame: pl.DataFrame, name: str) -> list[Any]:
    return frame[name].to_list()


@pytest.mark.parametrize("prompt", ["letters", "cloze"])
def test_each_row_is_what_a_forward_with_a_hook_gives(scored, tmp_path, prompt):
    found = run(scored, tmp_path, prompt)
    model, tokenizer = load_causal_model(scored / "lm"), load_tokenizer(scored / "lm")
    mean = {
        lang: {name: states.mean(dim=0) for name, states in load_file(scored / f"{prompt}-{lang}.safetensors").items()}
        for lang in WORDS
    }
    own = {layer: mean["en"][f"layer_{layer}"] - mean["es"][f"layer_{layer}"] for layer in (0, 2)}
    other = {layer: mean["en"][f"layer_{layer}"] - mean["hi"][f"layer_{layer}"] for layer in (0, 2)}
    shared = {layer: (own[layer] + other[layer]) / 2 for layer in own}
    vectors = {"own": own, "other": other, "shared": shared}
    assert set(found["vector"]) == {"none", "random", *vectors}
    assert_close(load_file(tmp_path / "vectors.safetensors"), {f"layer_{layer}": own[layer] for layer in own})
    template = load_template("hellaswag", prompt, "en")
    asked = {entry.question: entry for entry in read_questions(str(scored / "questions.parquet"), "es")}
    for row in found.filter(pl.col("vector") != "random").iter_rows(named=True):
        question = asked[row["question"]]
        text = render(template, question)
        ids, choices = encode_question(tokenizer, text, [continuation(choice) for choice in question.choices])
        if prompt == "letters":
            choices = [[token] for token in letter_tokens(tokenizer, text, 4).spaced]

        def change(residual, row=row, ids=ids):
            changed = residual.clone()
            if row["gamma"]:
                changed[:, len(ids) - 1] += row["gamma"] * vectors[row["vector"]][row["layer"]]
            return changed

        expected = []
        for choice in choices:
            with torch.inference_mode(), changed_after(model, max(0, row["layer"]), change):
                logits = model(input_ids=torch.tensor([ids + choice])).logits[0, len(ids) - 1 : -1]
            expected.append(logits.log_softmax(dim=1)[range(len(choice)), choice].mean())
        assert_close(torch.tensor(row["scores"]), torch.tensor(expected), atol=1e-4, rtol=1e-4)
        assert row["answer"] == question.answer


@pytest.mark.parametrize("prompt", ["letters", "cloze"])
def test_rows_are_questions_times_vectors_layers_and_gammas_and_none_held_out(scored, tmp_path, prompt):
    found = run(scored, tmp_path, prompt)
    assert found.columns == ["question", "answer", "vector", "layer", "gamma", "scores"]
    assert found.schema["layer"] == found.schema["answer"] == pl.Int32
    assert not HELD_OUT & set(found["question"])
    assert len(found) == 4 * (1 + 4 * 2 * 2)
    keys = found.select("question", "vector", "layer", "gamma")
    assert keys.is_unique().all()
    plain = found.filter(pl.col("gamma") == 0)
    assert (column(plain, "vector"), column(plain, "layer")) == (["none"] * 4, [-1] * 4)
    about = table_metadata(tmp_path / "steered.parquet")
    assert (set(about["questions"]), about["too_long"], about["study"]) == (HELD_OUT, 0, "test")


@pytest.mark.parametrize("prompt", ["letters", "cloze"])
def test_without_gamma_the_scores_are_those_of_the_score_stage(scored, tmp_path, prompt):
    plain = run(scored, tmp_path, prompt).filter(pl.col("gamma") == 0)
    theirs = read_table(scored / f"{prompt}-es.parquet").filter((pl.col("layer") == 2) & ~pl.col("held_out"))
    ranking = "letters" if prompt == "letters" else "native"
    assert column(plain, "question") == column(theirs, "question")
    assert column(plain, "answer") == column(theirs, "answer")
    for ours, expected in zip(column(plain, "scores"), column(theirs, ranking), strict=True):
        assert ours == pytest.approx(expected, abs=1e-5)


def test_controls_and_gammas_change_no_bit_of_the_unsteered_rows(scored, tmp_path):
    plain = run(scored, tmp_path).filter(pl.col("gamma") == 0)
    bare = run(scored, tmp_path, controls={}, shared=False, random=False, gammas=[1.0], layers=[1])
    assert set(bare["vector"]) == {"none", "own"}
    assert column(bare.filter(pl.col("gamma") == 0), "scores") == column(plain, "scores")


def test_the_reference_itself_is_not_moved_by_its_own_vector(scored, tmp_path):
    found = run(scored, tmp_path, lang="en")
    plain = dict(found.filter(pl.col("gamma") == 0).select("question", "scores").iter_rows())
    for vector in ("own", "random"):  # both of length 0
        for question, scores in found.filter(pl.col("vector") == vector).select("question", "scores").iter_rows():
            assert scores == pytest.approx(plain[question], abs=1e-5)
    assert found.filter(pl.col("vector") == "other")["scores"].to_list() != list(plain.values())


def test_chunks_change_no_number_and_the_same_run_no_bit(scored, tmp_path, monkeypatch):
    whole, again = run(scored, tmp_path), run(scored, tmp_path)
    assert whole.equals(again)
    monkeypatch.setattr(stage, "_ROWS", 1)
    single = run(scored, tmp_path)
    assert single.drop("scores").equals(whole.drop("scores"))
    for ours, expected in zip(column(single, "scores"), column(whole, "scores"), strict=True):
        assert ours == pytest.approx(expected, abs=1e-5)


def test_languages_of_one_job_are_those_of_a_job_each(scored, tmp_path):
    files: dict[str, Any] = {
        kind: {lang: str(tmp_path / f"{kind}-{lang}.{suffix}") for lang in ("es", "hi")}
        for kind, suffix in (("steered", "parquet"), ("vectors", "safetensors"))
    }
    controls = {"es": "hi", "hi": "es"}
    run(scored, tmp_path, shared=False, controls=controls, **files)
    for lang, control in controls.items():
        alone = run(scored, tmp_path, lang=lang, shared=False, controls={lang: control})
        assert read_table(files["steered"][lang]).equals(alone)
        assert_close(load_file(files["vectors"][lang]), load_file(tmp_path / "vectors.safetensors"))


def test_vectors_are_saved_with_language_task_and_questions(scored, tmp_path):
    run(scored, tmp_path)
    with safe_open(tmp_path / "vectors.safetensors", framework="pt") as file:
        about = file.metadata()
    assert {name: about[name] for name in ("task", "lang", "reference", "study")} == {
        "task": "hellaswag", "lang": "es", "reference": "en", "study": "test",
    }  # fmt: skip
    assert set(json.loads(about["questions"])) == HELD_OUT


def test_a_prompt_longer_than_the_context_is_dropped_and_counted(scored, tmp_path, monkeypatch, caplog):
    whole = run(scored, tmp_path, "cloze")
    monkeypatch.setattr(stage, "context_length", lambda _: 20)
    with pytest.raises(IsoglossError, match="hellaswag, es: no prompt that is not held out fits the model's"):
        run(scored, tmp_path, "cloze")
    monkeypatch.setattr(stage, "context_length", lambda _: 33)
    found = run(scored, tmp_path, "cloze")
    dropped = table_metadata(tmp_path / "steered.parquet")["too_long"]
    assert dropped == 4 - found["question"].n_unique()
    assert 0 < dropped < 4
    assert f"{dropped} of 4 prompts dropped, longer than the context" in caplog.text
    assert set(found["question"]) < set(whole["question"])


GENERATION = {"new_tokens": 5, "questions": 2, "layer": 1, "gammas": [0.0, 4.0]}


def test_generated_answers_are_scored_against_both_right_answers(scored, tmp_path):
    path = tmp_path / "generated.parquet"
    run(scored, tmp_path, "cloze", generation=Generation(**GENERATION), generated={"es": str(path)})
    found = read_table(path)
    assert column(found, "question") == ["q/Austria", "q/Japan"] * 2
    assert column(found, "gamma") == [0.0, 0.0, 4.0, 4.0]
    right = {
        (lang, question.question): question.choices[question.answer]
        for lang in ("es", "en")
        for question in read_questions(str(scored / "questions.parquet"), lang)
    }
    for row in found.iter_rows(named=True):
        for lang, name in (("es", "native_chrf"), ("en", "reference_chrf")):
            expected = score_translations([row["text"]], [right[lang, row["question"]]], lang).chrf
            assert row[name] == pytest.approx(expected)
    assert table_metadata(path)["layer"] == 1


@pytest.mark.parametrize("family", [*FAMILIES, "mamba"])
def test_steered_generation_is_that_of_whole_forwards(tmp_path, family):
    if family == "mamba":  # texts are read again at every token
        folder = tmp_path
        settings = {"num_hidden_layers": 3, "state_size": 8, "initializer_range": 0.3}
        MambaForCausalLM(MambaConfig(vocab_size=320, hidden_size=32, **settings)).save_pretrained(folder)
        standins.tiny_tokenizer().save_pretrained(folder)
    else:
        folder = tiny_model(tmp_path, family=family)
    model, stops = load_causal_model(folder), stopping_tokens(load_tokenizer(folder))
    prompts = [[2, *range(30, 60)], [2, 50, 60, 70], [2, *range(90, 104)]]
    addition = 4 * torch.randn(32)
    found = continue_steered(model, prompts, addition, layer=1, stops=stops, new_tokens=6, token_budget=80)
    for prompt, text in zip(prompts, found, strict=True):

        def change(residual, prompt=prompt):
            changed = residual.clone()
            changed[:, len(prompt) - 1] += addition
            return changed

        ids = list(prompt)
        while len(ids) < len(prompt) + 6:
            with torch.inference_mode(), changed_after(model, 1, change):
                token = int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if stops[token]:
                break
            ids.append(token)
        assert text == ids[len(prompt) :]
    assert found != continue_steered(model, prompts, 0 * addition, layer=1, stops=stops, new_tokens=6, token_budget=80)


def test_generation_ends_with_the_context(scored):
    model = load_causal_model(scored / "lm")
    model.config.max_position_embeddings = 12
    stops = torch.zeros(320, dtype=torch.bool)
    found = continue_steered(
        model, [[2, *range(30, 39)]], torch.zeros(32), layer=0, stops=stops, new_tokens=9, token_budget=80
    )
    assert len(found[0]) == 3


def test_a_token_that_the_tokenizer_does_not_know_ends_the_answer(scored):
    """Vocabularies are padded; here the tokenizer is taken to know only the first words."""
    model = load_causal_model(scored / "lm")
    given = {"layer": 0, "new_tokens": 3, "token_budget": 80}
    prompt = [2, *range(30, 39)]
    (said,) = continue_steered(model, [prompt], torch.zeros(32), stops=torch.zeros(320, dtype=torch.bool), **given)
    known = torch.zeros(said[0], dtype=torch.bool)
    assert continue_steered(model, [prompt], torch.zeros(32), stops=known, **given) == [[]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": [3]}, "no layer 3 to steer after; the model has layers 0 to 2"),
        ({"generation": Generation(**(GENERATION | {"layer": 7}))}, "no layer 7 to steer after"),
        ({"states": {"es": "none.safetensors", "en": "none.safetensors"}}, "none.safetensors: no such states"),
        ({"task": "mmmlu"}, "states of task hellaswag, prompt letters, not of mmmlu, letters"),
        ({"swap": True}, "states of es, not of hi"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_table(scored, tmp_path, changes, message):
    changes = dict(changes)
    if changes.pop("swap", False):
        changes["states"] = {lang: str(scored / "letters-es.safetensors") for lang in ("es", "hi")}
    with pytest.raises(IsoglossError, match=message) as caught:
        run(scored, tmp_path, **changes)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_nan_names_question_vector_layer_and_gamma(scored, tmp_path):
    """A vector so long that the residual stream overflows."""
    with safe_open(scored / "letters-es.safetensors", framework="pt") as file:
        about = file.metadata()
    huge = {
        name: -1e38 * torch.ones_like(tensor) for name, tensor in load_file(scored / "letters-es.safetensors").items()
    }
    save_file(huge, tmp_path / "huge.safetensors", metadata=about)
    states = {"en": str(scored / "letters-en.safetensors"), "es": str(tmp_path / "huge.safetensors")}
    with pytest.raises(IsoglossError, match="language es, question q/Austria, vector own, layer 0, gamma 9: NaN"):
        run(scored, tmp_path, states=states, gammas=[9.0], random=False, controls={}, shared=False)
    assert not (tmp_path / "steered.parquet").exists()


CHOSEN = {"q/Austria": (2, 1.5), "q/Japan": (2, 1.5), "q/Peru": (0, -2.0)}
"""The layer and γ that the other half of the questions chose, by question."""


def run_random(scored: Folder, folder: Path, **changes: Any) -> pl.DataFrame:
    """The rows of three random directions on the questions of `CHOSEN`, one of which is not tried."""
    rows = [
        {"task": task, "question": question, "layer": layer, "gamma": gamma, "tried": question != "q/Japan"}
        for task in ("hellaswag", "mmmlu")
        for question, (layer, gamma) in CHOSEN.items()
    ]
    schema = {"task": pl.String, "question": pl.String, "layer": pl.Int32, "gamma": pl.Float64, "tried": pl.Boolean}
    write_table(folder / "choice.parquet", pl.DataFrame(rows, schema=schema), {})
    given: dict[str, Any] = {
        "lm": str(scored / "lm"), "questions": str(scored / "questions.parquet"), "prompt": "letters",
        "vectors": {"es": str(folder / "vectors.safetensors")}, "choice": str(folder / "choice.parquet"),
        "directions": 3, "steered": {"es": str(folder / "random.parquet")}, **SETTINGS,
    }  # fmt: skip
    steer_random(**grouped(given | changes, compute=Compute))
    return read_table(folder / "random.parquet")


def test_random_directions_are_as_long_as_the_own_vector_and_steered_where_it_is_judged(scored, tmp_path):
    run(scored, tmp_path, random=False, controls={}, shared=False)
    frame = run_random(scored, tmp_path)
    tried = {question: setting for question, setting in CHOSEN.items() if question != "q/Japan"}
    steered = frame.filter(pl.col("vector") != "none")
    assert {row[0]: row[1:] for row in steered.select("question", "layer", "gamma").iter_rows()} == tried
    assert sorted(steered["vector"]) == sorted(2 * ["random-1", "random-2", "random-3"])
    assert sorted(frame.filter(vector="none")["question"]) == sorted(tried)
    own = load_file(tmp_path / "vectors.safetensors")
    model, tokenizer = load_causal_model(scored / "lm"), load_tokenizer(scored / "lm")
    questions = {one.question: one for one in read_questions(str(scored / "questions.parquet"), "es")}
    for row in steered.iter_rows(named=True):
        length = own[f"layer_{row['layer']}"].norm()
        key = [0, row["layer"], *f"hellaswag/es/{row['vector'].removeprefix('random-')}".encode()]
        drawn = torch.from_numpy(np.random.default_rng(key).standard_normal(len(own["layer_0"]))).float()
        text = render(load_template("hellaswag", "letters", "en"), questions[row["question"]])
        letters = letter_tokens(tokenizer, text, 4).spaced
        ids = tokenizer(text)["input_ids"]
        step = row["gamma"] * drawn / drawn.norm() * length

        def change(residual, step=step):
            changed = residual.clone()
            changed[:, -1] += step  # the prompt's last token
            return changed

        with torch.inference_mode(), changed_after(model, row["layer"], change):
            expected = model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(dim=0)[letters]
        assert_close(torch.tensor(row["scores"]), expected, atol=1e-4, rtol=1e-4)


def test_a_task_of_which_nothing_was_chosen_has_no_random_directions(scored, tmp_path):
    run(scored, tmp_path, random=False, controls={}, shared=False)
    assert not run_random(scored, tmp_path, task="belebele").height


def test_random_directions_without_own_vectors_are_one_line(scored, tmp_path):
    with pytest.raises(IsoglossError, match=r"vectors\.safetensors: no such vectors"):
        run_random(scored, tmp_path)
    assert not (tmp_path / "random.parquet").exists()
