"""The benchmark stage against stock lm-eval and against forwards by hand."""

import json
import logging
import random
import shutil
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma2Config, Gemma2Model, GPT2Config, Olmo2Config

from benchmark_data import (
    LANGUAGES,
    _quiet,  # noqa: F401
    make_data,
    rows,
    run,
    write,
)
from isogloss.benchmarks.run import SharedPromptLM
from isogloss.benchmarks.tasks import okapi_task
from isogloss.errors import IsoglossError
from isogloss.models.loading import load_causal_model, load_tokenizer
from isogloss.scoring import lens
from isogloss.tables import table_metadata
from standins import FAMILIES, tiny_model, tiny_tokenizer

OKAPI = Path(lm_eval.__file__).parent / "tasks" / "okapi"
SMALL = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_data(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def bos_folder(lm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with a tokenizer that prepends BOS by itself, as Gemma's does."""
    folder = tmp_path_factory.mktemp("bos") / "lm"
    shutil.copytree(lm_folder, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    tokenizer.save_pretrained(folder)
    return folder


def stock(
    lm: Path, data: dict[str, str], task: str, path: str, cache: Path, training: bool = False, shots: int = 2
) -> Any:
    """Stock lm-eval: its YAML and its HFLM with the defaults, with nothing but the data files exchanged."""
    config = load_yaml(OKAPI / path)
    files = {"arc": ["train", "test"], "hellaswag": ["val"], "mmlu": ["train", "test"]}[task]
    if training:
        config["training_split"], files = "train", ["train", "val"]
    config.pop("tag")
    config.update(
        dataset_path="json",
        dataset_name=None,
        dataset_kwargs={
            "data_files": {split: f"{data[task]}/data/hi/{split}.jsonl" for split in files},
            "cache_dir": str(cache),
        },
    )
    model = HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(lm, dtype=torch.float32).eval(),
        tokenizer=AutoTokenizer.from_pretrained(lm),
        batch_size=3,
    )
    result: Any = lm_eval.simple_evaluate(
        model,
        tasks=[config],
        num_fewshot=shots,
        bootstrap_iters=0,
        fewshot_random_seed=7,
        task_manager=TaskManager(include_defaults=False),
    )
    return result["results"][config["task"]], result["samples"][config["task"]]


@pytest.mark.parametrize(
    ("task", "path"),
    [
        ("arc", "arc_multilingual/arc_hi.yaml"),
        ("hellaswag", "hellaswag_multilingual/hellaswag_hi.yaml"),
        ("mmlu", "mmlu_multilingual/m_mmlu_hi.yaml"),
    ],
)
def test_equals_stock_lm_eval(task: str, path: str, bos_folder: Path, data: dict[str, str], tmp_path: Path) -> None:
    table = run(bos_folder, data, tmp_path / "out.parquet")
    mine = {row["question"]: row for row in table.filter(table["task"] == task).to_dicts()}
    results, samples = stock(bos_folder, data, task, path, tmp_path / "cache")
    assert len(samples) == len(mine) == 12
    for sample in samples:
        row = mine[sample["doc"].get("id") or sample["doc"]["source_id"]]
        expected = [log_likelihood for log_likelihood, _ in sample["filtered_resps"]]
        assert row["log_likelihoods"] == pytest.approx(expected, abs=1e-4)
        assert row["acc"] == sample["acc"]
        assert row["choice_characters"] == [len(argument[1]) - 1 for argument in sample["arguments"]]
        gold = sample["target"] if task != "mmlu" else "ABCD".index(sample["target"])
        assert row["answer"] == int(gold)
    share = {metric: sum(row[metric] for row in mine.values()) / len(mine) for metric in ("acc", "acc_norm")}
    assert share["acc"] == pytest.approx(results["acc,none"])
    assert share["acc_norm"] == pytest.approx(results.get("acc_norm,none", results["acc,none"]))


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "gemma2"])
def test_equals_stock_lm_eval_for_every_family(family: str, data: dict[str, str], tmp_path: Path) -> None:
    """Prompts start with BOS where the tokenizer puts it (Gemma, Llama), else without (Qwen, GPT-NeoX)."""
    lm = tiny_model(tmp_path / "lm", family=family, layers=2)
    for task, path in (("arc", "arc_multilingual/arc_hi.yaml"), ("mmlu", "mmlu_multilingual/m_mmlu_hi.yaml")):
        table = run(lm, {task: data[task]}, tmp_path / f"{task}.parquet", shots={task: 1})
        mine = dict(zip(table["question"], table["log_likelihoods"].to_list(), strict=True))
        _, samples = stock(lm, data, task, path, tmp_path / "cache", shots=1)
        assert len(samples) == len(mine) == 12
        for sample in samples:
            expected = [log_likelihood for log_likelihood, _ in sample["filtered_resps"]]
            assert mine[sample["doc"]["id"]] == pytest.approx(expected, abs=1e-4)


def test_hellaswag_shots_from_train_where_there_is_one(bos_folder: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "world")
    for lang in LANGUAGES:
        write(Path(data["hellaswag"]), lang, "train", rows("hellaswag", lang, "train", 5))
    table = run(bos_folder, {"hellaswag": data["hellaswag"]}, tmp_path / "out.parquet")
    _, samples = stock(
        bos_folder, data, "hellaswag", "hellaswag_multilingual/hellaswag_hi.yaml", tmp_path / "cache", training=True
    )
    mine = dict(zip(table["question"], table["log_likelihoods"].to_list(), strict=True))
    for sample in samples:
        assert "train" in sample["arguments"][0][0]
        expected = [log_likelihood for log_likelihood, _ in sample["filtered_resps"]]
        assert mine[sample["doc"]["source_id"]] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", ["plain", "bos"])
def test_equals_a_forward_by_hand_with_bos_once(
    kind: str, lm_folder: Path, bos_folder: Path, data: dict[str, str], tmp_path: Path
) -> None:
    folder = bos_folder if kind == "bos" else lm_folder
    table = run(folder, {"arc": data["arc"]}, tmp_path / "out.parquet", lang="en", shots={"arc": 0})
    row = table.filter(table["question"] == "currency/test00").to_dicts()[0]  # the file's first: answer A
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def ids(text: str) -> list[int]:
        return [tokenizer.bos_token_id, *tokenizer.encode(text, add_special_tokens=False)]

    prompt = "Question: What is the currency of test00?\nAnswer:"
    for choice, value in zip(["euro", "Swiss franc", "rupee", "US dollar "], row["log_likelihoods"], strict=True):
        whole, start = ids(f"{prompt} {choice}"), len(ids(prompt))
        log_probs = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        expected = sum(log_probs[at - 1, whole[at]].item() for at in range(start, len(whole)))
        assert value == pytest.approx(expected, abs=1e-4)
    assert row["choice_characters"] == [4, 11, 5, 10]


def naive(model: Any, prompt: list[int], choice: list[int]) -> float:
    logits = model(torch.tensor([prompt + choice])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return sum(logits[at, token].item() for at, token in enumerate(choice))


def ragged_questions(model: Any, tokenizer: Any) -> list[tuple[str, list[str]]]:
    """Prompts far longer and far shorter than the sliding window of 16.

    Choices share beginnings, are one another's beginning or the same, of one token or the model's own greedy text.
    """
    draw = random.Random(1)
    words = [" euro", " franc", " currency", " the", " of", " is", "क", " 欧元"]

    def text(count: int) -> str:
        return "".join(draw.choice(words) for _ in range(count))

    questions = []
    for length in (60, 0, 4, 9, 25, 5):
        prompt = f"Q{text(length)}"
        stem = f" E{text(3)}"
        choices = [*(text(n) for n in (1, 5, 12)), f"{stem}{text(2)}", f"{stem}{text(6)}", stem, " ", " e"]
        ids = tokenizer.encode(prompt)
        for count in (1, 4):
            with torch.no_grad():
                best = model.generate(torch.tensor([ids]), max_new_tokens=count, min_new_tokens=count, do_sample=False)
            choices.append(tokenizer.decode(best[0, len(ids) :], skip_special_tokens=True))
        choices += [choices[1], f"{choices[-1]} x"]
        questions.append((prompt, [choice for choice in choices if choice]))
    return questions


def requests_of(questions: list[tuple[str, list[str]]]) -> list[Instance]:
    return [Instance("loglikelihood", {}, (prompt, choice), 0) for prompt, choices in questions for choice in choices]


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("family", [*FAMILIES, "olmo2"])
def test_log_likelihoods_and_greedy_flags_are_those_of_stock_lm_eval(
    family: str, adapter: bool, tmp_path: Path
) -> None:
    if family == "olmo2":  # not known to compute packed prompts exactly
        model: Any = AutoModelForCausalLM.from_config(
            Olmo2Config(**SMALL, intermediate_size=64, initializer_range=0.2)
        ).eval()
        tokenizer: Any = tiny_tokenizer()
    else:
        folder = tiny_model(tmp_path / "lm", family=family)
        model, tokenizer = load_causal_model(folder), load_tokenizer(folder)
    if adapter:
        torch.manual_seed(3)
        modules = ["query_key_value", "dense_4h_to_h"] if family == "gpt-neox" else ["q_proj", "v_proj", "down_proj"]
        model = get_peft_model(model, LoraConfig(target_modules=modules, init_lora_weights=False)).eval()
    requests = requests_of(ragged_questions(model, tokenizer))
    expected = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=3).loglikelihood(requests, disable_tqdm=True)
    assert {greedy for _, greedy in expected} == {True, False}
    for token_budget in (1, 300, 10_000):
        found = SharedPromptLM(model, tokenizer, token_budget=token_budget).loglikelihood(requests, disable_tqdm=True)
        assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=1e-4)
        assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_adapter_changes_scores_and_equals_the_merged_model(
    lm_folder: Path, data: dict[str, str], tmp_path: Path
) -> None:
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    base = AutoModelForCausalLM.from_pretrained(lm_folder, dtype=torch.float32)
    get_peft_model(base, config).save_pretrained(tmp_path / "adapter")
    clean = AutoModelForCausalLM.from_pretrained(lm_folder, dtype=torch.float32)
    merged: Any = PeftModel.from_pretrained(clean, str(tmp_path / "adapter"))
    shutil.copytree(lm_folder, tmp_path / "merged")
    merged.merge_and_unload().save_pretrained(tmp_path / "merged")
    part = {task: data[task] for task in ("arc", "mmlu")}
    tables = {
        "base": run(lm_folder, part, tmp_path / "a.parquet"),
        "adapter": run(lm_folder, part, tmp_path / "b.parquet", adapter=str(tmp_path / "adapter")),
        "merged": run(tmp_path / "merged", part, tmp_path / "c.parquet"),
    }
    values = {name: table["log_likelihoods"].explode().to_list() for name, table in tables.items()}
    assert values["adapter"] == pytest.approx(values["merged"], abs=1e-4)
    assert max(abs(a - b) for a, b in zip(values["adapter"], values["base"], strict=True)) > 0.1


def test_same_bits_twice_and_same_numbers_for_any_budget(lm_folder: Path, data: dict[str, str], tmp_path: Path) -> None:
    first, again = (run(lm_folder, data, tmp_path / f"{n}.parquet") for n in "ab")
    assert first.equals(again)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    narrow = run(lm_folder, data, tmp_path / "c.parquet", token_budget=1)
    assert narrow["log_likelihoods"].explode().to_list() == pytest.approx(
        first["log_likelihoods"].explode().to_list(), abs=1e-4
    )
    other = run(lm_folder, data, tmp_path / "d.parquet", seed=8)
    values = zip(first["log_likelihoods"].to_list(), other["log_likelihoods"].to_list(), strict=True)
    changed = [one != two for one, two in values]
    assert any(changed[:12])  # ARC draws its examples
    assert not any(changed[24:])  # MMLU shows the first ones


def test_out_of_memory_changes_nothing_but_the_batches(
    lm_folder: Path, data: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    usual = run(lm_folder, data, tmp_path / "a.parquet")
    forward, sizes = Gemma2Model.forward, []

    def scarce(self: Any, input_ids: torch.Tensor, **more: Any) -> Any:
        sizes.append(input_ids.numel())
        if sizes[-1] > 400:
            raise torch.OutOfMemoryError("no room")
        return forward(self, input_ids=input_ids, **more)

    monkeypatch.setattr(Gemma2Model, "forward", scarce)
    with caplog.at_level(logging.WARNING, "isogloss"):
        other = run(lm_folder, data, tmp_path / "b.parquet")
    assert max(sizes) > 400
    assert "going on with a token budget of" in caplog.text
    values = [table["log_likelihoods"].explode().to_list() for table in (usual, other)]
    assert values[1] == pytest.approx(values[0], abs=1e-4)
    assert other.drop("log_likelihoods").equals(usual.drop("log_likelihoods"))


def test_no_more_than_a_tile_of_logits_is_held(lm_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = load_causal_model(lm_folder), load_tokenizer(lm_folder)
    requests = requests_of(ragged_questions(model, tokenizer))
    lm = SharedPromptLM(model, tokenizer, token_budget=4096)
    whole = lm.loglikelihood(requests, disable_tqdm=True)
    monkeypatch.setitem(lens._TILE, "cpu", (20, 50))
    sizes: list[int] = []
    model.register_forward_hook(lambda _m, _i, out: sizes.append(out.logits.numel()))
    found = lm.loglikelihood(requests, disable_tqdm=True)
    assert [value for value, _ in found] == pytest.approx([value for value, _ in whole], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in whole]
    assert max(sizes) == 20 * 50


@pytest.mark.parametrize("family", ["gemma2", "gpt2"])
def test_a_packed_question_may_be_longer_than_the_context(family: str) -> None:
    """Only the positions of a prompt with its longest choice must lie within it; GPT-2 has no others."""
    tokenizer: Any = tiny_tokenizer()
    common = {**SMALL, "max_position_embeddings": 40, "initializer_range": 0.2, "bos_token_id": 2}
    config = (
        GPT2Config(**common)
        if family == "gpt2"
        else Gemma2Config(**common, num_key_value_heads=1, head_dim=16, sliding_window=8)
    )
    model: Any = AutoModelForCausalLM.from_config(config).eval()
    questions = [("Q" * 30, [f" {letter * 8}" for letter in "abcdefgh"])]
    prompt, *choices = [tokenizer.encode(questions[0][0])] + [tokenizer.encode(c)[1:] for c in questions[0][1]]
    assert len(prompt) + max(map(len, choices)) == 40
    assert len(prompt) + sum(map(len, choices)) > 80
    found = SharedPromptLM(model, tokenizer, token_budget=1).loglikelihood(requests_of(questions), disable_tqdm=True)
    expected = [naive(model, prompt, choice) for choice in choices]
    assert [value for value, _ in found] == pytest.approx(expected, abs=1e-4)


def test_nothing_is_left_behind(lm_folder: Path, data: dict[str, str], tmp_path: Path) -> None:
    before = {str(path) for root in data.values() for path in Path(root).rglob("*")}
    run(lm_folder, data, tmp_path / "out" / "hi.parquet")
    assert {str(path) for root in data.values() for path in Path(root).rglob("*")} == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["hi.parquet"]


@pytest.fixture
def short_folder(lm_folder: Path, tmp_path: Path) -> Path:
    """The same model with a context of 80 tokens."""
    folder = tmp_path / "short"
    shutil.copytree(lm_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 80}))
    return folder


def test_long_prompts_are_counted_and_keep_bos(
    short_folder: Path, data: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    part = {"mmlu": data["mmlu"], "arc": data["arc"]}
    with caplog.at_level(logging.WARNING, "isogloss"):
        table = run(short_folder, part, tmp_path / "o.parquet", lang="en", shots={"mmlu": 2, "arc": 0})
    assert table_metadata(tmp_path / "o.parquet")["truncated"] == {"mmlu": 12, "arc": 0}
    assert "mmlu: 12 of 12 prompts cut" in caplog.text
    made = okapi_task("mmlu", data["mmlu"], "en", LANGUAGES, shots=2, seed=7).parts[0].task
    made.build_all_requests(limit=1)
    tokenizer = AutoTokenizer.from_pretrained(short_folder)
    model = AutoModelForCausalLM.from_pretrained(short_folder, dtype=torch.float32).eval()
    letters = [tokenizer.encode(f" {letter}", add_special_tokens=False) for letter in "ABCD"]
    room = 80 - max(map(len, letters))  # beside BOS and a letter, whose last token is not part of the input
    prompt = tokenizer.encode(made.instances[0].args[0], add_special_tokens=False)
    kept = [tokenizer.bos_token_id, *prompt[-room:]]
    row = table.filter((table["question"] == "currency/test00") & (table["task"] == "mmlu")).to_dicts()[0]
    expected = [naive(model, kept, letter) for letter in letters]
    assert row["log_likelihoods"] == pytest.approx(expected, abs=1e-4)


def test_long_prompts_without_bos_are_cut_as_by_lm_eval(data: dict[str, str], tmp_path: Path) -> None:
    lm = tiny_model(tmp_path / "lm", family="qwen2", layers=2)
    config = json.loads((lm / "config.json").read_text())
    (lm / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 80}))
    table = run(lm, {"mmlu": data["mmlu"]}, tmp_path / "o.parquet")
    assert table_metadata(tmp_path / "o.parquet")["truncated"] == {"mmlu": 12}
    _, samples = stock(lm, data, "mmlu", "mmlu_multilingual/m_mmlu_hi.yaml", tmp_path / "cache")
    mine = dict(zip(table["question"], table["log_likelihoods"].to_list(), strict=True))
    for sample in samples:
        expected = [log_likelihood for log_likelihood, _ in sample["filtered_resps"]]
        assert mine[sample["doc"]["id"]] == pytest.approx(expected, abs=1e-4)


def test_choice_longer_than_the_context_is_refused(short_folder: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "world")
    broken = rows("arc", "hi", "test", 12)
    broken[3]["option_a"] = "बहुत लंबा " * 20
    write(Path(data["arc"]), "hi", "test", broken)
    with pytest.raises(IsoglossError, match="does not fit the model's context of 80"):
        run(short_folder, {"arc": data["arc"]}, tmp_path / "o.parquet", shots={"arc": 0})
