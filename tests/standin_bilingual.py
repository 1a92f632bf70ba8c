"""Stand-ins of what the LLM-jp study fetches: checkpoints of two Llamas, Wikipedia as Parquet files, and FLORES+."""

import itertools
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import torch
import yaml
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from isogloss.config import load_study
from real_text import flores_plus
from standin_study import english_texts

VOCABULARY = 1024
KEPT = ("llm-jp-3-150m", "llm-jp-3-3-7b")  # the smallest, and the one whose embeddings cluster tokens
STEPS = (10, 10000, 988240)
NOUNS = tuple("港村山川森駅庭島谷城籠鏡本")
PEOPLE = ["先生", "農家", "医者", "船乗り", "画家", "音楽家", "学生", "看護師"]
VERBS = ["運んだ", "直した", "塗った", "売った", "借りた", "見つけた", "測った", "覚えていた"]


def japanese_texts(count: int = 90, sentences: int = 60, seed: int = 0) -> list[str]:
    """Documents of about a hundred tokens; the tokenizer has learnt whole phrases."""
    draw = random.Random(seed)
    return [
        "".join(
            f"{draw.choice(PEOPLE)}は{draw.choice(NOUNS)}の近くで{draw.choice(NOUNS)}を{draw.choice(VERBS)}。"
            for _ in range(sentences)
        )
        for _ in range(count)
    ]


def build(folder: Path, *, layers: int = 2, d_model: int = 32) -> None:
    """checkpoints/NAME/stepN, the last under models/NAME, wikipedia/20231101.LANG/train-*.parquet, flores-plus/dev."""
    texts = {"en": english_texts(240), "ja": japanese_texts(240)}
    tokenizer = llama_tokenizer([*texts["en"][:60], *texts["ja"][:60]])
    for size, name in enumerate(KEPT):
        for number, step in enumerate(STEPS):
            torch.manual_seed(10 * size + number)
            width = d_model * (size + 1)
            config = LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=width,
                intermediate_size=2 * width,
                num_hidden_layers=layers,
                num_attention_heads=2,
                num_key_value_heads=2,
                max_position_embeddings=256,
                initializer_range=0.1,
                bos_token_id=1,
                eos_token_id=2,
                pad_token_id=4,
            )
            last = step == STEPS[-1]
            path = folder / "models" / name if last else folder / "checkpoints" / name / f"step{step}"
            LlamaForCausalLM(config).save_pretrained(path)
            tokenizer.save_pretrained(path)
    for lang, written in texts.items():
        parts = folder / "wikipedia" / f"20231101.{lang}"
        parts.mkdir(parents=True)
        for number, start in enumerate(range(0, len(written), 120)):
            rows = written[start : start + 120]
            names = [str(start + row) for row in range(len(rows))]
            columns = {"id": names, "url": names, "title": names, "text": rows}
            pl.DataFrame(columns).write_parquet(parts / f"train-{number:05d}-of-00002.parquet")
    sentences = {"eng_Latn": english_texts(12, sentences=1), "jpn_Jpan": japanese_texts(12, sentences=1)}
    flores_plus(folder / "flores-plus", sentences)


def llama_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A Unigram tokenizer with byte fallback, as LLM-jp's: <s> first, ▁ for a space."""
    trained = Tokenizer(models.Unigram())
    trained.normalizer = normalizers.NFKC()  # pyright: ignore[reportAttributeAccessIssue]
    trained.pre_tokenizer = pre_tokenizers.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    special = ["<unk>", "<s>", "</s>", "<MASK|LLM-jp>", "<PAD|LLM-jp>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    trained.train_from_iterator(texts, trainer)
    trained.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(
        tokenizer_object=trained, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<PAD|LLM-jp>"
    )


def merged(study: Path, folder: Path) -> dict[str, Any]:
    """The study file with nothing but paths and sizes changed, on two of its models and three checkpoints."""
    config = yaml.safe_load(study.read_text(encoding="utf-8"))
    config["models"] = {name: _small(name, config["models"][name], folder) for name in KEPT}
    bilingual = config["bilingual"]
    config["parallel"]["folder"] = str(folder / "flores-plus")
    for source in config["documents"].values():
        source["folder"] = str(folder / "wikipedia")
    bilingual |= {"evaluation_tokens": 3000, "layers_per_job": 1, "examples_per_class": 1, "resume_every": 2}
    bilingual["learning_rates"] = bilingual["learning_rates"][-2:]
    bilingual["intervention"] |= {"n_features": [4, 8], "alphas": [0.1, 0.2], "repeats": 2, "documents": 10}
    bilingual["intervention"]["translations"] |= {"shots": 2, "sentences": 4, "new_tokens": 8}
    config["compute"] = {**config["compute"], "token_budget": 1024}
    config["statistics"] = {"bootstrap": 100}
    load_study(config, str(study))
    return config


def _small(name: str, model: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    width = 32 * (KEPT.index(name) + 1)
    shape = {"layers": 2, "d_model": width, "d_mlp": 2 * width, "heads": 2, "key_value_heads": 2, "d_head": width // 2}
    sources = {step: {"folder": str(folder / "checkpoints" / name / f"step{step}")} for step in STEPS[:-1]}
    last = {**model["source"], "folder": str(folder / "models" / name)}
    sizes = {"features": 64, "k": 4, "tokens": 6000, "batch_tokens": 512, "buffer_tokens": 2048}
    return {
        **model,
        "source": last,
        "checkpoints": {**sources, STEPS[-1]: last},
        "architecture": {**shape, "vocabulary": VOCABULARY},
        "sae": {**model["sae"], **sizes, "warmup_steps": 2, "held_out_tokens": 512},
    }


def leaves(config: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every value of a nested mapping by its path."""
    if not isinstance(config, dict):
        return {path: config}
    return dict(itertools.chain(*(leaves(value, (*path, str(key))).items() for key, value in config.items())))
