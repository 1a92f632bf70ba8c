"""Runs in COMET's own environment: a tiny model as its authors lay one out, what COMET and our stage say of it."""

import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytorch_lightning  # pyright: ignore[reportMissingImports]
import torch
import yaml
from comet import load_from_checkpoint  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]
from comet.models import RegressionMetric  # pyright: ignore[reportMissingImports]
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import XLMRobertaConfig

from isogloss.bilingual.comet import score_comet
from isogloss.errors import IsoglossError
from isogloss.tables import read_table, write_table

CHECKPOINT = "checkpoints/model.ckpt"
TRIPLES = [("la casa", "the house", "a house"), ("el perro azul", "dog", "the blue dog"), ("la casa", "", "a house")]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
# The settings of wmt22-comet-da, its sizes but for those of a tiny encoder.
SETTINGS: dict[str, Any] = {
    **{"activations": "Tanh", "batch_size": 4, "dropout": 0.1, "encoder_learning_rate": 1e-6, "final_activation": None},
    **{"encoder_model": "XLM-RoBERTa", "hidden_sizes": [48, 16], "keep_embeddings_frozen": True, "layer": "mix"},
    **{"layer_norm": False, "layer_transformation": "sparsemax", "layerwise_decay": 0.95, "learning_rate": 1.5e-5},
    **{"loss": "mse", "nr_frozen_epochs": 0.3, "optimizer": "AdamW", "pool": "avg", "warmup_steps": 0},
    **{"train_data": ["data/train.csv"], "validation_data": ["data/dev.csv"]},
}


def make_encoder(folder: Path) -> None:
    """A tiny XLM-R without weights: those stand in COMET's checkpoint."""
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    words = [text for triple in TRIPLES for text in triple]
    tokenizer.train_from_iterator(
        words, trainers.UnigramTrainer(vocab_size=60, special_tokens=SPECIAL, unk_token="<unk>")
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    XLMRobertaConfig(vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=66, **sizes).save_pretrained(folder)


def make_comet(folder: Path, encoder: Path) -> None:
    """A COMET model with random weights, saved by Lightning as COMET's training does."""
    settings = {**SETTINGS, "pretrained_model": str(encoder)}
    torch.manual_seed(0)
    model = RegressionMetric(**settings, load_pretrained_weights=False)
    trainer = pytorch_lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(str(folder / CHECKPOINT), weights_only=True)
    named = {**settings, "class_identifier": "regression_metric"}
    (folder / "hparams.yaml").write_text(yaml.safe_dump(named))


def stage(folder: Path, scratch: Path) -> Any:
    """The scores of `TRIPLES` by our stage, each a repeat of its own; or its sentence."""
    rows = [
        {"class": "en", "alpha": 0.1, "n_features": 4, "repeat": number, "source": "es", "lang": "en"}
        | {"segment": "0", "text": text, "hypothesis": hypothesis, "reference": reference}
        for number, (text, hypothesis, reference) in enumerate(TRIPLES)
    ]
    key = {"class": "en", "alpha": 0.1, "n_features": 4, "lang": "en", "comet": None}
    typed = {"comet": pl.Float64}
    write_table(scratch / "hypotheses.parquet", pl.DataFrame(rows))
    table = pl.DataFrame([{**key, "repeat": number} for number in range(len(TRIPLES))], schema_overrides=typed)
    write_table(scratch / "table.parquet", table)
    write_table(scratch / "summary.parquet", pl.DataFrame([key], schema_overrides=typed))
    try:
        score_comet(
            hypotheses=str(scratch / "hypotheses.parquet"),
            unscored=str(scratch / "table.parquet"),
            unscored_summary=str(scratch / "summary.parquet"),
            model_folder=str(folder),
            intervention=str(scratch / "scored.parquet"),
            intervention_summary=str(scratch / "scored_summary.parquet"),
        )
    except IsoglossError as error:
        return str(error).replace(str(folder), "FOLDER")
    return read_table(scratch / "scored.parquet")["comet"].to_list()


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = torch.load(folder / CHECKPOINT, weights_only=True)
        change(content)
        torch.save(content, folder / CHECKPOINT)

    return edit


def settings(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "hparams.yaml").write_text(text) and None


FIRST = "encoder.model.embeddings.word_embeddings.weight"
FAULTS: dict[str, Callable[[Path], None]] = {
    "a weight is lacking": edited(lambda content: content["state_dict"].pop(FIRST)),
    "a weight of another shape": edited(lambda content: content["state_dict"].update({FIRST: torch.zeros(3)})),
    "no settings": edited(lambda content: content.pop("hyper_parameters")),
    "no encoder there": edited(lambda content: content["hyper_parameters"].update(pretrained_model="/no/where")),
    "another class": settings("class_identifier: other\n"),
    "the class of another model": settings("class_identifier: referenceless_regression_metric\n"),
}


def main(root: Path) -> None:
    logging.disable(logging.WARNING)
    make_encoder(root / "encoder")
    model = root / "model"
    (model / "checkpoints").mkdir(parents=True)
    make_comet(model, root / "encoder")
    said: dict[str, Any] = {"stage": stage(model, root)}
    each = load_from_checkpoint(str(model / CHECKPOINT))
    samples = [{"src": text, "mt": hypothesis, "ref": reference} for text, hypothesis, reference in TRIPLES]
    said["comet"] = [100 * each.predict([sample], progress_bar=False).scores[0] for sample in samples]
    for name, change in FAULTS.items():
        copy = root / "copy"
        shutil.copytree(model, copy)
        change(copy)
        said[name] = stage(copy, root)
        shutil.rmtree(copy)
    (root / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
