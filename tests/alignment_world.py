"""A small study on disk to align a tiny model in: its SAE, phrases, translations and activations."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import torch

from config_sections import grouped
from isogloss.config.measures import Alignment, AlignmentRun, Compute
from isogloss.disparity.align import align
from isogloss.disparity.holdout import HoldOut, held_out_features
from isogloss.models.batching import Batch, collate, encode_texts
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import load_base_model, load_tokenizer
from isogloss.sae.autoencoder import Encoder, activations, load_encoder
from isogloss.tables import write_table
from standins import tiny_sae

LAYER = 1
COUNTRIES = ["Austria", "India", "Russia", "Italy", "Peru", "Chad", "Fiji", "Oman", "Cuba", "Mali", "Iran", "Togo"]
SENTENCES = {
    "en": "The currency of {} is number {}",
    "es": "La moneda de {} es número {}",
    "hi": "{} की मुद्रा संख्या {} है",
}


def unit_norm(folder: Path, target: Path) -> Path:
    """A copy of an SAE whose inputs are L2-normalised first."""
    shutil.copytree(folder, target)
    cfg = json.loads((target / "cfg.json").read_text())
    cfg["metadata"]["unit_norm_input"] = True
    (target / "cfg.json").write_text(json.dumps(cfg))
    return target


def residuals(model: torch.nn.Module, batch: Batch, layers: list[int]) -> dict[int, torch.Tensor]:
    found: dict[int, torch.Tensor] = {}
    with torch.no_grad():
        visit_residuals(model, batch, layers, lambda layer, residual: found.__setitem__(layer, residual.clone()))
    return found


def own_maxima(model: torch.nn.Module, encoder: Encoder, lm: Path, texts: list[str], features: list[int]):
    batch = collate(encode_texts(load_tokenizer(lm), texts))
    found = activations(encoder, residuals(model, batch, [LAYER])[LAYER], torch.tensor(features))
    own = torch.stack([found[row, :, row] for row in range(len(texts))])
    return own.masked_fill(~batch.content, 0).amax(dim=1)


class World:
    """A small study on disk: model, TopK SAE, phrases with the features that they activate, translations."""

    def __init__(self, folder: Path, lm: Path) -> None:
        self.folder, self.lm = folder, lm
        self.sae = unit_norm(tiny_sae(folder / "plain", kind="topk"), folder / "sae")
        self.encoder = load_encoder(self.sae)
        self.texts = {
            lang: [template.format(c, n) for n in (1, 7) for c in COUNTRIES] for lang, template in SENTENCES.items()
        }
        batch = collate(encode_texts(load_tokenizer(lm), self.texts["en"]))
        found = activations(self.encoder, residuals(load_base_model(lm), batch, [LAYER])[LAYER])
        found = found.masked_fill(~batch.content[..., None], 0).amax(dim=1)
        self.features = [found[row].argsort(descending=True)[row % 4].item() for row in range(len(found))]
        recorded = [found[row, feature].item() for row, feature in enumerate(self.features)]
        n = len(self.features)
        # Each phrase also stands at another layer, which alignment must leave alone.
        write_table(
            folder / "phrases.parquet",
            pl.DataFrame(
                {
                    "phrase": range(2 * n),
                    "layer": [0] * n + [LAYER] * n,
                    "feature": self.features * 2,
                    "text": self.texts["en"] * 2,
                    "activation": [99.0] * n + recorded,
                    "segments": [[f"segment/{row}"] for row in range(n)] * 2,
                    "ids": None,
                },
                schema_overrides={"ids": pl.List(pl.Int32)},
            ),
        )
        for lang in ("es", "hi"):
            write_table(
                folder / f"{lang}.parquet",
                pl.DataFrame(
                    {
                        "phrase": range(2 * n),
                        "layer": [0] * n + [LAYER] * n,
                        "text": self.texts[lang] * 2,
                        "ids": None,
                    },
                    schema_overrides={"ids": pl.List(pl.Int32)},
                ),
            )
        write_table(
            folder / "activations.parquet",
            pl.DataFrame(
                {
                    "phrase": range(2 * n),
                    "layer": [0] * n + [LAYER] * n,
                    "activation": [99.0] * n + [*recorded[1:], 0.0],
                    "pre_activation": [99.0] * n + [*recorded[1:], -0.5],
                }
            ),
        )
        self.recorded = recorded

    def align(self, name: str, **changes) -> Path:
        out = self.folder / name
        settings = {
            "lm": str(self.lm),
            "sae": str(self.sae),
            "phrases": [str(self.folder / "phrases.parquet")],
            "translations": [str(self.folder / f"{lang}.parquet") for lang in ("es", "hi")],
            "reference_activations": None,
            "adapter": str(out / "adapter"),
            "losses": str(out / "losses.parquet"),
            "state_folder": str(out / "state"),
            "model_name": "tiny",
            "languages": ["es", "hi"],
            "target_layer": LAYER,
            "tuned_layers": "up_to_target",
            "distance": "squared",
            "weight": 1.0,
            "inactive": "pre_activation",
            "detach_reference": False,
            "recorded": "corpus",
            "held_out": 0.2,
            "held_out_features": 0,
            "samples": 40,
            "iterations": 30,
            "batch_size": 8,
            "learning_rate": 3e-3,
            "rank": 4,
            "alpha": 8.0,
            "dropout": 0.1,
            "target_modules": ["q_proj", "v_proj", "down_proj", "up_proj"],
            "resume_every": 4,
            "token_budget": 8192,
            "dtype": "float32",
            "seed": 3,
            "metadata": {"study": "test"},
        }
        run = {"run": changes.pop("run")} if "run" in changes else {}
        align(**grouped(settings | changes, settings=Alignment, run=AlignmentRun, compute=Compute) | run)
        return out

    def trained(self, share: float = 0.2, seed: int = 3) -> list[int]:
        held = held_out_features(LAYER, np.array(self.features), HoldOut(share, 0, seed))
        return [row for row, f in enumerate(self.features) if f not in held]

    def measure(self, adapter: Path | None, lang: str, rows: list[int]) -> torch.Tensor:
        model = load_base_model(self.lm, last_layer=LAYER, adapter=adapter)
        return own_maxima(
            model, self.encoder, self.lm, [self.texts[lang][r] for r in rows], [self.features[r] for r in rows]
        )
