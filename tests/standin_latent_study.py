"""Stand-ins of what the study of paper B fetches: one small Gemma 2, and its three data sets as they are upstream."""

from pathlib import Path
from typing import Any

import yaml

from isogloss.config import load_study
from standin_latent import write_belebele, write_english_mmlu, write_hellaswag, write_mmmlu
from standin_study import VOCABULARY, english_texts, save_gemma

MODEL = "gemma-2-2b-it"
LAYERS = 6  # the lens reads 1 and 5, as it reads 1, 5, ..., 25 of 26
LANGUAGES = {"belebele": ["en", "es", "zh-Hant", "zu"], "mmmlu": ["en", "es"], "hellaswag": ["en", "es"]}
QUESTIONS = 14


def build(folder: Path) -> None:
    """Make below `folder`: lm, belebele, mmmlu, mmmlu-reference and hellaswag, as their homes lay them out."""
    save_gemma(folder / "lm", english_texts(), ("en", "es", "zh"), layers=LAYERS, d_model=32, seed=0)
    write_belebele(folder / "belebele", LANGUAGES["belebele"], QUESTIONS, {"es": {3: "missing"}})
    write_mmmlu(folder / "mmmlu", ["es"], QUESTIONS)
    write_english_mmlu(folder / "mmmlu-reference", QUESTIONS)
    write_hellaswag(folder / "hellaswag", LANGUAGES["hellaswag"], QUESTIONS)


def merged(study: Path, folder: Path) -> dict[str, Any]:
    """The study file with nothing but paths and sizes changed, on one of its models and a few languages."""
    config = yaml.safe_load(study.read_text(encoding="utf-8"))
    shape = {"layers": LAYERS, "d_model": 32, "d_mlp": 128, "heads": 4, "key_value_heads": 2, "d_head": 16}
    model = config["models"][MODEL]
    config["models"] = {
        MODEL: {
            **model,
            "source": {**model["source"], "folder": str(folder / "lm")},
            "architecture": {**shape, "vocabulary": VOCABULARY},
        }
    }
    latent = config["latent"] | {"held_out": 4}
    for task, settings in latent["tasks"].items():
        settings["source"]["folder"] = str(folder / task)
        settings["languages"] = LANGUAGES[task]
    latent["tasks"]["mmmlu"]["reference_source"]["folder"] = str(folder / "mmmlu-reference")
    latent["steering"] = {**latent["steering"], "gammas": [-2.0, 2.0]}
    config["latent"] = latent
    config["compute"] = {**config["compute"], "token_budget": 1024, "dtype": "float32", "languages_per_job": 3}
    config["statistics"] = {"bootstrap": 100}
    load_study(config, str(study))
    return config
