"""Everything that the Gemma-2-2B study fetches, as small stand-ins in exactly the upstream formats and layouts.

`build` makes the folder, `merged` is the study's own file with nothing but paths and sizes changed to fit it.
"""

import itertools
import json
import random
import string
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import Gemma2Config, Gemma2ForCausalLM, GemmaTokenizer, PreTrainedTokenizerBase

from exports import write_exports
from isogloss.config import load_study
from marian import tiny_marian, written

LANGUAGES = ("en", "zh", "ru", "es", "it", "id", "ca", "mr", "ml", "hi")
# Paper A, app. A.2: average L0 of the SAEs of layers 0 to 25, which is part of their ids
AVERAGE_L0 = (
    *(105, 102, 141, 59, 124, 68, 70, 69, 71, 73, 77, 80, 82),
    *(84, 84, 78, 78, 77, 74, 73, 71, 70, 72, 75, 73, 116),
)
VOCABULARY = 2048
TARGETS = {"zh": ("cmn_Hans", "cmn_Hant", "yue_Hans")}  # languages whose OPUS-MT model has several targets
PICKLED = "es"  # language whose model into it comes as pytorch_model.bin only
QUESTIONS = 24  # a split, before some languages lose one
SPLITS = {"arc": ("train", "val", "test"), "hellaswag": ("val",), "mmlu": ("train", "val", "test")}

ANIMALS = {
    "en": "cat dog horse bird fish cow lion tiger sheep goat bear wolf",
    "zh": "猫 狗 马 鸟 鱼 牛 狮子 老虎 绵羊 山羊 熊 狼",
    "ru": "кошка собака лошадь птица рыба корова лев тигр овца коза медведь волк",
    "es": "gato perro caballo pájaro pez vaca león tigre oveja cabra oso lobo",
    "it": "gatto cane cavallo uccello pesce mucca leone tigre pecora capra orso lupo",
    "id": "kucing anjing kuda burung ikan sapi singa harimau domba kambing beruang serigala",
    "ca": "gat gos cavall ocell peix vaca lleó tigre ovella cabra ós llop",
    "mr": "मांजर कुत्रा घोडा पक्षी मासा गाय सिंह वाघ मेंढी शेळी अस्वल लांडगा",
    "ml": "പൂച്ച നായ കുതിര പക്ഷി മത്സ്യം പശു സിംഹം കടുവ ചെമ്മരിയാട് ആട് കരടി ചെന്നായ",
    "hi": "बिल्ली कुत्ता घोड़ा पक्षी मछली गाय शेर बाघ भेड़ बकरी भालू भेड़िया",
}
ASK = {
    "en": "Which animal stands behind the {0}, the {1} and the {2}?",
    "zh": "{0}、{1}和{2}后面是哪种动物?",
    "ru": "Какое животное стоит за словами {0}, {1} и {2}?",
    "es": "¿Qué animal está detrás de {0}, {1} y {2}?",
    "it": "Quale animale sta dietro a {0}, {1} e {2}?",
    "id": "Hewan apa yang ada di belakang {0}, {1} dan {2}?",
    "ca": "Quin animal hi ha darrere de {0}, {1} i {2}?",
    "mr": "{0}, {1} आणि {2} यांच्या मागे कोणता प्राणी आहे?",
    "ml": "{0}, {1}, {2} എന്നിവയുടെ പിന്നിൽ ഏത് മൃഗമാണ്?",
    "hi": "{0}, {1} और {2} के पीछे कौन सा जानवर है?",
}
ROW = {
    "en": "In a row stand the {0}, the {1} and the {2}.",
    "zh": "站成一排的有{0}、{1}和{2}。",
    "ru": "В ряд стоят {0}, {1} и {2}.",
    "es": "En fila están {0}, {1} y {2}.",
    "it": "In fila ci sono {0}, {1} e {2}.",
    "id": "Dalam barisan ada {0}, {1} dan {2}.",
    "ca": "En fila hi ha {0}, {1} i {2}.",
    "mr": "रांगेत {0}, {1} आणि {2} आहेत.",
    "ml": "വരിയിൽ {0}, {1}, {2} എന്നിവയുണ്ട്.",
    "hi": "कतार में {0}, {1} और {2} हैं।",
}

WORDS = {
    "place": "harbour village mountain river forest market library station garden island valley castle",
    "person": "teacher farmer doctor sailor painter baker engineer musician captain student judge nurse",
    "thing": "letter lantern basket map violin ladder bottle clock blanket mirror hammer book",
    "quality": "old quiet bright heavy wooden broken golden small distant empty famous cold",
    "doing": "carried repaired painted sold borrowed found described dropped measured remembered",
    "time": "morning winter summer evening autumn night spring afternoon",
    "number": "two three four five seven nine twelve twenty forty hundred",
}
SENTENCES = (
    "The {person} {doing} a {quality} {thing} near the {place}.",
    "In the {time} the {place} was {quality} and the {person} stayed at home.",
    "There are {number} {thing}s in the {quality} {place} behind the {place}.",
    "Every {time} {number} people walk from the {place} to the {place}.",
    "A {person} and a {person} met at the {quality} {place} that {time}.",
    "Nobody {doing} the {thing} because it was too {quality} for the {person}.",
    "According to the {person}, the {thing} in the {place} is {quality}.",
    "It took {number} days until the {person} {doing} the {thing} again.",
)


def english_texts(count: int = 90, sentences: int = 8, seed: int = 0) -> list[str]:
    """Documents of a few sentences each, about a hundred tokens."""
    draw = random.Random(seed)
    words = {kind: listed.split() for kind, listed in WORDS.items()}

    def sentence() -> str:
        parts = string.Formatter().parse(draw.choice(SENTENCES))
        return "".join(literal + (draw.choice(words[kind]) if kind else "") for literal, kind, *_ in parts)

    return [" ".join(sentence() for _ in range(sentences)) for _ in range(count)]


def build(
    folder: Path,
    *,
    layers: int = 3,
    d_model: int = 32,
    features: int = 64,
    languages: Sequence[str] = LANGUAGES,
    seed: int = 0,
) -> None:
    """Make below `folder`: lm, gemma-scope, neuronpedia, opus-mt and benchmarks, as their homes lay them out."""
    texts = english_texts(seed=seed)
    lm = folder / "lm"
    save_gemma(lm, texts, languages, layers=layers, d_model=d_model, seed=seed)
    residuals = residual_streams(lm, texts)
    for layer in range(layers):
        params = gemma_scope_params(*residuals[layer], features=features, seed=seed + layer)
        path = folder / "gemma-scope" / sae_id(layer) / "params.npz"
        path.parent.mkdir(parents=True)
        np.savez(path, **params)  # pyright: ignore[reportArgumentType]
        with tempfile.TemporaryDirectory() as scratch:
            as_saelens(path, sae_id(layer), Path(scratch))
            write_exports(
                folder / "neuronpedia",
                lm=lm,
                sae=Path(scratch),
                layer=layer,
                texts=texts,
                model="gemma-2-2b",
                source=f"{layer}-gemmascope-res-16k",
                per_file=max(1, features // 2),
                records_per_feature=20,
                tokens=64,
            )
    save_translators(folder / "opus-mt", [code for code in languages if code != "en"], seed=seed)
    save_benchmarks(folder / "benchmarks", languages)


def sae_id(layer: int) -> str:
    """Gemma Scope's folder of a layer's canonical SAE of width 16k."""
    return f"layer_{layer}/width_16k/average_l0_{AVERAGE_L0[layer]}"


def save_gemma(
    folder: Path, texts: Sequence[str], languages: Sequence[str], *, layers: int, d_model: int, seed: int
) -> None:
    """A random Gemma-2 in the proportions of 2B (heads' width is not d_model, sliding layers alternate)."""
    torch.manual_seed(seed)
    config = Gemma2Config(
        vocab_size=VOCABULARY,
        hidden_size=d_model,
        intermediate_size=4 * d_model,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=d_model // 2,
        query_pre_attn_scalar=d_model // 2,
        max_position_embeddings=8192,
        sliding_window=48,
        initializer_range=0.2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    Gemma2ForCausalLM(config).save_pretrained(folder)
    foreign = [line for code in languages for _, line in itertools.islice(_rows_of_animals(code), 8)]
    # what the translators write, so that it is not all bytes; less of it than of English, as for every real tokenizer
    foreign += [written(text, code) for code in languages if code != "en" for text in texts[:12]]
    gemma_tokenizer([*texts, *foreign]).save_pretrained(folder)


def gemma_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """A tokenizer of Gemma's own class: ▁ for a space, no prefix, byte fallback, BOS first, padding left."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")  # pyright: ignore[reportAttributeAccessIssue]
    trained.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [pre_tokenizers.Split("▁", behavior="merged_with_next"), pre_tokenizers.Punctuation()]
    )
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256)), "\n"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=[*string.ascii_letters, *string.digits, *string.punctuation, "▁"],
        show_progress=False,
    )
    trained.train_from_iterator([*texts, *["Question: Answer: A. B. C. D."] * 9], trainer)
    learnt = json.loads(trained.to_str())["model"]
    vocabulary, merges = dict(learnt["vocab"]), [tuple(pair) for pair in learnt["merges"]]
    for spare in range(VOCABULARY - len(vocabulary)):
        vocabulary[f"<unused{spare}>"] = len(vocabulary)
    settings: dict[str, Any] = {"vocab": vocabulary, "merges": merges, "add_bos_token": True}
    return GemmaTokenizer(**settings, clean_up_tokenization_spaces=False)


def residual_streams(lm: Path, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """By layer: the residual stream after it [tokens, d_model] without BOS, and the vocabulary ids [tokens]."""
    model = Gemma2ForCausalLM.from_pretrained(lm, dtype=torch.float32).eval()
    tokenizer = GemmaTokenizer.from_pretrained(lm)
    kept: list[list[torch.Tensor]] = [[] for _ in model.model.layers]
    for layer, block in enumerate(model.model.layers):
        block.register_forward_hook(lambda _module, _inputs, output, layer=layer: kept[layer].append(output[0, 1:]))  # pyright: ignore[reportArgumentType]
    ids = [torch.tensor([tokenizer.encode(text)[:65]]) for text in texts]
    with torch.no_grad():
        for row in ids:
            model.model(row, use_cache=False)
    flat = torch.cat([row[0, 1:] for row in ids]).numpy()
    return [(torch.cat(parts).numpy(), flat) for parts in kept]


def gemma_scope_params(residuals: np.ndarray, ids: np.ndarray, *, features: int, seed: int) -> dict[str, np.ndarray]:
    """A JumpReLU SAE of Gemma Scope's names and shapes whose features each fire on 2 to 5 % of the tokens.

    Each column tells one frequent vocabulary entry from all others (a linear discriminant).
    """
    draw = np.random.default_rng(seed)
    seen, counts = np.unique(ids, return_counts=True)
    frequent = seen[np.argsort(-counts, kind="stable")][:features]
    chosen = draw.permutation(np.resize(frequent, features))
    mean, spread = residuals.mean(0), np.cov(residuals.T) + 1e-3 * np.eye(residuals.shape[1])
    means = np.stack([residuals[ids == entry].mean(0) for entry in chosen]) - mean
    columns = np.linalg.solve(spread, means.T)
    # no two columns are the same, even if there are more features than entries
    columns += 0.02 * np.abs(columns).mean() * draw.standard_normal(columns.shape)
    columns *= draw.uniform(2, 6, features) / (residuals @ columns).std(0)
    z = residuals @ columns
    b_enc = -np.median(z, axis=0)
    shares = np.linspace(0.02, 0.05, features)
    threshold = np.array([np.quantile(z[:, f] + b_enc[f], 1 - shares[f]) for f in range(features)])
    directions = columns.T / np.linalg.norm(columns.T, axis=1, keepdims=True)
    params = {"w_enc": columns, "w_dec": directions, "b_enc": b_enc, "b_dec": mean, "threshold": threshold}
    return {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in params.items()}


def as_saelens(params: Path, name: str, output: Path) -> None:
    """What SAELens makes of a Gemma Scope file, saved in its own format."""
    from sae_lens import SAE
    from sae_lens.loading.pretrained_sae_loaders import get_gemma_2_config_from_hf

    def read(path: Any, device: str = "cpu", cfg_overrides: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        with np.load(path) as arrays:
            state = {("W_" + key[2:] if key[:2] == "w_" else key): torch.from_numpy(arrays[key]) for key in arrays}
        config = get_gemma_2_config_from_hf("google/gemma-scope-2b-pt-res", name, device, cfg_overrides=cfg_overrides)
        config["d_in"], config["d_sae"] = state["W_enc"].shape
        return config, state

    SAE.load_from_disk(params, converter=read).save_model(output)


def save_translators(folder: Path, languages: Sequence[str], *, seed: int = 0) -> None:
    """opus-mt/en-XX and opus-mt/XX-en; models into some languages have several targets, one is pickled."""
    for code in languages:
        there, back = f"en-{code}", f"{code}-en"
        tiny_marian(folder / there, target_lang=code, targets=TARGETS.get(code, ()), pickled=code == PICKLED, seed=seed)
        tiny_marian(folder / back, target_lang="en", source_lang=code, seed=seed)


def save_benchmarks(folder: Path, languages: Sequence[str]) -> None:
    """m_arc, m_hellaswag and m_mmlu; the last language lacks a question of each file, another has its own order."""
    for task, splits in SPLITS.items():
        for split, code in itertools.product(splits, languages):
            rows = questions(task, code, split)
            if code == languages[-1]:
                del rows[3]
            elif code == languages[1]:
                rows.reverse()
            path = folder / f"m_{task}" / "data" / code / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            path.write_text("".join(lines), encoding="utf-8")


def questions(task: str, lang: str, split: str, count: int = QUESTIONS) -> list[dict[str, Any]]:
    """Questions in the schema and with ids in the manner of the Okapi data, the same ones in every language."""
    animals = ANIMALS[lang].split()
    split_name = {"train": "train", "val": "validation", "test": "test"}[split]
    made: list[dict[str, Any]] = []
    for number, (named, row) in enumerate(itertools.islice(_rows_of_animals(lang, split), count)):
        right = number * 3 % 4
        options = [animal for animal in animals if animal not in named]
        options = options[number % 5 :] + options[: number % 5]
        letters = {f"option_{letter}": option for letter, option in zip("abcd", options, strict=False)}
        question: dict[str, str | None] = {"instruction": ASK[lang].format(*named), **letters}
        if task == "hellaswag":
            start = "" if number % 2 else animals[(number + 5) % len(animals)]
            made.append(
                {
                    "ind": 24 + 7 * number,
                    "activity_label": animals[number % len(animals)],
                    "ctx_a": row,
                    "ctx_b": start,
                    "ctx": f"{row} {start}".strip(),
                    "endings": [ROW[lang].format(*options[first : first + 3]) for first in range(4)],
                    "source_id": f"activitynet~v_{number:06d}" if number % 2 else f"wikihow~{1000 + number}",
                    "split": split,
                    "split_type": "indomain" if number % 3 else "zeroshot",
                    "label": str(right),
                }
            )
        elif task == "mmlu":
            subject = ("anatomy", "astronomy", "virology")[number % 3]
            made.append({"id": f"{subject}/{split_name}/{number}", **question, "answer": "ABCD"[right]})
        else:
            fifth = options[4] if number % 8 == 5 else None
            if number % 8 == 2:
                question["option_d"], right = None, 1
            made.append(
                {"id": f"ARC-Challenge/{split_name}/{number}", **question, "option_e": fifth, "answer": "ABCD"[right]}
            )
    return made


def _rows_of_animals(lang: str, split: str = "test") -> Iterator[tuple[tuple[str, ...], str]]:
    """Three animals and a sentence of them, in the same order of animals in every language."""
    animals = ANIMALS[lang].split()
    order = list(itertools.combinations(range(len(animals)), 3))
    random.Random(split).shuffle(order)
    for positions in order:
        named = tuple(animals[position] for position in positions)
        yield named, ROW[lang].format(*named)


def overrides(folder: Path, study: Mapping[str, Any]) -> dict[str, Any]:
    """What of `study` must change to run on the stand-ins in `folder`: paths and sizes, nothing else."""
    shape = json.loads((folder / "lm" / "config.json").read_text(encoding="utf-8"))
    layers = shape["num_hidden_layers"]
    with np.load(folder / "gemma-scope" / sae_id(0) / "params.npz") as params:
        features = params["w_enc"].shape[1]
    available = {path.name for path in (folder / "benchmarks" / "m_arc" / "data").iterdir()}
    groups = ("high_resource", "medium_low_resource")
    languages = {group: [code for code in study["languages"][group] if code in available] for group in groups}
    tasks = study.get("benchmarks", {}).get("tasks", dict.fromkeys(SPLITS))
    changed: dict[str, Any] = {
        "languages": {**study["languages"], **languages},
        "models": {},
        "phrases": {"feature_stride": 4, "per_feature": 3, "check": {"records": 8}},
        "translation": {},
        "compute": {"token_budget": 512, "layers_per_job": 2},
        "similarity": {"feature_stride": 2},
        "statistics": {"bootstrap": 200},
        "alignment": {"iterations": 4, "samples": 32, "batch_size": 8, "resume_every": 2, "held_out_features": 1},
        "benchmarks": {
            "tasks": {task: {"shots": 1, "questions": 12} for task in tasks},
            "sources": {task: {"folder": str(folder / "benchmarks" / f"m_{task}")} for task in tasks},
        },
    }
    runs, kept = study.get("alignment", {}).get("runs", {}), [*itertools.chain(*languages.values())]
    for name, model in study["models"].items():
        changed["alignment"]["runs"] = _few_runs(runs, kept, layers, model["architecture"]["layers"])
        changed["models"][name] = {
            "source": {"folder": str(folder / "lm")},
            "architecture": {
                "layers": layers,
                "d_model": shape["hidden_size"],
                "d_mlp": shape["intermediate_size"],
                "heads": shape["num_attention_heads"],
                "key_value_heads": shape["num_key_value_heads"],
                "d_head": shape["head_dim"],
                "vocabulary": shape["vocab_size"],
            },
            "layers": "all",
            "saes": {
                "source": {"folder": str(folder / "gemma-scope")},
                "features": features,
            },
            "neuronpedia": {"folder": str(folder / "neuronpedia")},
        }
    for key in {"models", "back_models"} & study["translation"].keys():
        changed["translation"][key] = {
            code: {"source": {"folder": str(folder / "opus-mt" / (f"en-{code}" if key == "models" else f"{code}-en"))}}
            for code in study["translation"][key]
            if code in available
        }
    return changed


def _few_runs(runs: Mapping[str, Any], languages: Sequence[str], layers: int, depth: int) -> dict[str, Any]:
    """The first run of several languages and the first of one, at the layer as deep in proportion."""
    kept: dict[str, Any] = {}
    for several in (True, False):
        for name, run in runs.items():
            if (len(run["languages"]) > 1) == several:
                left = [code for code in run["languages"] if code in languages] or [languages[-1]]
                kept[name] = {
                    **run,
                    "target_layer": round(run["target_layer"] * (layers - 1) / max(1, depth - 1)),
                    "languages": left,
                }
                if run.get("benchmark") is not None:
                    kept[name]["benchmark"] = [code for code in run["benchmark"] if code in languages]
                break
    return kept


def merged(study: Path, folder: Path) -> dict[str, Any]:
    """The study file with `overrides` over it, which `load_study` accepts.

    Dicts merge, everything else is replaced; `languages`, `alignment.runs` and `saes.ids` are replaced whole.
    """
    original = yaml.safe_load(study.read_text(encoding="utf-8"))
    config = deep_merge(original, overrides(folder, original))
    load_study(config, str(study))
    return config


def deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` over `base`."""
    result = dict(base)
    for key, value in over.items():
        whole = key in ("languages", "runs", "ids") or not isinstance(value, dict)
        result[key] = value if whole or not isinstance(base.get(key), dict) else deep_merge(base[key], value)
    return result
