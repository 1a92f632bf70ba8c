"""Parts that score answers: plainly, and steered."""

from typing import Any

import torch

from gpu_bench.sizes import GAMMAS
from gpu_bench.world import Bench
from isogloss.scoring.continuations import score_continuations
from isogloss.scoring.lens import lens_of
from isogloss.scoring.sweep import Addition, steered_scores, steering_lens


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
    steered = steering_lens(model)
    lens = lens_of(model)
    ways = [Addition(layer, gamma * torch.randn(size.d_model)) for layer in size.probed for gamma in GAMMAS]
    ways = [way._replace(vector=way.vector.to(bench.device)) for way in ways]
    figures: dict[str, Any] = {"ways": len(ways)}
    for name, choices in (("letters", letters), ("texts", [eight[:4] for eight in texts])):

        def run(choices: Any = choices) -> None:
            steered_scores(steered, prompts, choices, ways, token_budget=size.budget, show_progress=False)

        def unsteered(choices: Any = choices) -> None:
            score_continuations(
                lens, prompts, choices, layers=[size.layers - 1], token_budget=size.budget, show_progress=False
            )

        seconds, plain = bench.timed(run, unsteered)
        figures |= {f"{name}_questions_per_s": size.steered / seconds, f"{name}_time_to_unsteered": seconds / plain}
    return figures
