"""What a GPU does with the stages at Gemma-2-2B's true shape: random weights, bfloat16, generated texts.

    PYTHONPATH=workflow/scripts:tests python tests/bench_gpu.py OUT [--parts NAME ...] [--repeats 2] [--tiny]
    PYTHONPATH=BEFORE/workflow/scripts:tests python tests/bench_gpu.py OUT_BEFORE --parts capture encode

The stages are called as the workflow calls them, of whichever version of the package stands in PYTHONPATH; the model is
loaded once, so that peaks of `encode` to `steer` have it in them, and those of `score` and `steer` twice. A part writes
its figures to OUT/PART.json as soon as it is done and is left out where they are there already; one that fails (memory
runs out, say) is reported and the next goes on. Only `capture` and `encode` need Parquet. Times are medians, and ratios
are of one run; peaks are those of torch's allocator. `--tiny` goes through all parts on the CPU in seconds, at sizes
that say nothing.

Texts are of 4 to 36 words, 20 on average and a token each; of three phrases one has recorded token ids, and of ten
four share their text with others. A *bare* forward is one over the same distinct texts, each as deep as it is needed
at, in batches of the same budget, with nothing read; *linear* is the time of the layers' matrix products alone.
"""

import argparse
import gc
import json
import logging
import os
import random
import shutil
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerFast

from isogloss.disparity.alignment import LossSettings, Pair, accumulate_gradient, require_finite
from isogloss.models.adapter import save_adapter, with_lora
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import Batch, each_batch
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import best_device, load_base_model, load_causal_model
from isogloss.sae.autoencoder import load_encoder
from isogloss.sae.quality import measure_quality
from isogloss.sae.recipe import Recipe
from isogloss.sae.trainer import Chunk, make_trainer, train
from isogloss.scoring.continuations import score_continuations
from isogloss.scoring.lens import lens_of
from isogloss.scoring.sweep import Addition, steered_scores, steering_lens


class Size(NamedTuple):
    """What is measured."""

    layers: int = 26
    d_model: int = 2304
    d_mlp: int = 9216
    heads: int = 8
    key_value_heads: int = 4
    d_head: int = 256
    vocabulary: int = 256_000
    features: int = 16_384
    budget: int = 32_768  # tokens of a batch
    phrases: int = 800  # a layer
    strides: tuple[int, int] = (8, 100)  # of features in `capture`: for a wait that can be measured, and the study's
    prompt: int = 300
    questions: int = 128
    steered: int = 32  # questions asked in all ways of steering
    pairs: int = 16
    steps: int = 8
    sae_width: int = 2048  # of paper C's 1.8B model
    sae_features: int = 32_768
    sae_batch: int = 32_768
    dtype: str = "bfloat16"

    @property
    def probed(self) -> list[int]:
        """Paper B's layers."""
        return list(range(1, self.layers, 4))


TINY = Size(3, 32, 64, 2, 1, 16, 320, 64, 256, 12, (1, 2), 12, 3, 2, 2, 2, 16, 64, 128, "float32")
GAMMAS = [step / 2 for step in range(-6, 7) if step]  # 12; with seven layers 84 ways


def gemma2(size: Size) -> Gemma2Config:
    return Gemma2Config(
        vocab_size=size.vocabulary, hidden_size=size.d_model, intermediate_size=size.d_mlp,
        num_hidden_layers=size.layers, num_attention_heads=size.heads, num_key_value_heads=size.key_value_heads,
        head_dim=size.d_head, query_pre_attn_scalar=size.d_head, sliding_window=4096, max_position_embeddings=8192,
        pad_token_id=0, eos_token_id=1, bos_token_id=2,
    )  # fmt: skip


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


def answers(bench: Bench, questions: int) -> tuple[list[list[int]], list[list[list[int]]], list[list[list[int]]]]:
    """Prompts; four letters each; eight texts each (four choices in two languages), some nine tokens long."""
    prompts = [[2, *bench.ids(bench.size.prompt - 1)] for _ in range(questions)]
    letters = [[[token] for token in range(10, 14)] for _ in prompts]
    return prompts, letters, [[bench.ids(bench.rng.randint(5, 12)) for _ in range(8)] for _ in prompts]


def score(bench: Bench) -> dict[str, Any]:
    """Letters and texts at paper B's layers, against the prompts' bare forward."""
    size, model = bench.size, bench.causal
    prompts, letters, texts = answers(bench, size.questions)
    lens = lens_of(model)
    both = [[*four, *eight] for four, eight in zip(letters, texts, strict=True)]

    def run() -> None:
        score_continuations(lens, prompts, both, layers=size.probed, token_budget=size.budget, show_progress=False)

    seconds, bare = bench.timed(run, lambda: bench.bare(prompts))
    return {"questions_per_s": size.questions / seconds, "time_to_bare": seconds / bare}


def steer(bench: Bench) -> dict[str, Any]:
    """Steering in all ways against scoring the last layer unsteered: letters, and four texts."""
    size, model = bench.size, bench.causal
    prompts, letters, texts = answers(bench, size.steered)
    lens = steering_lens(model)
    ways = [Addition(layer, gamma * torch.randn(size.d_model)) for layer in size.probed for gamma in GAMMAS]
    ways = [way._replace(vector=way.vector.to(bench.device)) for way in ways]
    figures: dict[str, Any] = {"ways": len(ways)}
    for name, choices in (("letters", letters), ("texts", [eight[:4] for eight in texts])):

        def run(choices: Any = choices) -> None:
            steered_scores(lens, prompts, choices, ways, token_budget=size.budget, show_progress=False)

        def unsteered(choices: Any = choices) -> None:
            score_continuations(
                lens, prompts, choices, layers=[size.layers - 1], token_budget=size.budget, show_progress=False
            )

        seconds, plain = bench.timed(run, unsteered)
        figures |= {f"{name}_questions_per_s": size.steered / seconds, f"{name}_time_to_unsteered": seconds / plain}
    return figures


def align(bench: Bench) -> dict[str, Any]:
    """Steps of LoRA training at layer 20."""
    bench.free()
    size = bench.size
    layer = min(20, size.layers - 1)
    encoder = load_encoder(bench.sae / "layer_0").to(bench.device)
    model = load_causal_model(bench.lm, last_layer=layer, dtype=getattr(torch, size.dtype))
    model = with_lora(model, list(range(layer + 1)), "all", rank=8, alpha=16.0, dropout=0.0)
    matrices = [matrix for matrix in model.parameters() if matrix.requires_grad]
    optimiser = torch.optim.Adam(matrices, lr=1e-4)
    texts = [[2, *ids] for ids in bench.texts[: 2 * size.pairs]]
    pairs = [Pair(*texts[row : row + 2], row % size.features, 1.0) for row in range(0, len(texts), 2)]

    def steps() -> None:
        for step in range(size.steps):
            terms = accumulate_gradient(model, encoder, layer, pairs, LossSettings(), size.budget)
            require_finite(terms, LossSettings(), ["pair"] * len(pairs), f"step {step}")
            optimiser.step()
            optimiser.zero_grad()

    (seconds,) = bench.timed(steps)
    return {"steps_per_s": size.steps / seconds, "pairs": size.pairs, "layer": layer}


def sae_training(bench: Bench) -> dict[str, Any]:
    """Four TopK SAEs of paper C on drawn residuals, and their quality; the two peaks apart."""
    bench.free()
    size = bench.size
    recipe = Recipe(
        features=size.sae_features, k=min(32, size.sae_features // 2), tokens=8 * size.sae_batch,
        batch_tokens=size.sae_batch, buffer_tokens=2 * size.sae_batch, learning_rate=5e-4, warmup_steps=2,
        held_out_tokens=4 * size.sae_batch,
    )  # fmt: skip
    layers, dtype = [0, 1, 2, 3], getattr(torch, size.dtype)
    residuals = torch.randn(4, 4 * size.sae_batch, size.sae_width, device=bench.device, dtype=dtype)
    trainers: list[Any] = []

    def run() -> None:
        trainers.clear()
        chunks = [Chunk(residuals[:, : 2 * size.sae_batch], 1)] * 4
        trainers.append(train(lambda _: chunks, lambda first: make_trainer(recipe, layers, first, 0), recipe, seed=0))

    batch = torch.nn.functional.normalize(residuals[:, : size.sae_batch].float(), dim=-1)
    (seconds,) = bench.timed(run)
    (step,) = bench.timed(lambda: trainers[0].step(batch))
    peaks = [peak(bench.device)]
    (quality,) = bench.timed(
        lambda: measure_quality([residuals], layers, [(layer, trainers[0].meter(layer)) for layer in layers])
    )
    return {
        "token_layers_per_s": 4 * recipe.tokens / seconds,
        "step_token_layers_per_s": 4 * size.sae_batch / step,
        "training_peak_gb": peaks[0],
        "quality_peak_gb": peak(bench.device),
        "quality_s": quality,
        "residuals_given_gb": residuals.numel() * residuals.element_size() / 1e9,
    }


# What a table is printed of, dearest knowledge first.
PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "forward": forward,
    "encode": encode,
    "capture": capture,
    "score": score,
    "steer": steer,
    "align": align,
    "sae_training": sae_training,
}


def peak(device: torch.device) -> float:
    """Most memory that tensors took since the last call, in GB."""
    if device.type != "cuda":
        return 0.0
    most = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.reset_peak_memory_stats()
    return most


def run_part(name: str, bench: Bench, out: Path) -> None:
    """Measure one part and write its line, or what went wrong, which the next run tries again."""
    peak(bench.device)
    began = time.perf_counter()
    try:
        figures: dict[str, Any] = PARTS[name](bench)
        path = out / f"{name}.json"
    except Exception as error:  # what fails is shown, and the other parts still have their turn
        figures = {"failed": f"{type(error).__name__}: {str(error)[:500]}"}
        path = out / f"{name}.failed.json"
        traceback.print_exc()
        bench.free()
    figures |= {"peak_gb": peak(bench.device), "wall_s": time.perf_counter() - began}
    path.write_text(json.dumps(figures), encoding="utf-8")
    show(name, figures)


def show(name: str, figures: dict[str, Any]) -> None:
    """Print a part's line."""
    said = [
        f"{key} {value:,.3g}" if isinstance(value, float) and abs(value) < 1000 else
        f"{key} {value:,.0f}" if isinstance(value, float) else f"{key} {value}"
        for key, value in figures.items() if not isinstance(value, list)
    ]  # fmt: skip
    print(f"{name:14}{'; '.join(said)}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the parts that are asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--folder", type=Path, help="where model and SAEs are made, and kept for the next run")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    memory = Path("/dev/shm")  # 5 GB of weights are read from there in a second or two
    roomy = not options.tiny and memory.is_dir() and shutil.disk_usage(memory).free > 20e9
    with tempfile.TemporaryDirectory(dir=memory if roomy else None) as folder:
        kept = options.folder or Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        bench = Bench(TINY if options.tiny else Size(), kept, options.repeats)
        card = torch.cuda.get_device_name() if bench.device.type == "cuda" else "CPU"
        print(f"{card}, torch {torch.__version__}; {bench.size}", flush=True)
        for name in options.parts:
            done = options.out / f"{name}.json"
            if done.exists():
                show(name, json.loads(done.read_text(encoding="utf-8")))
            else:
                run_part(name, bench, options.out)


if __name__ == "__main__":
    os.environ["TQDM_DISABLE"] = "1"
    logging.getLogger("isogloss").setLevel(logging.ERROR)
    main()
