"""`make bench`: `capture` and a step of `align` against the plain way, as ratios of processor times in one run.

Equal results are asserted. The stages run as `make` has them on a CPU, their kernels transformers' own.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch.testing import assert_close

from isogloss.config.measures import Compute
from isogloss.disparity.alignment import LossSettings, Pair
from isogloss.disparity.gradient import BatchGradient
from isogloss.disparity.lora_training import LoraOptimiser
from isogloss.models.adapter import with_lora
from isogloss.models.batching import encode_texts
from isogloss.models.loading import load_base_model, load_causal_model, load_tokenizer
from isogloss.residuals.capture import capture
from isogloss.sae.autoencoder import load_encoder
from isogloss.tables import read_table, write_table
from standins import tiny_gemma2, tiny_sae

LAYERS, WIDTH, FEATURES, TEXTS, PAIRS, LAYER = 8, 256, 2048, 32, 12, 4


def texts(number: int, seed: int, longest: int = 24) -> list[str]:
    """Random words of three scripts."""
    rng = random.Random(seed)
    words = ["the", "currency", "of", "Austria", "Euro", "moneda", "भारत", "की", "奥地利", "货币", "continent"]
    return [" ".join(rng.choices(words, k=rng.randint(3, longest))) for _ in range(number)]


def compare(name: str, plain: Callable[[], Any], ours: Callable[[], Any], repeats: int) -> None:
    """Print the median ratio of processor times plain / ours over `repeats` alternating runs; equal results first."""
    assert_close(plain(), ours(), atol=1e-4, rtol=1e-4)
    ratios, seconds = [], []
    for _ in range(repeats):
        times = [time.process_time()]
        for work in (plain, ours):
            work()
            times.append(time.process_time())
        seconds.append(times[2] - times[1])
        ratios.append((times[1] - times[0]) / seconds[-1])
    spread = f"{min(ratios):.1f} to {max(ratios):.1f}"
    print(f"{name:70} {statistics.median(ratios):5.1f} x  ({spread}; ours {statistics.median(seconds):.2f} s)")


def bench_capture(lm: Path, folder: Path, repeats: int) -> None:
    """Phrases of all layers, each text that of four of them; plain is a forward a phrase, with all hidden states."""
    distinct = texts(TEXTS, seed=1)
    frame = pl.DataFrame({"text": distinct * 4}).with_row_index("phrase").cast({"phrase": pl.Int64})
    frame = frame.with_columns(
        layer=(pl.col("phrase") * LAYERS // len(frame)).cast(pl.Int32),
        feature=(pl.col("phrase") % TEXTS).cast(pl.Int32),
        ids=pl.lit(None, pl.List(pl.Int32)),
        chrf=pl.lit(None, pl.Float32),
    )
    table, output = str(folder / "es.parquet"), str(folder / "pooled.parquet")
    write_table(table, frame)

    @torch.inference_mode()
    def plain() -> torch.Tensor:
        model: Any = load_base_model(lm)
        tokenizer = load_tokenizer(lm)
        found = []
        for ids in encode_texts(tokenizer, frame["text"].to_list()):
            kept: list[torch.Tensor] = []
            hooks = [
                layer.register_forward_hook(lambda _, __, output, kept=kept: kept.append(output))
                for layer in model.layers
            ]
            model(input_ids=torch.tensor([ids]), use_cache=False)
            for hook in hooks:
                hook.remove()
            found.append(torch.stack([residual[0, 1:].mean(dim=0) for residual in kept]))
        write_table(
            folder / "plain.parquet",
            pl.DataFrame({"pooled": torch.cat(found).tolist()}, schema={"pooled": pl.List(pl.Float32)}),
        )
        return torch.stack(found)

    def ours() -> torch.Tensor:
        capture(
            lm=str(lm), adapter=None, translations={"es": [table]}, outputs={"es": output}, layers=range(LAYERS),
            feature_stride=1, compute=Compute(token_budget=2048), metadata={},
        )  # fmt: skip
        rows = read_table(output).sort("phrase", "layer")
        return torch.from_numpy(rows["pooled"].to_numpy().copy()).view(len(frame), LAYERS, WIDTH)

    compare(f"capture: {len(frame)} phrases of {TEXTS} texts; plain = a forward a phrase", plain, ours, repeats)


def bench_align(lm: Path, folder: Path, repeats: int) -> None:
    """Three steps of LoRA; plain is the whole model, a text at a time, and SAELens' encoder of all features."""
    from sae_lens import SAE

    sae = tiny_sae(folder / "sae", kind="jumprelu", d_model=WIDTH, features=FEATURES)
    encoder, theirs = load_encoder(sae), SAE.load_from_disk(sae, device="cpu")
    sides = [encode_texts(load_tokenizer(lm), texts(PAIRS, seed, longest=14)) for seed in (2, 3)]
    pairs = [Pair(english, other, 7 * row, 1.0) for row, (english, other) in enumerate(zip(*sides, strict=True))]

    def tuned(last: int | None) -> Any:
        torch.manual_seed(0)
        model = load_causal_model(lm, last_layer=last)
        return with_lora(model, list(range(LAYER + 1)), "all", rank=8, alpha=16.0, dropout=0.0)

    def matrices(model: Any) -> torch.Tensor:
        named = sorted((name, matrix) for name, matrix in model.named_parameters() if matrix.requires_grad)
        return torch.cat([matrix.detach().flatten() for _, matrix in named])

    def own(model: Any, ids: Any, feature: int) -> torch.Tensor:
        states = model(torch.tensor([list(ids)]), output_hidden_states=True, use_cache=False).hidden_states
        x = states[LAYER + 1][0, 1:]
        z = x @ theirs.W_enc + theirs.b_enc
        fires = theirs.encode(x)[:, feature].max()
        return fires if fires > 0 else z[:, feature].max()

    def plain() -> torch.Tensor:
        model = tuned(None)
        adam = torch.optim.Adam([matrix for matrix in model.parameters() if matrix.requires_grad], lr=1e-3)
        for _ in range(3):
            for pair in pairs:
                english, other = (own(model, ids, pair.feature) for ids in (pair.reference, pair.translation))
                (((english - other) ** 2 + (english - pair.recorded) ** 2) / PAIRS).backward()
            adam.step()
            adam.zero_grad()
        return matrices(model)

    def ours() -> torch.Tensor:
        model = tuned(LAYER)
        optimiser = LoraOptimiser(model, torch.float32, rate=1e-3, iterations=10**9)
        gradient = BatchGradient(model, encoder, LAYER, LossSettings())
        for step in range(3):
            gradient.add(pairs, 8192)
            optimiser.step(step)
        return matrices(model)

    compare(
        f"align: 3 steps of {PAIRS} pairs, layer {LAYER} of {LAYERS}; plain = a text a forward", plain, ours, repeats
    )


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lm = tiny_gemma2(folder / "lm", layers=LAYERS, d_model=WIDTH)
        bench_capture(lm, folder, arguments.repeats)
        bench_align(lm, folder, arguments.repeats)


if __name__ == "__main__":
    main()
