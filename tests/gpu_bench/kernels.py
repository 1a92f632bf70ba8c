"""The part that adds to a forward one faster part after another."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from gpu_bench.world import Bench, distinct
from isogloss.models.batching import Batch, each_batch
from isogloss.models.fused.faster import compile_layers, make_faster, undone
from isogloss.models.hooks import visit_residuals
from isogloss.models.path import kernels_of

ALL = ("norms", "gates", "attention", "sequences")
STEPS = {"own": (), "norms": ALL[:1], "norms_gates": ALL[:2], "attention": ALL[:3], "sequences": ALL, "compiled": ALL}
LONG = 10**15  # tokens, for which compiling always pays


def kernels(bench: Bench) -> dict[str, Any]:
    """A bare forward of phrases by transformers' parts and by faster ones."""
    texts, _ = distinct(bench.texts, [0] * len(bench.texts))
    figures = forward_parts(
        bench.base,
        texts[: 4096 if bench.device.type == "cuda" else 8],
        bench.size.layers,
        token_budget=bench.size.budget,
        repeats=bench.repeats,
        backend="inductor" if bench.device.type == "cuda" else "eager",
    )
    bench.free()  # the next part loads the model as a stage does
    return figures


def forward_parts(
    model: nn.Module,
    texts: Sequence[Sequence[int]],
    layers: int,
    *,
    token_budget: int,
    repeats: int = 2,
    backend: str = "inductor",
) -> dict[str, Any]:
    """Tokens a second of a bare forward of `texts` (BOS first) as each of `STEPS` adds its part; medians.

    A model as it was loaded comes back as transformers has it. The first round of each, in which kernels are made, is
    given apart, in seconds. A part that cannot be had here leaves its step as the one before: `kernels` says so.
    """
    tokens = sum(map(len, texts))
    figures: dict[str, Any] = {"kernels": {}}
    for name, parts in STEPS.items():
        undone(model)
        if parts:
            make_faster(model, parts=parts)
        if name == "compiled":
            compile_layers(model, LONG, backend=backend)
        seconds = [timed(lambda: bare(model, texts, layers, token_budget)) for _ in range(repeats + 1)]
        figures[f"{name}_tokens_per_s"] = tokens / statistics.median(seconds[1:])
        figures[f"{name}_first_s"] = seconds[0]
        figures["kernels"][name] = kernels_of(model)["kernels"]
    undone(model)
    for name in list(STEPS)[1:]:
        figures[f"{name}_to_own"] = figures[f"{name}_tokens_per_s"] / figures["own_tokens_per_s"]
    return figures


@torch.inference_mode()
def bare(model: nn.Module, texts: Sequence[Sequence[int]], layers: int, token_budget: int) -> None:
    """A forward with nothing read."""

    def work(batch: Batch) -> None:
        visit_residuals(model, batch, [layers - 1], lambda *_: None)

    each_batch(texts, work, token_budget=token_budget)


def timed(work: Callable[[], Any]) -> float:
    """Wall seconds, the device's work included."""
    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
