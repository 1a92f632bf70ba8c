"""`make bench`: a steering sweep against the unsteered scoring of the same questions, and a forward for each way.

A random model of Gemma 2's shape at paper B's layers (1, 5, .. 25 of 26), prompts of 100 to 200 tokens, longer than
the sliding window. Ratios of CPU times of alternating runs on one thread, equal results asserted.
"""

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.testing import assert_close
from transformers import Gemma2Config, Gemma2ForCausalLM

from isogloss.models.batching import collate
from isogloss.models.hooks import changed_after
from isogloss.scoring.continuations import score_continuations
from isogloss.scoring.sweep import Addition, steered_scores, steering_lens

REPEATS, QUESTIONS, BUDGET = 3, 6, 2048
DEPTH, WIDTH, VOCABULARY = 26, 192, 32_000
LAYERS = range(1, DEPTH, 4)
GAMMAS = [step / 2 for step in range(-6, 8) if step]  # 13, none of them 0
MEASURED = 13  # of the ways of steering, every so many is run as a forward of its own

CONFIG = Gemma2Config(
    vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=DEPTH,
    num_attention_heads=4, num_key_value_heads=2, head_dim=48, sliding_window=64, query_pre_attn_scalar=48,
    initializer_range=0.1, attn_implementation="eager",
)  # fmt: skip


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    return work(), time.process_time() - began


@torch.inference_mode()
def main() -> None:
    """Run and print."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = random.Random(0)
    model = Gemma2ForCausalLM(CONFIG).eval()
    lens = steering_lens(model)
    prompts = [[2, *rng.choices(range(3, VOCABULARY), k=rng.randint(99, 199))] for _ in range(QUESTIONS)]
    letters = [rng.sample(range(3, VOCABULARY), 4) for _ in prompts]
    # four choices in two languages
    texts = [[rng.choices(range(3, VOCABULARY), k=rng.randint(2, 8)) for _ in range(8)] for _ in prompts]
    vectors = {layer: 3 * torch.randn(WIDTH) for layer in LAYERS}
    ways = [Addition(layer, gamma * vectors[layer]) for layer in LAYERS for gamma in GAMMAS]

    def scoring() -> torch.Tensor:
        continuations = [[*choices, *([token] for token in four)] for choices, four in zip(texts, letters, strict=True)]
        found = score_continuations(
            lens, prompts, continuations, layers=list(LAYERS), token_budget=BUDGET, show_progress=False
        )
        return torch.stack([question.log_likelihoods[-1, 8:] for question in found]).float()

    def sweep(additions: list[Addition]) -> torch.Tensor:
        choices = [[[token] for token in four] for four in letters]
        return steered_scores(lens, prompts, choices, additions, token_budget=BUDGET, show_progress=False)

    def forwards(additions: list[Addition]) -> torch.Tensor:
        batch = collate(prompts)
        rows, last = torch.arange(QUESTIONS), batch.attention_mask.sum(dim=1) - 1
        found = []
        for addition in additions:

            def change(residual: torch.Tensor, addition: Addition = addition) -> torch.Tensor:
                residual[rows, last] += addition.vector
                return residual

            with changed_after(model, addition.layer, change):
                hidden = model.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
            logits = model.lm_head(hidden.last_hidden_state[rows, last]) / 30
            found.append((30 * logits.tanh()).log_softmax(dim=1).gather(1, torch.tensor(letters)))
        return torch.stack(found, dim=1)

    swept = sweep(ways)  # warms up
    assert_close(swept[:, 0], scoring(), atol=1e-4, rtol=1e-4)
    to_scoring, seconds = [], []
    for _ in range(REPEATS):
        _, unsteered = timed(scoring)
        _, steered = timed(lambda: sweep(ways))
        to_scoring.append(steered / unsteered)
        seconds.append(steered)
    few = ways[::MEASURED]
    plain, each = timed(lambda: forwards(few))
    assert_close(swept[:, 1::MEASURED], plain, atol=1e-3, rtol=1e-4)
    assert (swept[:, 1:] - swept[:, :1]).abs().max() > 0.1
    speed = each / len(few) * len(ways) / statistics.median(seconds)
    print(f"Gemma 2's shape: {DEPTH} layers of width {WIDTH}, {VOCABULARY} words; {QUESTIONS} questions; one thread")
    print(
        f"steering, letters, {len(LAYERS)} layers x {len(GAMMAS)} gammas: {statistics.median(to_scoring):.2f} x the"
        f" unsteered scoring ({min(to_scoring):.2f} to {max(to_scoring):.2f}; sweep {statistics.median(seconds):.2f} s)"
    )
    print(f"  a forward for each instead: {speed:.1f} x the sweep ({len(few)} of {len(ways)} measured)")


if __name__ == "__main__":
    main()
