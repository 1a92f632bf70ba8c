"""`make bench`: isogloss against the plain way, as ratios measured in one run, with equal results asserted.

Sizes are small enough for two CPU cores; ratios, not seconds, are what carries over. Each pair runs
in turn, `REPEATS` times; the median of the ratios is printed with its range.
"""

import argparse
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.testing import assert_close

from isogloss.benchmarks.run import SharedPromptLM
from isogloss.models.loading import load_base_model, load_causal_model, load_tokenizer
from isogloss.residuals.batching import Batch, collate, each_batch, encode_texts
from isogloss.residuals.stream import visit_residuals
from isogloss.sae.autoencoder import load_encoder
from isogloss.sae.own_feature import measure
from standins import tiny_gemma2, tiny_sae

REPEATS = 3
LAYERS, WIDTH, FEATURES, PHRASES = 8, 256, 2048, 128
WORDS = [
    "the",
    "currency",
    "of",
    "Austria",
    "is",
    "Euro",
    "official",
    "language",
    "India",
    "Hindi",
    "moneda",
    "भारत",
    "की",
    "奥地利",
    "货币",
    "continent",
]


def texts(number: int, seed: int = 0, longest: int = 24) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(3, longest))) for _ in range(number)]


def compare(name: str, plain: Callable[[], Any], ours: Callable[[], Any], check: Callable[[Any, Any], None]) -> None:
    """Print the median ratio of wall times plain / ours over `REPEATS` alternating runs."""
    check(plain(), ours())
    ratios, seconds = [], []
    for _ in range(REPEATS):
        began = time.perf_counter()
        plain()
        middle = time.perf_counter()
        ours()
        seconds.append(time.perf_counter() - middle)
        ratios.append((middle - began) / seconds[-1])
    spread = f"{min(ratios):.1f} to {max(ratios):.1f}"
    print(f"{name:70} {statistics.median(ratios):5.1f} x  ({spread}; ours {statistics.median(seconds):.2f} s)")


@torch.no_grad()
def bench_encode(lm: Path, folder: Path) -> None:
    """One forward for all layers, length buckets, wanted columns only, against a dense pass for each layer."""
    from sae_lens import SAE

    model, tokenizer = load_base_model(lm), load_tokenizer(lm)
    ids = encode_texts(tokenizer, texts(PHRASES))
    saes = [
        tiny_sae(folder / f"{layer}", kind="jumprelu", d_model=WIDTH, features=FEATURES, seed=layer)
        for layer in range(LAYERS)
    ]
    encoders, theirs = [load_encoder(path) for path in saes], [SAE.load_from_disk(path) for path in saes]
    features = torch.randint(FEATURES, (LAYERS, len(ids)), generator=torch.Generator().manual_seed(0))

    def plain() -> torch.Tensor:
        found = torch.empty(LAYERS, len(ids))
        for layer, sae in enumerate(theirs):
            for start in range(0, len(ids), 32):
                batch = collate(ids[start : start + 32])
                kept: list[torch.Tensor] = []
                hook = model.layers[layer].register_forward_hook(
                    lambda *arguments, kept=kept: kept.append(arguments[2])
                )
                model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True)
                hook.remove()
                dense = sae.encode(kept[0]).masked_fill(~batch.content[..., None], 0).amax(dim=1)
                rows = torch.arange(start, start + len(dense))
                found[layer, rows] = dense[torch.arange(len(dense)), features[layer, rows]]
        return found

    def ours() -> torch.Tensor:
        found = torch.empty(LAYERS, len(ids))

        def work(batch: Batch) -> None:
            rows = torch.tensor(batch.rows)

            def visit(layer: int, residual: torch.Tensor) -> None:
                wanted = features[layer, rows][:, None]
                local = torch.arange(len(rows))
                found[layer, rows] = measure(encoders[layer], residual, batch.content, local, wanted).activation[:, 0]

            visit_residuals(model, batch, range(LAYERS), visit)

        each_batch(ids, work, token_budget=2048)
        return found

    compare(
        f"encode: {LAYERS} layers, own features; plain = pass a layer, dense SAELens encode",
        plain,
        ours,
        lambda a, b: assert_close(a, b, atol=1e-4, rtol=1e-4),
    )


def bench_multiple_choice(lm: Path) -> None:
    """The prompt once for its choices, against lm-eval's own HFLM."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model, tokenizer = load_causal_model(lm), load_tokenizer(lm)
    prompts = [" ".join(part) for part in zip(*(texts(32, seed, 16) for seed in range(3)), strict=True)]
    choices = [[f" {text}" for text in texts(4, seed, 8)] for seed in range(len(prompts))]
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    stock = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=16, add_bos_token=True)  # type: ignore[arg-type]
    shared = SharedPromptLM(model, tokenizer, token_budget=8192)

    def requests() -> list[Instance]:
        return [
            Instance("loglikelihood", {}, (prompt, choice), index)
            for prompt, its in zip(prompts, choices, strict=True)
            for index, choice in enumerate(its)
        ]

    def plain() -> list[float]:
        return [score for score, _ in stock.loglikelihood(requests(), disable_tqdm=True)]

    def ours() -> list[float]:
        return [score for score, _ in shared.loglikelihood(requests(), disable_tqdm=True)]

    def check(a: list[float], b: list[float]) -> None:
        assert_close(torch.tensor(a), torch.tensor(b), atol=1e-3, rtol=1e-4)

    compare("benchmark: four choices, long prompts; plain = stock lm-eval HFLM", plain, ours, check)


def main() -> None:
    """Run all comparisons."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        lm = tiny_gemma2(Path(folder, "lm"), layers=LAYERS, d_model=WIDTH)
        print(
            f"Gemma-2 stand-in: {LAYERS} layers of width {WIDTH}; one thread; ratio of wall times, median of {REPEATS}"
        )
        bench_encode(lm, Path(folder, "sae"))
        bench_multiple_choice(lm)


if __name__ == "__main__":
    main()
