"""Parts that read a model: the bare forward, `encode` and `capture`; only the last two need Parquet."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gpu_bench.sizes import Size
from gpu_bench.world import Bench, distinct
from isogloss.models.loading import load_base_model


def forward(bench: Bench) -> dict[str, Any]:
    """The bare forward over all layers, and what of it the matrix products are."""
    texts, _ = distinct(bench.texts, [0] * len(bench.texts))
    texts = texts[: 4096 if bench.device.type == "cuda" else 32]
    prompts = [[2, *bench.ids(bench.size.prompt - 1)] for _ in range(bench.size.questions)]
    tokens, of_prompts = sum(map(len, texts)), sum(map(len, prompts))
    phrases, long = bench.timed(lambda: bench.bare(texts), lambda: bench.bare(prompts))
    return {
        "tokens_per_s": tokens / phrases,
        "prompt_tokens_per_s": of_prompts / long,
        "share_of_linear_rate": bench.linear(tokens) / phrases,
    }


def loaded_once(module: Any, model: nn.Module) -> Callable[[], None]:
    """Have a stage's module take `model`, whatever it asks for; returns what undoes that."""
    before = module.load_base_model
    module.load_base_model = lambda *_, **__: model

    def undo() -> None:
        module.load_base_model = before

    return undo


def compute_section(size: Size) -> Any:
    from isogloss.config.measures import Compute

    return Compute(token_budget=size.budget, dtype=size.dtype)  # type: ignore[arg-type]


def encode(bench: Bench) -> dict[str, Any]:
    """All layers in a job, without an adapter and with one."""
    from isogloss.sae import encode as stage

    size, layers = bench.size, list(range(bench.size.layers))
    depths = [row // size.phrases for row in range(len(bench.texts))]
    texts, deepest = distinct(bench.texts, depths)
    saes = stage.load_encoders(
        {layer: bench.sae / f"layer_{layer}" for layer in layers}, d_model=size.d_model, device=bench.device
    )
    load_encoders, stage.load_encoders = stage.load_encoders, lambda *_, **__: saes

    def run() -> None:
        stage.encode(
            lm=str(bench.lm), adapter=None, sae=str(bench.sae), translations={"es": bench.translations},
            outputs={"es": str(bench.folder / "activations.parquet")}, layers=layers, compute=compute_section(size),
            seed=0, metadata={},
        )  # fmt: skip

    undo = loaded_once(stage, bench.base)
    try:
        plain, bare = bench.timed(run, lambda: bench.bare(texts, deepest))
        undo()
        undo = loaded_once(stage, load_base_model(bench.lm, adapter=bench.adapter, dtype=getattr(torch, size.dtype)))
        (adapted,) = bench.timed(run)
    finally:
        undo()
        stage.load_encoders = load_encoders
    return {
        "phrase_tokens_per_s": sum(map(len, bench.texts)) / plain,
        "distinct_tokens_per_s": sum(map(len, texts)) / plain,
        "rate_to_bare": bare / plain,
        "adapter_rate_to_plain": plain / adapted,
        "seconds": [plain, bare, adapted],
    }


def capture(bench: Bench) -> dict[str, Any]:
    """All layers, at both strides."""
    from isogloss.residuals import capture as stage

    size, figures = bench.size, {}
    undo = loaded_once(stage, bench.base)
    try:
        for stride in size.strides:
            sampled = set(stage.sampled_features([bench.translations], stride).iter_rows())
            owners = [(row // size.phrases, row % size.phrases // 2 % size.features) for row in range(len(bench.texts))]
            chosen = [ids for ids, owner in zip(bench.texts, owners, strict=True) if owner in sampled]
            texts, _ = distinct(chosen, [0] * len(chosen))

            def run(stride: int = stride) -> None:
                stage.capture(
                    lm=str(bench.lm), adapter=None, translations={"es": [bench.translations]},
                    outputs={"es": str(bench.folder / "pooled.parquet")}, layers=list(range(size.layers)),
                    feature_stride=stride, compute=compute_section(size), metadata={},
                )  # fmt: skip

            seconds, bare = bench.timed(run, lambda texts=texts: bench.bare(texts))
            figures |= {
                f"stride_{stride}_tokens_per_s": sum(map(len, texts)) / seconds,
                f"stride_{stride}_rate_to_bare": bare / seconds,
                f"stride_{stride}_seconds": [seconds, bare],
            }
    finally:
        undo()
    return figures
