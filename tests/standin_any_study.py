"""Stand-ins of what `config/studies/any-model.yaml` fetches: a model, Wikipedia, FLORES+, Belebele, Global MMLU."""

import random
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import Qwen3Config, Qwen3ForCausalLM

from families import FAMILIES
from isogloss.config import load_study
from isogloss.sources.shapes import kept_shape
from real_text import flores_plus, write_rows
from standin_latent import write_belebele
from standin_study import ANIMALS, ASK, ROW
from standin_tasks import global_mmlu
from standins import family_tokenizer

MODEL = "qwen3-0-6b"
CODES = {"en": "eng_Latn", "es": "spa_Latn", "hi": "hin_Deva"}
SENTENCES = 240
TASKS = resources.files("lm_eval") / "tasks" / "global_mmlu" / "full" / "en"


def build(folder: Path) -> None:
    """Make below `folder`: lm, wikipedia, flores-plus, belebele and global-mmlu, as their homes lay them out."""
    save_qwen(folder / "lm")
    texts = {lang: sentences(lang) for lang in CODES}
    flores_plus(folder / "flores-plus", {CODES[lang]: texts[lang][:SENTENCES] for lang in CODES})
    for lang, lines in texts.items():
        rows = [{"id": str(at), "text": " ".join(lines[at : at + 6])} for at in range(0, len(lines), 6)]
        write_rows(folder / "wikipedia" / f"20231101.{lang}" / "train-00000-of-00001.parquet", rows)
    write_belebele(folder / "belebele", list(CODES), 14)
    global_mmlu(folder / "global-mmlu", list(CODES), subjects(), count=1)


def subjects() -> list[str]:
    """The subjects of MMLU, of each of which lm-eval has a task."""
    names = (Path(str(path)).stem for path in TASKS.iterdir())
    prefix = "global_mmlu_full_en_"
    return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))


def save_qwen(folder: Path, seed: int = 0) -> None:
    """A random Qwen 3 with a tokenizer of Qwen's class."""
    torch.manual_seed(seed)
    Qwen3ForCausalLM(Qwen3Config(**FAMILIES["qwen3"].settings)).save_pretrained(folder)
    family_tokenizer("qwen2").save_pretrained(folder)


def sentences(lang: str, count: int = 1200, seed: int = 0) -> list[str]:
    """The same sentences in every language, in the same order."""
    draw, animals = random.Random(seed), ANIMALS[lang].split()
    made = []
    for _ in range(count):
        picked = draw.sample(range(len(animals)), 3)
        made.append(draw.choice([ASK, ROW])[lang].format(*(animals[at] for at in picked)))
    return made


def merged(study: Path, folder: Path) -> dict[str, Any]:
    """The study file with nothing but paths, sizes, the number of languages and a prompt changed."""
    config = yaml.safe_load(study.read_text(encoding="utf-8"))
    config["languages"] |= {"high_resource": ["en", "es"], "medium_low_resource": ["hi"]}
    model = config["models"][MODEL]
    model["source"]["folder"] = str(folder / "lm")
    model["layers"] = [0, 1]
    model["sae"] |= {"features": 64, "k": 8, "tokens": 6000, "batch_tokens": 512, "buffer_tokens": 2048}
    model["sae"] |= {"warmup_steps": 2, "held_out_tokens": 1000}
    config["parallel"]["folder"] = str(folder / "flores-plus")
    config["documents"] = {lang: config["documents"][lang] for lang in CODES}
    for source in config["documents"].values():
        source["folder"] = str(folder / "wikipedia")
    config["phrases"] |= {"feature_stride": 1, "per_feature": 2, "corpus_tokens": 4000}
    config["compute"] |= {"dtype": "float32", "token_budget": 1024}
    config["statistics"] = {"bootstrap": 100}
    config["alignment"] |= {"samples": 16, "iterations": 3, "batch_size": 4, "held_out_features": 1}
    config["alignment"]["runs"] = {"hi-l1": {"target_layer": 1, "languages": ["hi"], "benchmark": ["en", "hi"]}}
    task = config["benchmarks"]["tasks"]["global-mmlu"]
    task |= {"shots": 1, "questions": 6, "source": {"folder": str(folder / "global-mmlu")}}
    config["latent"]["held_out"] = 4
    config["latent"]["tasks"]["belebele"]["prompt"] = "cloze"  # the tiny tokenizer has no token for a letter
    config["latent"]["tasks"]["belebele"]["source"]["folder"] = str(folder / "belebele")
    config["latent"]["steering"]["gammas"] = [-1.0, 1.0]
    config["bilingual"]["evaluation_tokens"] = 2000
    load_study(config, str(study), shape_of=kept_shape)
    return config
