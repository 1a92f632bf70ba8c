"""The model, its SAEs and texts, made when a part first wants them; how a part is timed."""

import gc
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import Gemma2ForCausalLM, PreTrainedTokenizerFast

from gpu_bench.sizes import Size, gemma2
from isogloss.models.adapter import save_adapter, with_lora
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import Batch, each_batch
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import best_device, load_base_model, load_causal_model


class Bench:
    """The model, its SAEs and texts, made when a part first wants them."""

    def __init__(self, size: Size, folder: Path, repeats: int) -> None:
        self.size, self.folder, self.repeats = size, folder, repeats
        self.device = best_device()
        self.rng = random.Random(0)

    @cached_property
    def lm(self) -> Path:
        """A folder as transformers writes it, with a tokenizer of whole words."""
        folder = self.folder / "lm"
        if (folder / "tokenizer.json").exists():
            return folder
        config = gemma2(self.size)
        with torch.device("meta"):
            shapes = {name: tensor.shape for name, tensor in Gemma2ForCausalLM(config).named_parameters()}
        generator = torch.Generator(self.device).manual_seed(0)
        weights = {
            name: (torch.randn(shape, generator=generator, device=self.device) * (0.0 if "norm" in name else 0.02))
            .to(getattr(torch, self.size.dtype))
            .cpu()
            for name, shape in shapes.items()
        }
        folder.mkdir(parents=True)
        config.save_pretrained(folder)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        words = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3}
        words |= {f"w{number}": number for number in range(4, min(self.size.vocabulary, 50_000))}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        special = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
        return folder

    @cached_property
    def sae(self) -> Path:
        """A JumpReLU SAE a layer, all the same file."""
        if (self.folder / "sae").exists():
            return self.folder / "sae"
        d_model, features = self.size.d_model, self.size.features
        generator = torch.Generator(self.device).manual_seed(0)
        w_enc = torch.randn(d_model, features, generator=generator, device=self.device) / d_model**0.5
        weights = {"W_enc": w_enc.cpu(), "b_enc": torch.zeros(features), "b_dec": torch.zeros(d_model)}
        weights |= {"threshold": torch.full((features,), 0.1)}
        cfg = {"architecture": "jumprelu", "d_in": d_model, "d_sae": features, "dtype": "float32"}
        cfg |= {"apply_b_dec_to_input": False, "normalize_activations": "none", "metadata": {}}
        first = self.folder / "sae" / "layer_0"
        first.mkdir(parents=True)
        (first / "cfg.json").write_text(json.dumps(cfg))
        save_file(weights, first / "sae_weights.safetensors")
        for layer in range(1, self.size.layers):
            (self.folder / "sae" / f"layer_{layer}").symlink_to(first)
        return self.folder / "sae"

    @cached_property
    def base(self) -> nn.Module:
        return load_base_model(self.lm, dtype=getattr(torch, self.size.dtype))

    @cached_property
    def causal(self) -> nn.Module:
        return load_causal_model(self.lm, dtype=getattr(torch, self.size.dtype))

    @cached_property
    def adapter(self) -> Path:
        """LoRA of rank 8 on every linear map of every layer, as `align` writes it."""
        model = load_causal_model(self.lm, dtype=getattr(torch, self.size.dtype))
        save_adapter(
            with_lora(model, list(range(self.size.layers)), "all", rank=8, alpha=16.0, dropout=0.0),
            self.folder / "adapter",
            "random",
        )
        return self.folder / "adapter"

    def free(self) -> None:
        """Give the models' memory back."""
        for name in ("base", "causal"):
            self.__dict__.pop(name, None)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def ids(self, length: int) -> list[int]:
        return self.rng.choices(range(4, min(self.size.vocabulary, 50_000)), k=length)

    @cached_property
    def texts(self) -> list[list[int]]:
        """The text of each phrase, as token ids without BOS, layer after layer: see the top."""
        number = self.size.phrases * self.size.layers
        shared = [self.ids(self.rng.randint(4, 36)) for _ in range(max(1, number // 10))]
        return [
            self.rng.choice(shared) if self.rng.random() < 0.4 else self.ids(self.rng.randint(4, 36))
            for _ in range(number)
        ]

    @cached_property
    def translations(self) -> str:
        """The table of the phrases, two of each feature."""
        import polars as pl

        from isogloss.tables import TableWriter

        layer = [row // self.size.phrases for row in range(len(self.texts))]
        frame = pl.DataFrame(
            {
                "phrase": range(len(self.texts)),
                "layer": layer,
                "feature": [row % self.size.phrases // 2 % self.size.features for row in range(len(self.texts))],
                "text": [" ".join(f"w{word}" for word in ids) for ids in self.texts],
                "ids": [ids if row % 3 == 0 else None for row, ids in enumerate(self.texts)],
                "chrf": 50.0,
            },
            schema_overrides={
                "phrase": pl.Int64, "layer": pl.Int32, "feature": pl.Int32, "ids": pl.List(pl.Int32), "chrf": pl.Float32
            },
        )  # fmt: skip
        path = self.folder / "translations.parquet"
        with TableWriter(path, frame.to_arrow().schema) as writer:
            for start in range(0, len(frame), 4096):
                writer.write(frame[start : start + 4096])
        return str(path)

    def timed(self, *works: Callable[[], Any]) -> list[float]:
        """Median wall seconds of each of `works`, run in turn, after one round that warms up."""
        seconds: list[list[float]] = [[] for _ in works]
        for number in range(self.repeats + 1):
            for work, times in zip(works, seconds, strict=True):
                self.wait()
                began = time.perf_counter()
                work()
                self.wait()
                if number:
                    times.append(time.perf_counter() - began)
        return [statistics.median(times) for times in seconds]

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def bare(self, texts: Sequence[Sequence[int]], depths: Sequence[int] | None = None) -> None:
        """A forward over `texts` (ids, BOS first), each down to its depth, with nothing read."""
        depths = [self.size.layers - 1] * len(texts) if depths is None else list(depths)

        @torch.inference_mode()
        def work(batch: Batch) -> None:
            visit_residuals(self.base, batch, [max(depths[row] for row in batch.rows)], lambda *_: None)

        each_batch(texts, work, token_budget=self.size.budget, depth=depths)

    @torch.inference_mode()
    def linear(self, tokens: int) -> float:
        """Seconds of the layers' matrix products on `tokens` tokens."""
        maps = [part for part in decoder_of(self.base).layers.modules() if isinstance(part, nn.Linear)]
        size = min(tokens, self.size.budget)
        x = {part.in_features: torch.randn(size, part.in_features).to(part.weight) for part in maps}
        (seconds,) = self.timed(lambda: [part(x[part.in_features]) for part in maps])
        return seconds * tokens / size


def distinct(texts: Sequence[Sequence[int]], depths: Sequence[int]) -> tuple[list[list[int]], list[int]]:
    """Each text once, BOS first, and the deepest layer it is needed at."""
    deepest: dict[tuple[int, ...], int] = {}
    for ids, depth in zip(texts, depths, strict=True):
        deepest[tuple(ids)] = max(depth, deepest.get(tuple(ids), 0))
    return [[2, *ids] for ids in deepest], list(deepest.values())


def peak(device: torch.device) -> float:
    """Most memory that tensors took since the last call, in GB."""
    if device.type != "cuda":
        return 0.0
    most = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.reset_peak_memory_stats()
    return most
