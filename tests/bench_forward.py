"""A forward by transformers' parts and by faster ones, one after another, for `tests/bench_gpu.py`.

PYTHONPATH=workflow/scripts:tests python tests/bench_forward.py [--tiny]
"""

import argparse
import json
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from isogloss.models.batching import Batch, each_batch
from isogloss.models.fused.faster import compile_layers, make_faster, undone
from isogloss.models.hooks import visit_residuals
from isogloss.models.path import kernels_of

ALL = ("norms", "gates", "attention", "sequences")
STEPS = {"own": (), "norms": ALL[:1], "norms_gates": ALL[:2], "attention": ALL[:3], "sequences": ALL, "compiled": ALL}
LONG = 10**15  # tokens, for which compiling always pays


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


def main() -> None:
    """Print the figures as JSON, at Gemma-2-2B's shape with random weights, or tiny."""
    from transformers import Gemma2Model

    from bench_gpu import TINY, Size, gemma2

    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tiny", action="store_true")
    size = TINY if arguments.parse_args().tiny else Size()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    with device:
        model = Gemma2Model(gemma2(size)).to(getattr(torch, size.dtype)).eval()
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(4, 37, (4096 if size != TINY else 8,), generator=draw).tolist()
    texts = [[2, *torch.randint(4, size.vocabulary, (n,), generator=draw).tolist()] for n in lengths]
    print(json.dumps(forward_parts(model, texts, size.layers, token_budget=size.budget), indent=1))


if __name__ == "__main__":
    main()
