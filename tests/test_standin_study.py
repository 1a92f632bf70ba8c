"""The stand-ins of the Gemma-2-2B study: upstream names and formats, and a study file that accepts them."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, MarianMTModel, MarianTokenizer

from isogloss.benchmarks.tasks import okapi_task
from isogloss.config import load_study
from isogloss.models.loading import load_tokenizer
from isogloss.sae.autoencoder import activations, load_encoder
from isogloss.sources.okapi import common_questions
from standin_study import LANGUAGES as TEN
from standin_study import (
    as_saelens,
    build,
    english_texts,
    merged,
    sae_id,
    save_benchmarks,
    save_translators,
)

STUDY = Path(__file__).parents[1] / "config" / "studies" / "disparity-gemma-2-2b.yaml"
LANGUAGES = ["en", "es", "hi"]
LAYERS = 3
FEATURES = 64


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("upstream")
    torch.set_num_threads(1)
    build(folder, languages=LANGUAGES)
    return folder


@pytest.fixture(scope="module")
def params(built: Path) -> list[dict[str, np.ndarray]]:
    return [dict(np.load(built / "gemma-scope" / sae_id(layer) / "params.npz")) for layer in range(LAYERS)]


def records(built: Path, layer: int) -> list[dict[str, Any]]:
    folder = built / "neuronpedia" / "gemma-2-2b" / f"{layer}-gemmascope-res-16k" / "activations"
    files = sorted(folder.glob("batch-*.jsonl.gz"))
    assert len(files) == 2
    return [json.loads(line) for path in files for line in gzip.decompress(path.read_bytes()).splitlines()]


def leaves(config: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(config, dict) and config:
        for key, value in config.items():
            yield from leaves(value, (*path, str(key)))
    else:
        yield path, config


def test_every_file_has_its_upstream_name(built: Path) -> None:
    names = {str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()}
    lm = {f"lm/{name}" for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")}
    saes = {f"gemma-scope/layer_{layer}/width_16k/average_l0_{n}/params.npz" for layer, n in enumerate((105, 102, 141))}
    exports = {
        f"neuronpedia/gemma-2-2b/{layer}-gemmascope-res-16k/activations/batch-{number}.jsonl.gz"
        for layer in range(LAYERS)
        for number in range(2)
    }
    questions = {
        f"benchmarks/m_{task}/data/{lang}/{split}.jsonl"
        for task in ("arc", "hellaswag", "mmlu")
        for lang in LANGUAGES
        for split in (("val",) if task == "hellaswag" else ("train", "val", "test"))
    }
    translators = {
        f"opus-mt/{pair}/{name}"
        for pair in ("en-es", "en-hi", "es-en", "hi-en")
        for name in ("config.json", "source.spm", "target.spm", "vocab.json", "tokenizer_config.json")
    }
    assert lm | saes | exports | questions | translators <= names
    assert {name for name in names if not name.startswith(("lm/", "opus-mt/"))} == saes | exports | questions


def test_the_study_changes_in_paths_and_sizes_only(built: Path) -> None:
    config = merged(STUDY, built)
    study = load_study(config)
    assert study.languages.all == LANGUAGES
    assert study.models["gemma-2-2b"].layer_list == [0, 1, 2]
    before, after = dict(leaves(yaml.safe_load(STUDY.read_text()))), dict(leaves(config))
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    sizes = {"feature_stride", "per_feature", "records", "token_budget", "layers_per_job", "bootstrap", "iterations"}
    sizes |= {"samples", "batch_size", "resume_every", "held_out_features", "shots", "questions"}
    sizes |= {"features", "layers", "folder"}
    left = {path for path in changed if path[-1] not in sizes and path[:1] != ("languages",)}
    left = {path for path in left if not {"architecture", "runs"} & set(path)}
    assert left == set()
    runs = study.alignment.runs
    assert [(run.target_layer, run.languages) for run in runs.values()] == [(2, ["es", "hi"]), (0, ["hi"])]
    folders = {value for path, value in after.items() if path[-1] == "folder" and value is not None}
    assert folders
    assert all(Path(folder).is_dir() for folder in folders)


def test_tokenizer_is_gemmas_and_every_language_survives_it(built: Path) -> None:
    tokenizer = load_tokenizer(built / "lm")
    assert type(tokenizer).__name__ == "GemmaTokenizer"
    assert len(tokenizer) == json.loads((built / "lm" / "config.json").read_text())["vocab_size"]
    assert tokenizer.convert_tokens_to_ids(["<pad>", "<eos>", "<bos>", "<unk>"]) == [0, 1, 2, 3]
    for text in (english_texts(1)[0], "¿Qué animal?\nA. लांडगा ചെന്നായ", "站成一排的有猫 B."):
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer.tokenize("In the letter") == ["In", "▁the", "▁letter"]


@pytest.mark.parametrize(("dtype", "correlation", "same_peak"), [("float32", 0.9999, 1.0), ("bfloat16", 0.95, 0.8)])
def test_model_and_saes_give_the_exported_activations_again(
    built: Path, params: list[dict[str, np.ndarray]], dtype: str, correlation: float, same_peak: float
) -> None:
    model = AutoModelForCausalLM.from_pretrained(built / "lm", dtype=getattr(torch, dtype)).eval()
    tokenizer = AutoTokenizer.from_pretrained(built / "lm")
    for layer in range(LAYERS):
        caught: list[torch.Tensor] = []
        hook = model.model.layers[layer].register_forward_hook(lambda *call, caught=caught: caught.append(call[2]))
        same, correlations = [], []
        for record in records(built, layer)[::37]:
            ids = torch.tensor([tokenizer.convert_tokens_to_ids(record["tokens"])])
            assert ids[0, 0] == tokenizer.bos_token_id
            with torch.no_grad():
                model.model(ids, use_cache=False)
            residual = caught.pop()[0].float().numpy()
            feature = int(record["index"])
            z = residual @ params[layer]["w_enc"][:, feature] + params[layer]["b_enc"][feature]
            encoded = np.where(z > params[layer]["threshold"][feature], np.maximum(z, 0), 0)
            text = (ids[0] != tokenizer.bos_token_id).numpy()
            encoded, recorded = encoded * text, np.array(record["values"]) * text
            same.append(int(encoded.argmax()) == record["maxValueTokenIndex"])
            correlations.append(np.corrcoef(encoded[text], recorded[text])[0, 1])
            if dtype == "float32":
                np.testing.assert_allclose(encoded, recorded, atol=2e-3)
        hook.remove()
        assert len(same) > 10
        assert np.mean(same) >= same_peak
        assert np.median(correlations) >= correlation


def test_every_feature_has_distinct_strong_windows(built: Path) -> None:
    for layer in range(LAYERS):
        exported = records(built, layer)
        strongest = {
            index: max(r["maxValue"] for r in exported if r["index"] == index)
            for index in {r["index"] for r in exported}
        }
        assert set(strongest) == {str(feature) for feature in range(FEATURES)}
        strong = [r for r in exported if r["maxValue"] >= 0.8 * strongest[r["index"]]]
        windows = {
            (r["index"], tuple(r["tokens"][max(0, r["maxValueTokenIndex"] - 10) : r["maxValueTokenIndex"] + 11]))
            for r in strong
        }
        by_feature = Counter(index for index, _ in windows)
        assert sum(count >= 3 for count in by_feature.values()) > FEATURES / 2
        assert sum(by_feature[str(feature)] >= 2 for feature in range(0, FEATURES, 4)) >= 8  # those that tests sample


def test_features_fire_on_few_tokens_and_saelens_agrees(
    built: Path, params: list[dict[str, np.ndarray]], tmp_path: Path
) -> None:
    from sae_lens import SAE

    model = AutoModelForCausalLM.from_pretrained(built / "lm", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(built / "lm")
    caught: list[torch.Tensor] = []
    model.model.layers[1].register_forward_hook(lambda *call: caught.append(call[2][0, 1:]))
    with torch.no_grad():
        for text in english_texts(30, seed=9):
            model.model(tokenizer(text, return_tensors="pt").input_ids, use_cache=False)
    residual = torch.cat(caught)
    assert {name: (array.dtype, array.shape) for name, array in params[1].items()} == {
        "w_enc": (np.float32, (32, FEATURES)),
        "w_dec": (np.float32, (FEATURES, 32)),
        "b_enc": (np.float32, (FEATURES,)),
        "b_dec": (np.float32, (32,)),
        "threshold": (np.float32, (FEATURES,)),
    }
    as_saelens(built / "gemma-scope" / sae_id(1) / "params.npz", sae_id(1), tmp_path / "sae")
    sae: Any = SAE.load_from_disk(tmp_path / "sae", device="cpu")
    encoded = activations(load_encoder(tmp_path / "sae"), residual)
    torch.testing.assert_close(encoded, sae.encode(residual))
    fired = (encoded > 0).float().mean(0)
    assert fired.min() > 0.005
    assert fired.max() < 0.1


def translate(folder: Path, text: str) -> str:
    tokenizer = MarianTokenizer.from_pretrained(folder, local_files_only=True)
    model: Any = MarianMTModel.from_pretrained(folder, local_files_only=True).eval()
    made = model.generate(**tokenizer([text], return_tensors="pt"), num_beams=2, max_new_tokens=40)
    return tokenizer.decode(made[0], skip_special_tokens=True)


def test_translators_load_offline(built: Path) -> None:
    pairs = {path.name: path for path in (built / "opus-mt").iterdir()}
    assert set(pairs) == {"en-es", "es-en", "en-hi", "hi-en"}
    for name, folder in pairs.items():
        source, target = name.split("-")
        tokenizer = MarianTokenizer.from_pretrained(folder, local_files_only=True)
        assert (tokenizer.source_lang, tokenizer.target_lang) == (source, target)
        assert tokenizer.supported_language_codes == []
        assert translate(folder, english_texts(1)[0].split(".")[0]).strip()
    weights = {
        name: {"pytorch_model.bin", "model.safetensors"} & set(map(str, [p.name for p in folder.iterdir()]))
        for name, folder in pairs.items()
    }
    assert weights == {
        "en-es": {"pytorch_model.bin"},
        **{name: {"model.safetensors"} for name in ("es-en", "en-hi", "hi-en")},
    }


def test_chinese_is_one_of_several_targets(tmp_path: Path) -> None:
    save_translators(tmp_path, ["zh"])
    tokenizer = MarianTokenizer.from_pretrained(tmp_path / "en-zh", local_files_only=True)
    assert ">>cmn_Hans<<" in tokenizer.supported_language_codes
    assert len(tokenizer.supported_language_codes) == 3
    text = "The book is old"
    there = translate(tmp_path / "en-zh", f">>cmn_Hans<< {text}").split()
    assert translate(tmp_path / "zh-en", " ".join(there[1:])) == text


def test_questions_are_the_same_in_every_language_but_for_the_lost_one(built: Path) -> None:
    for task, split in (("arc", "test"), ("arc", "train"), ("hellaswag", "val"), ("mmlu", "test"), ("mmlu", "train")):
        folder = built / "benchmarks" / f"m_{task}"
        by_language = [
            common_questions(folder, task, split, lang, LANGUAGES, emptied=lambda _row: False) for lang in LANGUAGES
        ]
        assert {part.dropped for part in by_language} == {1}
        assert by_language[0].ids == by_language[1].ids == by_language[2].ids
        assert len(by_language[0].ids) == 23
        answers = [[row.get("answer", row.get("label")) for row in part.rows] for part in by_language]
        assert answers[0] == answers[1] == answers[2]
        assert len(set(answers[0])) == 4
        assert by_language[0].rows[0] != by_language[2].rows[0]
    for task in ("arc", "hellaswag", "mmlu"):
        made = okapi_task(task, built / "benchmarks" / f"m_{task}", "hi", LANGUAGES, shots=1, seed=0)
        assert len(made.parts[0].questions) == 23
        assert set(made.dropped.values()) == {1}


def test_ten_languages_ask_the_same_in_words_of_their_own(tmp_path: Path) -> None:
    save_benchmarks(tmp_path, TEN)
    for task in ("arc", "hellaswag", "mmlu"):
        every = [
            common_questions(tmp_path / f"m_{task}", task, "val", lang, TEN, emptied=lambda _row: False) for lang in TEN
        ]
        assert {(tuple(part.ids), part.dropped) for part in every} == {(tuple(every[0].ids), 1)}
        assert len({json.dumps(part.rows[0]) for part in every}) == len(TEN)
