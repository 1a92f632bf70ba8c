"""What a model says to a question while a steering vector is on (paper B leaves it open)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from isogloss.models.batching import Batch, each_batch
from isogloss.models.decoding import Step, decode_greedily, first_steps, stopping_tokens
from isogloss.models.hooks import changed_after
from isogloss.sources.parallel_questions import ParallelQuestion
from isogloss.text.translation_score import chrf


class GeneratedAnswer(NamedTuple):
    """A row of the table of generated answers."""

    question: str
    gamma: float
    text: str
    native_chrf: float  # 0 to 100
    reference_chrf: float


def write_answers(path: str, answers: Iterator[GeneratedAnswer], metadata: Mapping[str, Any]) -> None:
    """Write the table of generated answers."""
    import pyarrow as pa

    from isogloss.tables import TableWriter

    numbers = dict.fromkeys(["gamma", "native_chrf", "reference_chrf"], pa.float64())
    schema = pa.schema({name: numbers.get(name, pa.string()) for name in GeneratedAnswer._fields})
    with TableWriter(path, schema, metadata) as writer:
        writer.write(pa.Table.from_pylist([answer._asdict() for answer in answers], schema=schema))


def generated_answers(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    questions: Sequence[tuple[ParallelQuestion, ParallelQuestion]],
    vector: Float[Tensor, " d_model"],
    *,
    layer: int,
    gammas: Sequence[float],
    new_tokens: int,
    token_budget: int,
) -> Iterator[GeneratedAnswer]:
    """What the model says to each question for each γ, and how near it is to the right answer's text.

    `questions` are in the prompts' language and in the reference's; chrF is of one text against the right choice's.
    """
    stops = stopping_tokens(tokenizer)
    for gamma in gammas:
        continued = continue_steered(
            model,
            prompts,
            gamma * vector,
            layer=layer,
            stops=stops,
            new_tokens=new_tokens,
            token_budget=token_budget,
        )
        for ids, pair in zip(continued, questions, strict=True):
            text = str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
            native, reference = (chrf([text], [question.choices[question.answer]]) for question in pair)
            yield GeneratedAnswer(pair[0].question, gamma, text, native, reference)


@torch.inference_mode()
def continue_steered(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    addition: Float[Tensor, " d_model"],
    *,
    layer: int,
    stops: Bool[Tensor, " vocabulary"],
    new_tokens: int,
    token_budget: int,
) -> list[list[int]]:
    """What `model` says after each of `prompts` (token ids), `addition` on their last token after `layer`.

    As `decode_greedily`. Generated tokens are not steered: they see the steered one in the cache.
    """
    texts: list[list[int]] = [[] for _ in prompts]
    device = next(model.parameters()).device
    added = addition.to(device, torch.float32)

    def change(residual: Float[Tensor, "batch pos d_model"], after: int) -> Tensor:
        changed = residual.clone()
        changed[:, -1 - after] = (residual[:, -1 - after].float() + added).to(residual.dtype)
        return changed

    def during(step: Step) -> AbstractContextManager[None]:
        if step.number and step.cached:
            return nullcontext()
        return changed_after(model, layer, partial(change, after=step.number))

    def work(batch: Batch) -> None:
        for rows, start in first_steps(prompts, batch.rows, models=[model]):
            continued = decode_greedily(model, start, stops=stops, new_tokens=new_tokens, during=during)
            for row, text in zip(rows, continued, strict=True):
                texts[row] = text

    each_batch(prompts, work, token_budget=token_budget)
    return texts
