"""The benchmark stage against stock lm-eval, against forwards by hand, and on bad input."""

import hashlib
import json
import logging
import random
import re
import shutil
from collections.abc import Iterator
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

from config_sections import grouped
from isogloss.benchmarks.run import SharedPromptLM, benchmark
from isogloss.benchmarks.tasks import okapi_task, task_config
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.models.loading import load_causal_model, load_tokenizer
from isogloss.scoring import lens
from isogloss.sources.okapi import first_by_hash
from isogloss.tables import read_table, table_metadata
from standins import FAMILIES, tiny_model, tiny_tokenizer

OKAPI = Path(lm_eval.__file__).parent / "tasks" / "okapi"
LANGUAGES = ["en", "hi", "zh"]
ASK = {"en": "What is the currency of {}?", "hi": "{} की मुद्रा?", "zh": "{}的货币?"}
STATE = {"en": "The currency of {} is", "hi": "{} की मुद्रा", "zh": "{}的货币是"}
COINS = {
    "en": ["euro", "Swiss  franc", "rupee", "US dollar [note]", "yen"],
    "hi": ["यूरो", "फ़्रैंक", "रुपया", "डॉलर [नोट]", "येन"],
    "zh": ["欧元", "法郎", "卢比", "美元 [注]", "日元"],
}
ASKED_FILE = {"arc": "test", "hellaswag": "val", "mmlu": "test"}
SMALL = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
Rows = list[dict[str, Any]]


def rows(task: str, lang: str, split: str, count: int) -> Rows:
    """Questions in the upstream schema; ids are not in file order, ARC has three to five options."""
    made: Rows = []
    for index in range(count):
        place = f"{split}{index:02d}"
        key = f"currency/{split}{index * 7 % count:02d}"
        coins = COINS[lang][index % 5 :] + COINS[lang][: index % 5]
        letters = {f"option_{letter}": coin for letter, coin in zip("abcd", coins, strict=False)}
        answer = "ABCD"[index * 3 % 4]
        if task == "hellaswag":
            context = STATE[lang].format(place)
            made.append(
                {
                    "ind": index,
                    "activity_label": "Money",
                    "ctx_a": context,
                    "ctx_b": "" if index % 2 else "[step] today",
                    "ctx": context,
                    "endings": coins[:4],
                    "source_id": key,
                    "split": split,
                    "split_type": "indomain",
                    "label": str(index * 3 % 4),
                }
            )
        elif task == "mmlu":
            made.append({"id": key, "instruction": ASK[lang].format(place) + " ", **letters, "answer": answer})
        else:
            fifth = coins[4] if index % 4 == 1 else ""
            if index % 4 == 2:
                letters["option_d"], answer = "", "B"
            made.append(
                {"id": key, "instruction": ASK[lang].format(place), **letters, "option_e": fifth, "answer": answer}
            )
    return made


def write(folder: Path, lang: str, split: str, content: Rows | str) -> None:
    path = folder / "data" / lang / f"{split}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in content)
    path.write_text(text, encoding="utf-8")


def make_data(root: Path, count: int = 12, languages: list[str] = LANGUAGES) -> dict[str, str]:
    """Folders of the three tasks; HellaSwag without a train split, as upstream."""
    for task, asked in ASKED_FILE.items():
        for lang in languages:
            write(root / f"m_{task}", lang, asked, rows(task, lang, asked, count))
            if task != "hellaswag":
                write(root / f"m_{task}", lang, "train", rows(task, lang, "train", 5))
    return {task: str(root / f"m_{task}") for task in ASKED_FILE}


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


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    yield
    logging.getLogger("lm_eval").setLevel(logging.NOTSET)


def run(lm: Path, data: dict[str, str], output: Path, lang: str = "hi", **changes: Any) -> Any:
    settings: dict[str, Any] = {
        "adapter": None,
        "languages": dict.fromkeys(data, LANGUAGES),
        "shots": dict.fromkeys(data, 2),
        "questions": dict.fromkeys(data),
        "seed": 7,
        "token_budget": 4096,
        "metadata": {"study": "test"},
    }
    benchmark(lm=str(lm), data=data, outputs={lang: str(output)}, **grouped({**settings, **changes}, compute=Compute))
    return read_table(output)


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


def test_ids_are_those_of_all_languages_in_order(lm_folder: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "world")
    for task in data:  # Hindi lacks the second question of the file, Chinese has one more and another order
        asked = ASKED_FILE[task]
        write(Path(data[task]), "hi", asked, rows(task, "hi", asked, 12)[:1] + rows(task, "hi", asked, 12)[2:])
        more = rows(task, "zh", "other", 1)
        if task == "hellaswag":
            more[0]["ind"] = 99
        write(Path(data[task]), "zh", asked, more + rows(task, "zh", asked, 12)[::-1])
    tables = {lang: run(lm_folder, data, tmp_path / f"{lang}.parquet", lang=lang) for lang in LANGUAGES}
    for task in data:
        asked = ASKED_FILE[task]
        expected = [f"currency/{asked}{n:02d}" for n in range(12) if n != 7]
        for table in tables.values():
            part = table.filter(table["task"] == task)
            assert part["question"].to_list() == expected
            assert part["answer"].to_list() == tables["en"].filter(tables["en"]["task"] == task)["answer"].to_list()
    assert tables["en"]["task"].unique(maintain_order=True).to_list() == ["arc", "hellaswag", "mmlu"]
    dropped = table_metadata(tmp_path / "en.parquet")["dropped"]
    assert dropped == {"arc": {"test": 2, "train": 0}, "hellaswag": {"val": 2}, "mmlu": {"test": 2, "train": 0}}
    few = run(lm_folder, data, tmp_path / "few.parquet", lang="zh", questions={"arc": 3, "hellaswag": None, "mmlu": 4})
    for task, count in (("arc", 3), ("mmlu", 4)):
        shared = [f"currency/test{n:02d}" for n in range(12) if n != 7]
        first = sorted(shared, key=lambda name: hashlib.blake2b(name.encode()).hexdigest())[:count]
        assert few.filter(few["task"] == task)["question"].to_list() == sorted(first)
    assert few.filter(few["task"] == "hellaswag").height == 11


def upstream(task: str, lang: str, numbers: list[int]) -> Rows:
    """Rows with the fields and ids of alexandrainst's data; HellaSwag's source_id is shared by many questions."""
    source = rows(task, lang, "test", 12)
    made: Rows = []
    for number in numbers:
        row = source[number % 12]
        if task == "arc":
            row = {**row, "id": f"ARC-Challenge/test/Mercury_{7029645 + number}"}
        elif task == "mmlu":
            row = {**row, "id": f"{('abstract_algebra', 'virology')[number % 2]}/test/{number}"}
        else:
            row = {
                **row,
                "id": f"hellaswag/validation/{number}",
                "ind": 24 + 7 * number,
                "source_id": "wikihow~10920" if lang == "en" else f"wikihow~{number // 3}",
                "split": "val",
                "split_type": "zeroshot",
                "label": row["label"],
            }
        made.append(row)
    return made


def test_languages_with_fewer_or_other_questions_of_the_upstream_data_share_the_rest(
    lm_folder: Path, tmp_path: Path
) -> None:
    kept = {"en": list(range(12)), "hi": [0, 1, 2, 4, 5, 6, 7, 8, 9, 10], "zh": [11, 10, 9, 8, 7, 6, 5, 4, 3, 0, 12]}
    data = {task: str(tmp_path / f"m_{task}") for task in ASKED_FILE}
    for task, asked in ASKED_FILE.items():
        for lang, numbers in kept.items():
            write(Path(data[task]), lang, asked, upstream(task, lang, numbers))
            if task != "hellaswag":
                write(Path(data[task]), lang, "train", rows(task, lang, "train", 5))
    shared = [0, 4, 5, 6, 7, 8, 9, 10]
    lost = 13 - len(shared)
    tables = {lang: run(lm_folder, data, tmp_path / f"{lang}.parquet", lang=lang) for lang in LANGUAGES}
    few = {
        lang: run(lm_folder, data, tmp_path / "few.parquet", lang=lang, questions=dict.fromkeys(data, 3))
        for lang in LANGUAGES
    }
    for lang, table in tables.items():
        for task in data:
            names = table.filter(table["task"] == task)["question"].to_list()
            assert names == sorted(row["id"] for row in upstream(task, "en", shared))
            asked = few[lang].filter(few[lang]["task"] == task)["question"].to_list()
            assert asked == few["en"].filter(few["en"]["task"] == task)["question"].to_list()
        dropped = table_metadata(tmp_path / f"{lang}.parquet")["dropped"]
        assert dropped == {
            "arc": {"test": lost, "train": 0},
            "hellaswag": {"val": lost},
            "mmlu": {"test": lost, "train": 0},
        }


def test_endings_given_in_two_languages_are_read_in_their_files_own(tmp_path: Path) -> None:
    folder = Path(make_data(tmp_path)["hellaswag"])
    both = upstream("hellaswag", "zh", [0, 1, 2])
    plain = [row["endings"] for row in both]
    english = upstream("hellaswag", "en", [1])[0]["endings"]
    both[1]["endings"] = [{"zh": zh, "en": en} for zh, en in zip(both[1]["endings"], english, strict=True)]
    write(folder, "zh", "val", both)
    write(folder, "en", "val", upstream("hellaswag", "en", [0, 1, 2]))
    made = okapi_task("hellaswag", folder, "zh", ["en", "zh"], shots=0, seed=0)
    assert list(made.parts[0].task.dataset["val"]["endings"]) == plain
    del both[1]["endings"][2]["zh"]
    write(folder, "zh", "val", both)
    with pytest.raises(IsoglossError, match=r"zh/val.jsonl, line 2: choice C is empty"):
        okapi_task("hellaswag", folder, "zh", ["en", "zh"], shots=0, seed=0)


def test_questions_that_lm_eval_alters_are_counted(lm_folder: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "world")
    for task in ("arc", "hellaswag"):
        written = rows(task, "hi", ASKED_FILE[task], 12)
        for row in written:
            coins = [coin.replace(" [नोट]", " ") for coin in COINS["hi"]]
            if task == "arc":
                row.update(
                    {f"option_{x}": coin for x, coin in zip("abcd", coins, strict=False)}, option_e="", answer="A"
                )
            else:
                row.update(endings=coins[:4], ctx_b="")
        if task == "arc":
            written[1]["instruction"] += " [Aa]"
            written[4]["option_c"] = "[H+] आयन"
            written[6]["instruction"] = "  " + written[6]["instruction"] + " "
            written[7]["option_b"] = "दो  शब्द"
            written[9]["option_b"] = "क [title] ख"
        else:
            written[2]["ctx_a"] += " [header]"
            written[8]["endings"][3] += " [step] अब"
        write(Path(data[task]), "hi", ASKED_FILE[task], written)
    ids = {task: okapi_task(task, data[task], "hi", LANGUAGES, shots=1, seed=0) for task in data}
    assert ids["mmlu"].altered == frozenset()
    for task, numbers in (("arc", [1, 4, 7, 9]), ("hellaswag", [2, 8])):
        its = rows(task, "hi", ASKED_FILE[task], 12)
        assert ids[task].altered == {its[number].get("id") or its[number]["source_id"] for number in numbers}
    run(lm_folder, data, tmp_path / "hi.parquet")
    assert table_metadata(tmp_path / "hi.parquet")["altered"] == {"arc": 4, "hellaswag": 2, "mmlu": 0}
    few = run(lm_folder, data, tmp_path / "few.parquet", questions={"arc": 5, "hellaswag": 5, "mmlu": 5})
    counted = table_metadata(tmp_path / "few.parquet")["altered"]
    for task in data:
        assert counted[task] == len(set(few.filter(few["task"] == task)["question"]) & ids[task].altered)


def test_few_questions_are_of_every_kind_and_the_same_in_any_order() -> None:
    kinds = {"continent": 80, "currency": 64, "language": 77, "script": 101}
    ids = [f"{kind}/{n}" for kind, count in kinds.items() for n in range(count)]
    chosen = [ids[at] for at in first_by_hash(ids, 100)]
    assert chosen == [name for name in ids if name in set(chosen)]
    for kind, count in kinds.items():
        assert sum(name.startswith(kind) for name in chosen) == pytest.approx(100 * count / 322, abs=12)
    backwards = ids[::-1]
    assert {backwards[at] for at in first_by_hash(backwards, 100)} == set(chosen)
    assert {ids[at] for at in first_by_hash(ids, 40)} < set(chosen)
    assert first_by_hash(ids, None) == list(range(322))


@pytest.mark.parametrize("task", ["arc", "hellaswag", "mmlu"])
def test_examples_are_the_same_in_every_language_and_never_the_question(task: str, data: dict[str, str]) -> None:
    shown = {}
    for lang in LANGUAGES:
        made = okapi_task(task, data[task], lang, LANGUAGES, shots=3, seed=5).parts[0].task
        made.build_all_requests(limit=None)
        contexts = dict.fromkeys(instance.args[0] for instance in made.instances)
        shown[lang] = [re.findall(r"(?:train|test|val)\d\d", context) for context in contexts]
    assert shown["en"] == shown["hi"] == shown["zh"]
    assert len(shown["en"]) == 12
    for *examples, question in shown["en"]:
        assert len(examples) == 3
        assert question not in examples
    if task == "mmlu":
        assert {example for *examples, _ in shown["en"] for example in examples} == {"train00", "train01", "train02"}
    else:
        assert len({tuple(examples) for *examples, _ in shown["en"]}) > 1


@pytest.mark.parametrize(("task", "lang"), [("hellaswag", "zh"), ("hellaswag", "en"), ("arc", "en")])
def test_languages_that_lm_eval_lacks_get_a_siblings_definition(task: str, lang: str) -> None:
    config, origin = task_config(task, lang)
    sibling, _ = task_config(task, "hi")
    assert origin == f"{task}_es"
    assert (config.pop("task"), config.pop("dataset_name")) == (f"{task}_{lang}", lang)
    assert (sibling.pop("task"), sibling.pop("dataset_name")) == (f"{task}_hi", "hi")
    assert config == sibling


def test_every_language_has_lm_evals_own_definition_where_it_exists() -> None:
    own = {
        task: {lang for lang in ("en", "zh", "ml", "hi") if task_config(task, lang)[1].endswith(f"_{lang}")}
        for task in ASKED_FILE
    }
    assert own == {"arc": {"zh", "ml", "hi"}, "hellaswag": {"ml", "hi"}, "mmlu": {"en", "zh", "ml", "hi"}}


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


def test_choice_that_stock_processing_empties_is_dropped_everywhere(lm_folder: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "world")
    broken = rows("arc", "hi", "test", 12)
    broken[0]["option_b"] = "[x]"
    write(Path(data["arc"]), "hi", "test", broken)
    table = run(lm_folder, {"arc": data["arc"]}, tmp_path / "o.parquet", lang="en")
    assert table.height == 11
    assert "currency/test00" not in table["question"].to_list()
    assert table_metadata(tmp_path / "o.parquet")["dropped"]["arc"]["test"] == 1


BAD_LINES = [
    ("arc", {"option_b": ""}, r"hi/test.jsonl, line 3: choice B is empty"),
    ("arc", {"option_b": " "}, r"line 3: choice B is empty"),
    ("arc", {"answer": "E"}, r"line 3: answer 'E' is none of the 3 choices"),
    ("arc", {"answer": "AB"}, r"line 3: answer 'AB' is none"),
    ("arc", {"option_b": "", "option_c": "", "option_d": ""}, r"line 3: 1 choice\(s\)"),
    ("arc", {"instruction": None}, r"line 3: 'instruction' is None, not a text"),
    ("arc", {"id": None}, r"line 3: no 'id'"),
    ("mmlu", {"option_d": ""}, r"line 3: choice D is empty"),
    ("mmlu", {"option_d": 5}, r"line 3: 'choice D' is 5, not a text"),
    ("mmlu", {"id": "currency/test00"}, r"line 3: id 'currency/test00' a second time"),
    ("hellaswag", {"endings": ["a", "b", "", "d"]}, r"hi/val.jsonl, line 3: choice C is empty"),
    ("hellaswag", {"label": ""}, r"line 3: answer '' is none of the 4 choices"),
    ("hellaswag", {"endings": "abcd"}, r"line 3: 0 choice\(s\)"),
]


@pytest.mark.parametrize(("task", "change", "message"), BAD_LINES)
def test_bad_questions_are_named_by_file_and_line(
    task: str, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = Path(make_data(tmp_path)[task])
    broken = rows(task, "hi", ASKED_FILE[task], 12)
    broken[2].update(change)
    write(folder, "hi", ASKED_FILE[task], broken)
    with pytest.raises(IsoglossError, match=message) as error:
        okapi_task(task, folder, "en", LANGUAGES, shots=2, seed=0)
    assert "\n" not in str(error.value)


def test_bad_files(tmp_path: Path) -> None:
    def refused(task: str, **changes: Any) -> str:
        settings: dict[str, Any] = {"lang": "en", "languages": LANGUAGES, "shots": 2, "seed": 0, **changes}
        with pytest.raises(IsoglossError) as error:
            okapi_task(task, tmp_path / f"m_{task}", **settings)
        return str(error.value)

    make_data(tmp_path)
    assert "ru/test.jsonl: no such file" in refused("arc", languages=[*LANGUAGES, "ru"])
    assert "ru is not among the languages" in refused("arc", lang="ru")
    assert "6 shots, but train.jsonl has 5" in refused("arc", shots=6)
    assert "12 shots, but val.jsonl has 11" in refused("hellaswag", shots=12)
    write(tmp_path / "m_hellaswag", "hi", "train", rows("hellaswag", "hi", "train", 5))
    assert "en, zh without train.jsonl" in refused("hellaswag")
    write(tmp_path / "m_mmlu", "zh", "train", '{"id": "a"}\n{"id": \n')
    assert "zh/train.jsonl, line 1: 'instruction'" in refused("mmlu")
    write(tmp_path / "m_mmlu", "zh", "train", '{"id": \n')
    assert "zh/train.jsonl, line 1: not valid JSON" in refused("mmlu")
    write(tmp_path / "m_mmlu", "zh", "train", "[1]\n")
    assert "zh/train.jsonl, line 1: not a JSON object" in refused("mmlu")
    write(tmp_path / "m_arc", "zh", "test", rows("arc", "zh", "foreign", 3))
    assert "no test question of arc has the same id in all of en, hi, zh" in refused("arc")
