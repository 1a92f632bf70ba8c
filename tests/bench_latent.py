"""Scoring answers at hidden layers against the plain way, as ratios measured in one run, with equal results asserted.

`PYTHONPATH=workflow/scripts:tests OMP_NUM_THREADS=1 python tests/bench_latent.py` (in `make bench`). Plain is a full
forward for each choice with the softmax over the whole vocabulary at each probed layer, and stock lm-eval for the
answers' texts at the last layer. Pairs run in turn; the median of the ratios is printed with its range.
"""

import argparse
import logging
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from torch import Tensor, nn
from torch.testing import assert_close

from bench import REPEATS, compare, texts
from isogloss.latent.prompts import encode_question
from isogloss.models.loading import load_causal_model, load_tokenizer
from isogloss.scoring.continuations import score_continuations
from isogloss.scoring.lens import Lens, lens_of
from standins import tiny_gemma2

LAYERS, WIDTH, VOCABULARY = 8, 256, 32_000
PROBED = [1, 3, 5, 7]
LANGUAGES, CHOICES = 2, 4  # answers in the prompt's language and in the reference language
BUDGET = 4096


class Questions(NamedTuple):
    """Prompts and their answers, as texts and as token ids."""

    prompts: list[str]
    answers: list[list[str]]  # the native ones first
    prompt_ids: list[list[int]]
    answer_ids: list[list[list[int]]]


def make_questions(tokenizer: Any, number: int) -> Questions:
    """Prompts of about 100 to 200 tokens, eight answers of 2 to 14 each."""
    prompts = [" ".join(part) for part in zip(*(texts(number, seed, 24) for seed in range(5)), strict=True)]
    answers = [[f" {text}" for text in texts(LANGUAGES * CHOICES, seed, 5)] for seed in range(number)]
    encoded = [encode_question(tokenizer, *pair) for pair in zip(prompts, answers, strict=True)]
    return Questions(prompts, answers, [prompt for prompt, _ in encoded], [ids for _, ids in encoded])


def scores(lens: Lens, questions: Questions, layers: list[int], choices: int) -> Tensor:
    """isogloss: [questions, layers, choices]."""
    scored = score_continuations(
        lens,
        questions.prompt_ids,
        [ids[:choices] for ids in questions.answer_ids],
        layers=layers,
        token_budget=BUDGET,
        show_progress=False,
    )
    return torch.stack([one.log_likelihoods for one in scored]).float()


def bench_layers(model: Any, questions: Questions) -> None:
    """All probed layers and both languages' answers."""
    lens = lens_of(model)

    @torch.inference_mode()
    def plain() -> Tensor:
        found = torch.empty(len(questions.prompts), len(PROBED), LANGUAGES * CHOICES)
        for question, (prompt, answers) in enumerate(zip(questions.prompt_ids, questions.answer_ids, strict=True)):
            for choice, answer in enumerate(answers):
                found[question, :, choice] = plain_scores(model, prompt, answer)
        return found

    compare(
        f"latent: {len(PROBED)} layers, {LANGUAGES * CHOICES} answers; plain = forward a choice, softmax a layer",
        plain,
        lambda: scores(lens, questions, PROBED, LANGUAGES * CHOICES),
        lambda a, b: assert_close(a, b, atol=1e-4, rtol=1e-5),
    )


def plain_scores(model: Any, prompt: list[int], answer: list[int]) -> Tensor:
    """The log-likelihood of `answer` at each probed layer, by a forward of its own."""
    kept: list[Tensor] = []
    hooks = [
        model.model.layers[layer].register_forward_hook(lambda _, __, output: kept.append(output)) for layer in PROBED
    ]
    model.model(input_ids=torch.tensor([prompt + answer]), use_cache=False)
    for hook in hooks:
        hook.remove()
    cap = model.config.final_logit_softcapping
    positions, words = torch.arange(len(prompt) - 1, len(prompt) + len(answer) - 1), torch.tensor(answer)
    logits = (cap * (model.lm_head(model.model.norm(residual[0])) / cap).tanh() for residual in kept)
    return torch.stack([layer_logits.log_softmax(-1)[positions, words].sum() for layer_logits in logits])


def bench_answers(model: nn.Module, tokenizer: Any, questions: Questions) -> None:
    """The answers' texts in one language, at the last layer."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    stock = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, add_bos_token=True)  # type: ignore[arg-type]
    lens = lens_of(model)

    def plain() -> Tensor:
        requests = [
            Instance("loglikelihood", {}, (prompt, answer), index)
            for prompt, answers in zip(questions.prompts, questions.answers, strict=True)
            for index, answer in enumerate(answers[:CHOICES])
        ]
        found = [value for value, _ in stock.loglikelihood(requests, disable_tqdm=True)]
        return torch.tensor(found).view(len(questions.prompts), 1, CHOICES)

    compare(
        f"latent: {CHOICES} answers' texts at the last layer; plain = stock lm-eval HFLM, batches of 8",
        plain,
        lambda: scores(lens, questions, [LAYERS - 1], CHOICES),
        lambda a, b: assert_close(a, b, atol=1e-4, rtol=1e-5),
    )


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        lm = tiny_gemma2(Path(folder, "lm"), layers=LAYERS, d_model=WIDTH, vocabulary=VOCABULARY)
        model, tokenizer = load_causal_model(lm), load_tokenizer(lm)
        questions = make_questions(tokenizer, arguments.questions)
        lengths = [len(ids) for ids in questions.prompt_ids]
        print(
            f"Gemma-2 stand-in: {LAYERS} layers of width {WIDTH}, {VOCABULARY:,} words; {len(lengths)} prompts of"
            f" {min(lengths)} to {max(lengths)} tokens; one thread; ratio of wall times, median of {REPEATS}"
        )
        bench_layers(model, questions)
        bench_answers(model, tokenizer, questions)


if __name__ == "__main__":
    main()
