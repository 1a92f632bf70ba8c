"""Collecting activation patterns against the bare forward and encode, and peak memory at two numbers of tokens.

`PYTHONPATH=workflow/scripts:tests python tests/bench_patterns.py --features 32768 --tokens 20000` prints the ratio of
processor times and the peaks (MiB). Bare is the same model, batches and TopK, of which nothing is kept; collecting is
one pass, files and counts included, up to what the entropies start from. Each peak is a fresh process of its own, of
collecting and describing; this one imports nothing heavy, as Linux counts a child's peak from its parent's memory on.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

WIDTH, LENGTH, VOCABULARY, K = 128, 64, 2048, 32
LANGUAGES = ["en", "es"]


def make(folder: Path, features: int, tokens: int, layers: int) -> None:
    """A random model, its SAEs, and documents of `LENGTH` tokens."""
    import numpy as np
    import polars as pl
    import torch

    from isogloss.sae.kinds.topk import TopKAutoencoder, save_saelens
    from isogloss.tables import TableWriter
    from standins import tiny_gemma2

    tiny_gemma2(folder / "lm", layers=layers, d_model=WIDTH, vocabulary=VOCABULARY)
    for layer in range(layers):
        sae = TopKAutoencoder(WIDTH, features, K, generator=torch.Generator().manual_seed(layer))
        about = {"hook_name": f"blocks.{layer}.hook_resid_post", "unit_norm_input": True}
        save_saelens(folder / "sae" / f"layer_{layer}", sae, about)
    rng = np.random.default_rng(0)
    frequency = 1 / np.arange(1, VOCABULARY - 3)  # Zipf's law
    frequency /= frequency.sum()
    schema = pl.DataFrame(schema={"document": pl.String, "lang": pl.String, "ids": pl.List(pl.Int32)}).to_arrow().schema
    with TableWriter(folder / "tokens.parquet", schema) as writer:
        for start in range(0, tokens // (LENGTH - 1), 1024):
            number = min(1024, tokens // (LENGTH - 1) - start)
            ids = rng.choice(np.arange(4, VOCABULARY), size=(number, LENGTH), p=frequency)
            ids[:, 0] = 2
            langs = [LANGUAGES[row % 2] for row in range(number)]
            names = [f"d/{start + row}" for row in range(number)]
            writer.write(pl.DataFrame({"document": names, "lang": langs, "ids": ids.tolist()}))


def times(folder: Path, layers: int, repeats: int) -> dict[str, list[float]]:
    """Processor seconds of the bare pass, the collecting pass and the counting, `repeats` times in turn."""
    import torch

    from isogloss.bilingual.patterns import collect_patterns, read_documents, tallies
    from isogloss.models.batching import each_batch
    from isogloss.models.hooks import visit_residuals
    from isogloss.models.loading import load_base_model
    from isogloss.sae.autoencoder import load_encoder, pre_activations

    torch.set_num_threads(1)
    model = load_base_model(folder / "lm")
    encoders = {layer: load_encoder(folder / "sae" / f"layer_{layer}") for layer in range(layers)}
    path = str(folder / "tokens.parquet")

    @torch.no_grad()
    def bare() -> None:
        def work(batch) -> None:
            def visit(layer, residual) -> None:
                vectors, encoder = residual[batch.content], encoders[layer]
                for chunk in vectors.split(2**24 // len(encoder.b_enc)):
                    pre_activations(encoder, chunk).topk(K, dim=-1, sorted=False)

            visit_residuals(model, batch, range(layers), visit)

        for documents in read_documents(path, LANGUAGES):
            each_batch(documents.ids, work, token_budget=4096)

    found: dict[str, list[float]] = {"bare": [], "collecting": [], "counting": []}
    for _ in range(repeats):
        began = time.process_time()
        bare()
        found["bare"].append(time.process_time() - began)
        with ExitStack() as stack:
            began = time.process_time()
            documents = read_documents(path, LANGUAGES)
            patterns = collect_patterns(
                model, encoders, documents, languages=2, part=0.7, token_budget=4096, stack=stack, folder=folder / "out"
            )
            found["collecting"].append(time.process_time() - began)
            began = time.process_time()
            for layer_patterns in patterns.values():
                list(tallies(layer_patterns, languages=2, vocabulary=VOCABULARY))
            found["counting"].append(time.process_time() - began)
    return found


def describe(folder: Path, layers: int) -> float:
    """Processor seconds of the whole stage."""
    import torch

    from isogloss.bilingual.features import describe_features
    from isogloss.config.bilingual import Bilingual
    from isogloss.config.measures import Compute

    torch.set_num_threads(1)
    began = time.process_time()
    describe_features(
        lm=str(folder / "lm"), embeddings=str(folder / "lm"), sae=str(folder / "sae"),
        evaluation=str(folder / "tokens.parquet"), features=str(folder / "features.parquet"),
        examples=str(folder / "examples.parquet"), step=0, layers=range(layers), languages=LANGUAGES,
        settings=Bilingual(), compute=Compute(token_budget=4096), seed=0, metadata={},
    )  # fmt: skip
    return time.process_time() - began


def _process(step: str, folder: Path, tokens: int, arguments: argparse.Namespace) -> dict:
    """Run a step in a process of its own: what it found and its peak in MiB."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    command += ["--features", str(arguments.features), "--tokens", str(tokens)]
    command += ["--layers", str(arguments.layers), "--repeats", str(arguments.repeats)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"), "1")
    done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{step} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print the ratio and the peaks, or run one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, default=32_768)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--step", choices=["make", "times", "describe"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        folder, layers = arguments.folder, arguments.layers
        step = {
            "make": lambda: make(folder, arguments.features, arguments.tokens, layers),
            "times": lambda: times(folder, layers, arguments.repeats),
            "describe": lambda: describe(folder, layers),
        }
        found = step[arguments.step]()
        unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
        print(json.dumps({"found": found, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}))
        return
    for tokens in (arguments.tokens // 4, arguments.tokens):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            _process("make", folder, tokens, arguments)
            if tokens == arguments.tokens:
                found = _process("times", folder, tokens, arguments)["found"]
                ratios = [sum(seconds[1:]) / seconds[0] for seconds in zip(*found.values(), strict=True)]
                print(f"{arguments.features:,} features, {arguments.layers} layers, {tokens:,} tokens:", end=" ")
                print("; ".join(f"{key} {sorted(seconds)[len(seconds) // 2]:.1f} s" for key, seconds in found.items()))
                print(f"collecting and counting / bare: {sorted(ratios)[len(ratios) // 2]:.2f}", end=" ")
                print(f"({min(ratios):.2f} to {max(ratios):.2f})")
            described = _process("describe", folder, tokens, arguments)
            print(f"the whole stage at {tokens:,} tokens: {described['found']:.1f} s, peak {described['peak']:.0f} MiB")


if __name__ == "__main__":
    main()
