"""`make bench`: SAEs of all layers in one job, against SAELens' own TopK trainer layer after layer on the same model.

SAELens reads the model through its `HookedProxyLM` and `ActivationsStore`, which stop the forward at the layer,
leave BOS out and mix a buffer of the same size; only the scaling to norm 1, which it lacks, is put between store
and trainer. Both train on the same documents, width, k, batch, rate and number of steps. What is compared
is tokens per second times layers; the FVU of both, on the same held-out tokens, must agree within `TOLERANCE`.
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from isogloss.models.loading import load_base_model
from isogloss.sae.autoencoder import unit_norm
from isogloss.sae.checkpoint_saes import TokenResiduals
from isogloss.sae.kinds.topk import strongest
from isogloss.sae.quality import DenseQualityMeter, measure_quality
from isogloss.sae.recipe import Recipe, geometric_median
from isogloss.sae.trainer import Position, make_trainer, train
from isogloss.tables import TableWriter
from isogloss.text.tokens import read_documents
from standins import tiny_tokenizer

REPEATS = 3
TOLERANCE = 0.02
LAYERS, WIDTH, CONTEXT, VOCABULARY, BUDGET = 4, 128, 64, 2048, 4096
RECIPE = Recipe(
    features=512,
    k=16,
    tokens=200_000,
    batch_tokens=2048,
    buffer_tokens=16_384,
    learning_rate=2e-3,
    warmup_steps=20,
    held_out_tokens=16_384,
)


def toy_sized_gemma2(folder: Path) -> Path:
    """A random Gemma-2 of the toy world's shape."""
    from transformers import Gemma2ForCausalLM

    from isogloss.config.toy import Architecture
    from isogloss.sources.world.training import gemma2_config

    torch.manual_seed(0)
    Gemma2ForCausalLM(gemma2_config(Architecture(layers=LAYERS, d_model=WIDTH))).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def table_of_tokens(path: Path, tokens: int, seed: int) -> str:
    """Full documents of tokens that are as unevenly frequent as words (Zipf)."""
    import polars as pl

    generator = torch.Generator().manual_seed(seed)
    frequencies = 1 / torch.arange(1, VOCABULARY - 3)
    rows = -(-tokens // (CONTEXT - 1))
    drawn = torch.multinomial(frequencies, rows * (CONTEXT - 1), replacement=True, generator=generator) + 4
    ids = torch.cat([torch.full((rows, 1), 2), drawn.view(rows, CONTEXT - 1)], dim=1).tolist()
    frame = pl.DataFrame({"document": list(map(str, range(rows))), "lang": ["en"] * rows, "ids": ids})
    with TableWriter(path, frame.to_arrow().schema) as writer:
        for start in range(0, rows, 512):
            writer.write(frame[start : start + 512])
    return str(path)


def by_saelens(lm: Path, documents: list[list[int]], recipe: Recipe) -> dict[int, Any]:
    """An SAE a layer, one after another, by SAELens' store and trainer with one load of the model."""
    import sae_lens
    from datasets import Dataset
    from sae_lens.config import SAETrainerConfig
    from sae_lens.load_model import HookedProxyLM
    from sae_lens.training.activations_store import ActivationsStore
    from sae_lens.training.sae_trainer import SAETrainer
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(lm)
    trained: dict[int, Any] = {}
    for layer in range(LAYERS):
        hook = f"model.layers.{layer}"
        store = ActivationsStore(
            model=HookedProxyLM(AutoModelForCausalLM.from_pretrained(lm), tokenizer, hook_names=[hook]),
            dataset=Dataset.from_dict({"input_ids": documents}),
            streaming=False,
            hook_name=hook,
            hook_head_index=None,
            context_size=CONTEXT,
            d_in=WIDTH,
            n_batches_in_buffer=recipe.buffer_tokens // (CONTEXT - 1),
            total_training_tokens=recipe.tokens,
            store_batch_size_prompts=BUDGET // CONTEXT,
            train_batch_size_tokens=recipe.batch_tokens,
            prepend_bos=True,
            normalize_activations="none",
            device=torch.device("cpu"),
            dtype="float32",
            seqpos_slice=(1, None),
        )
        torch.manual_seed(layer)
        sae = sae_lens.TopKTrainingSAE(
            sae_lens.TopKTrainingSAEConfig(
                d_in=WIDTH, d_sae=recipe.features, k=recipe.k, dtype="float32", device="cpu", decoder_init_norm=1.0
            )
        )
        batches = map(unit_norm, store)
        sae.b_dec.data.copy_(geometric_median(next(batches)))
        trainer = SAETrainer(
            SAETrainerConfig(
                total_training_samples=recipe.tokens,
                train_batch_size_samples=recipe.batch_tokens,
                lr=recipe.learning_rate,
                lr_end=recipe.learning_rate,
                lr_warm_up_steps=recipe.warmup_steps,
            ),
            sae,
            data_provider=batches,
        )
        trained[layer] = trainer.fit()
    return trained


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds that `work` takes, and its result: on a shared machine, wall time tells of the others."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def bench_sae_training(folder: Path, recipe: Recipe = RECIPE, repeats: int = REPEATS) -> None:
    """Print the ratio of tokens per second times layers, and what bounds ours."""
    lm = toy_sized_gemma2(folder / "lm")
    tokens = table_of_tokens(folder / "train.parquet", recipe.tokens + recipe.buffer_tokens, 0)
    evaluation = table_of_tokens(folder / "evaluation.parquet", recipe.held_out_tokens, 1)
    documents = list(read_documents(tokens))
    layers = list(range(LAYERS))

    def ours() -> Any:
        residuals = TokenResiduals(load_base_model(lm), layers, recipe, BUDGET)
        return train(
            lambda position: residuals.training(tokens, position),
            lambda first: make_trainer(recipe, layers, first, 0),
            recipe,
            seed=0,
        )

    def forward_alone() -> None:
        for _ in TokenResiduals(load_base_model(lm), layers, recipe, BUDGET).training(tokens, Position()):
            pass

    ratios: list[float] = []
    times: list[float] = []
    bounds: list[float] = []
    for _ in range(repeats):
        their_time, theirs = seconds(lambda: by_saelens(lm, documents, recipe))
        our_time, mine = seconds(ours)
        forward, _ = seconds(forward_alone)
        ratios.append(their_time / our_time)
        times.append(our_time)
        bounds.append(forward / our_time)
    residuals = TokenResiduals(load_base_model(lm), layers, recipe, BUDGET)
    meters = [(layer, mine.meter(layer)) for layer in layers]
    meters += [(layer, DenseQualityMeter(theirs[layer])) for layer in layers]
    figures = measure_quality(residuals.held_out(evaluation), layers, meters)
    fvu = [sum(figure.fvu for figure in part) / LAYERS for part in (figures[:LAYERS], figures[LAYERS:])]
    name = f"train SAEs: {LAYERS} layers, one forward, k rows; plain = SAELens layer after layer"
    spread = f"{min(ratios):.1f} to {max(ratios):.1f}"
    print(f"{name:70} {statistics.median(ratios):5.1f} x  ({spread}; ours {statistics.median(times):.2f} s)")
    rate = recipe.tokens * LAYERS / statistics.median(times)
    print(f"  {rate:,.0f} tokens x layers / s; FVU ours {fvu[0]:.4f}, SAELens {fvu[1]:.4f}; processor time")
    print(f"  the forward is {100 * statistics.median(bounds):.0f} % of ours, SAE steps and buffer are the rest")
    print_parts(recipe)
    assert abs(fvu[0] / fvu[1] - 1) < TOLERANCE, fvu


def print_parts(recipe: Recipe, steps: int = 10) -> None:
    """What an SAE's step on one layer is made of, as in `train`."""
    first = unit_norm(torch.randn(1, recipe.batch_tokens, WIDTH))
    trainer: Any = make_trainer(recipe, [0], first, 0)
    sae = trainer.saes[0]
    whole, _ = seconds(lambda: [trainer.step(first) for _ in range(steps)])
    with torch.no_grad():
        matmul, z = seconds(lambda: [first[0] @ sae.W_enc for _ in range(steps)][-1])
        topk, _ = seconds(lambda: [strongest(z, recipe.k) for _ in range(steps)])
    rest = whole - matmul - topk
    print(
        f"  of an SAE's step ({1000 * whole / steps:.1f} ms a layer): encoder product {100 * matmul / whole:.0f} %,"
        f" top-k selection {100 * topk / whole:.0f} %, decoder, gradients and Adam {100 * rest / whole:.0f} %"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--tokens", type=int, default=RECIPE.tokens)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        bench_sae_training(Path(folder), RECIPE._replace(tokens=arguments.tokens), arguments.repeats)


if __name__ == "__main__":
    main()
