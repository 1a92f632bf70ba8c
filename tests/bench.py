"""`make bench`: isogloss against the plain way, as ratios measured in one run, with equal results asserted.

Sizes are small enough for two CPU cores; ratios, not seconds, are what carries over. Each pair runs
in turn, `REPEATS` times; the median of the ratios is printed with its range.
"""

import argparse
import json
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import polars as pl
import torch
from torch.testing import assert_close

from isogloss.benchmarks.run import SharedPromptLM
from isogloss.benchmarks.tasks import okapi_task
from isogloss.config.measures import Compute
from isogloss.models.batching import Batch, collate, each_batch, encode_texts
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import load_base_model, load_causal_model, load_tokenizer
from isogloss.residuals.capture import capture
from isogloss.sae.autoencoder import load_encoder
from isogloss.sae.encode import encode
from isogloss.sae.own_feature import measure
from isogloss.tables import read_table, write_table
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


@torch.no_grad()
def bench_distinct_texts(lm: Path, folder: Path) -> None:
    """Processor time of whole `capture` and `encode` jobs, model loads and tables included, to the bare forward.

    Eight phrases of every layer have the same text, as most texts are of many features.
    """
    model, tokenizer = load_base_model(lm), load_tokenizer(lm)
    distinct = texts(2 * PHRASES, seed=1, longest=60)
    phrases = [(layer, feature, text) for layer in range(LAYERS) for feature, text in enumerate(distinct * 8)]
    frame = pl.DataFrame(phrases, schema={"layer": pl.Int32, "feature": pl.Int32, "text": pl.String}, orient="row")
    table = str(folder / "zh.parquet")
    write_table(
        table,
        frame.with_columns(
            phrase=pl.int_range(pl.len()),
            feature=pl.col("feature") % FEATURES,
            ids=pl.lit(None, pl.List(pl.Int32)),
            chrf=pl.lit(None, pl.Float32),
        ),
    )
    for layer in range(LAYERS):
        config = tiny_sae(folder / f"layer_{layer}", kind="jumprelu", d_model=WIDTH, features=FEATURES) / "cfg.json"
        config.write_text(config.read_text().replace("blocks.0.hook", f"blocks.{layer}.hook"))
    job = {"lm": str(lm), "adapter": None, "layers": range(LAYERS), "compute": Compute(token_budget=2048)}
    outputs = {name: {"zh": str(folder / f"{name}.parquet")} for name in ("capture", "encode")}
    ids = encode_texts(tokenizer, distinct)

    def bare() -> None:
        each_batch(ids, lambda b: visit_residuals(model, b, [LAYERS - 1], lambda *_: None), token_budget=2048)

    jobs = {
        "capture": lambda: capture(
            **job, translations={"zh": [table]}, outputs=outputs["capture"], feature_stride=1, metadata={}
        ),
        "encode": lambda: encode(
            **job, sae=str(folder), translations={"zh": table}, outputs=outputs["encode"], seed=0, metadata={}
        ),
    }
    for name, run in jobs.items():
        ratios = []
        for _ in range(REPEATS):
            times = [time.process_time()]
            for work in (bare, run):
                work()
                times.append(time.process_time())
            ratios.append((times[2] - times[1]) / (times[1] - times[0]))
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        label = f"{name}: {len(frame):,} phrases of {len(distinct)} texts; processor time to their bare forward"
        print(f"{label:70} {statistics.median(ratios):5.2f}  ({spread})")
    states = model(input_ids=torch.tensor([ids[0]]), output_hidden_states=True).hidden_states
    pooled = read_table(outputs["capture"]["zh"]).filter(phrase=8 * len(distinct), layer=1)["pooled"].to_list()
    assert_close(torch.tensor(pooled[0]), states[2][0, 1:].mean(dim=0), atol=1e-4, rtol=1e-4)
    found = read_table(outputs["encode"]["zh"]).filter(phrase=8 * len(distinct))["activation"].item()
    content = torch.ones(1, len(ids[0]), dtype=torch.bool)
    content[0, 0] = False
    first = torch.zeros(1, dtype=torch.long)
    expected = measure(load_encoder(folder / "layer_1"), states[2], content, first, first[:, None]).activation
    assert_close(found, expected.item(), atol=1e-4, rtol=1e-4)


class Shape(NamedTuple):
    """Words in a task's texts: as many as have the tokens of the English originals under Gemma's tokenizer.

    The stand-in's tokenizer needs about three tokens for a word.
    """

    task: str
    asked: tuple[int, int]  # fewest and most
    choice: tuple[int, int]
    questions: int  # that the bench asks


SHAPES = (Shape("arc", (3, 9), (1, 3), 24), Shape("hellaswag", (12, 28), (5, 12), 12))


def okapi_requests(folder: Path, shape: Shape) -> list[Any]:
    """lm-eval's requests for questions of random words with ten examples, through the project's own task."""
    rng = random.Random(0)
    draw = lambda span: " ".join(rng.choices(WORDS, k=rng.randint(*span)))  # noqa: E731
    for split in ("train", "test") if shape.task == "arc" else ("val",):
        rows: list[dict[str, Any]] = []
        for index in range(24):
            choices, answer = [draw(shape.choice) for _ in range(4)], rng.randrange(4)
            if shape.task == "arc":
                options = {f"option_{letter}": text for letter, text in zip("abcd", choices, strict=True)}
                row = {"id": f"{split}/{index}", "instruction": draw(shape.asked), **options, "answer": "ABCD"[answer]}
            else:
                context = {"ctx_a": draw(shape.asked), "ctx_b": "", "activity_label": "Money", "endings": choices}
                row = {"id": f"{split}/{index}", "ind": index, "source_id": "", **context, "label": str(answer)}
            rows.append(row)
        path = folder / "data" / "es" / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    task = okapi_task(shape.task, folder, "es", ["es"], shots=10, seed=0).parts[0].task
    task.build_all_requests(limit=shape.questions)
    return [(task, instance) for instance in task.instances]


def bench_multiple_choice(lm: Path, folder: Path, shape: Shape) -> None:
    """Prompt and choices in one forward, against lm-eval's own HFLM."""
    from lm_eval.models.huggingface import HFLM

    model, tokenizer = load_causal_model(lm), load_tokenizer(lm)
    stock = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=16)  # type: ignore[arg-type]
    ours = SharedPromptLM(model, tokenizer, token_budget=8192)
    made = okapi_requests(folder, shape)
    requests = [instance for _, instance in made]
    pairs = [ours._encode_pair(*request.args) for request in requests]

    def accuracies(found: list[tuple[float, bool]]) -> list[dict[str, float]]:
        return [
            made[first][0].process_results(requests[first].doc, found[first : first + 4])
            for first in range(0, len(requests), 4)
        ]

    def check(a: list[tuple[float, bool]], b: list[tuple[float, bool]]) -> None:
        assert len({request.doc_id for request in requests}) == len(requests) / 4
        assert_close(torch.tensor([value for value, _ in a]), torch.tensor([value for value, _ in b]))
        assert [greedy for _, greedy in a] == [greedy for _, greedy in b]
        assert accuracies(a) == accuracies(b)

    prompt, choice = (statistics.mean(len(pair[part]) for pair in pairs) for part in (0, 1))
    compare(
        f"{shape.task}: 10 shots, prompts of {prompt:.0f} tokens, choices of {choice:.0f}; plain = lm-eval's HFLM",
        lambda: stock.loglikelihood(requests, disable_tqdm=True),
        lambda: ours.loglikelihood(requests, disable_tqdm=True),
        check,
    )


def main() -> None:
    """Run all comparisons."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    for name in ("lm_eval", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        lm = tiny_gemma2(Path(folder, "lm"), layers=LAYERS, d_model=WIDTH)
        print(
            f"Gemma-2 stand-in: {LAYERS} layers of width {WIDTH}; one thread; ratio of wall times, median of {REPEATS}"
        )
        bench_encode(lm, Path(folder, "sae"))
        bench_distinct_texts(lm, Path(folder))
        wide = tiny_gemma2(Path(folder, "wide"), layers=4, d_model=512)
        config = json.loads((wide / "config.json").read_text())
        config |= {"max_position_embeddings": 8192, "sliding_window": 4096}  # Gemma 2's
        (wide / "config.json").write_text(json.dumps(config))
        print("Gemma-2 stand-in: 4 layers of width 512")
        for shape in SHAPES:
            bench_multiple_choice(wide, Path(folder, shape.task), shape)


if __name__ == "__main__":
    main()
