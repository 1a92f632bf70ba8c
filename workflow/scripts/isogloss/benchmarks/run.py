"""The `benchmark` stage: one model, with or without an adapter, on a block of tasks in one language."""

import logging
from array import array
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

import datasets
import pyarrow as pa
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.evaluator import evaluate
from torch import nn
from transformers import PreTrainedTokenizerBase

from isogloss.benchmarks.tasks import OkapiTask, okapi_task
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.models.loading import context_length, load_causal_model, load_tokenizer
from isogloss.scoring.continuations import score_continuations
from isogloss.scoring.lens import lens_of
from isogloss.sources.okapi import first_by_hash
from isogloss.tables import TableWriter

logger = logging.getLogger(__name__)

SCHEMA = pa.schema(
    {
        "task": pa.string(),
        "question": pa.string(),
        "shots": pa.int32(),
        "answer": pa.int32(),
        "log_likelihoods": pa.list_(pa.float64()),
        "choice_characters": pa.list_(pa.int32()),
        "acc": pa.bool_(),
        "acc_norm": pa.bool_(),
    }
)


def benchmark(
    *,
    lm: str,
    adapter: str | None,
    data: Mapping[str, str],
    outputs: Mapping[str, str],
    common_languages: Sequence[str],
    shots: Mapping[str, int],
    questions: Mapping[str, int | None],
    compute: Compute,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write, by language, a row per question with each choice's log-likelihood (paper A, sec. 2.3 and app. B.2).

    `data` maps each task of the block (arc, hellaswag, mmlu) to its folder, `shots` to the examples in
    its prompt, `questions` to the number of questions, the first by a hash of their ids (`first_by_hash`;
    None: all). Questions are those that all `common_languages` have. acc and acc_norm (log-likelihood
    by the choice's characters) are lm-eval's. The metadata count by task the ids dropped, the prompts
    that were too long, and the questions asked whose text lm-eval's processing altered.

    Raises `IsoglossError` for bad questions (`common_questions`, `okapi_task`) and as `load_causal_model`.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    model = None
    for lang, output in outputs.items():
        tasks = {
            name: okapi_task(name, folder, lang, common_languages, shots=shots[name], seed=seed)
            for name, folder in data.items()
        }
        model = model or SharedPromptLM(
            load_causal_model(lm, adapter=adapter, dtype=getattr(torch, compute.dtype)),
            load_tokenizer(lm),
            token_budget=compute.token_budget,
        )
        _ask(model, tasks, shots, questions, output, {**metadata, "lang": lang})


def _ask(
    model: "SharedPromptLM",
    tasks: Mapping[str, OkapiTask],
    shots: Mapping[str, int],
    questions: Mapping[str, int | None],
    output: str,
    metadata: Mapping[str, Any],
) -> None:
    """Ask the tasks in one language and write the answers."""
    model.truncated.clear()
    chosen = {made.task.task_name: first_by_hash(made.questions.ids, questions[name]) for name, made in tasks.items()}
    result: Any = evaluate(
        model,
        {"tasks": {made.task.task_name: made.task for made in tasks.values()}, "groups": {}, "group_map": {}},
        samples=chosen,
        bootstrap_iters=0,
        log_samples=True,
    )
    samples = {name: result["samples"][made.task.task_name] for name, made in tasks.items()}
    truncated = {
        name: sum(sample["arguments"][0][0] in model.truncated for sample in part) for name, part in samples.items()
    }
    for name, count in truncated.items():
        if count:
            logger.warning("%s: %d of %d prompts cut to the model's context", name, count, len(samples[name]))
    more = {
        "dropped": {name: made.dropped for name, made in tasks.items()},
        "truncated": truncated,
        "altered": {
            name: sum(made.questions.ids[at] in made.altered for at in chosen[made.task.task_name])
            for name, made in tasks.items()
        },
        "derived_from": {name: made.derived_from for name, made in tasks.items()},
    }
    with TableWriter(output, SCHEMA, {**metadata, **more}) as writer:
        for name, part in samples.items():
            rows = [_row(name, shots[name], tasks[name], sample) for sample in part]
            rows.sort(key=lambda row: row["question"])
            writer.write(pa.Table.from_pylist(rows, SCHEMA))


def _row(name: str, shots: int, made: OkapiTask, sample: Mapping[str, Any]) -> dict[str, Any]:
    choices = made.task.doc_to_choice(sample["doc"])
    target = sample["target"]  # a position, or for MMLU the letter
    return {
        "task": name,
        "question": made.questions.ids[sample["doc_id"]],
        "shots": shots,
        "answer": target if isinstance(target, int) else choices.index(target),
        "log_likelihoods": [log_likelihood for log_likelihood, _ in sample["filtered_resps"]],
        "choice_characters": [len(choice) for choice in choices],
        "acc": bool(sample["acc"]),
        # lm-eval has no acc_norm for MMLU, whose choices are letters: dividing by their length of 1 changes nothing
        "acc_norm": bool(sample.get("acc_norm", sample["acc"])),
    }


class SharedPromptLM(TemplateLM):
    """A causal LM as lm-eval sees it, all choices of a prompt scored together.

    Equal to lm-eval's `HFLM` with its defaults up to float tolerance: a prompt starts with BOS if the
    tokenizer puts it there by itself (Gemma, Llama), else with its first word (Qwen, GPT-NeoX). The one
    difference is a prompt that does not fit the model's context: it is cut on the left as there, but for
    all its choices alike, and keeps its BOS.
    """

    def __init__(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, *, token_budget: int) -> None:
        super().__init__()
        self.lens = lens_of(model)
        self.tokenizer: Any = tokenizer
        self.token_budget = token_budget
        self.max_length = context_length(model)
        self.truncated: set[str] = set()  # prompts that were too long
        # A prompt comes back with each of its choices.
        self._encode = lru_cache(maxsize=2)(self.tokenizer.encode)

    @property
    def eot_token_id(self) -> int:
        """The end-of-text token, lm-eval's fallback prefix."""
        return self.tokenizer.eos_token_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids of `string`, with the special tokens that the tokenizer adds unless that is False."""
        ids: list[int] = self._encode(string, add_special_tokens=add_special_tokens is not False)
        return ids

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """The summed log-probability of each request's continuation, and whether it is the greedy one."""
        prompts: list[array[int]] = []
        choices: list[list[array[int]]] = []
        for context, group in groupby(requests, key=lambda request: request.args[0]):
            pairs = [self._encode_pair(*request.args) for request in group]
            continuations = [array("i", continuation) for _, continuation in pairs]
            prompts.append(array("i", self._fitted(context, pairs[0][0], max(map(len, continuations)))))
            choices.append(continuations)
        last = len(self.lens.decoder.layers) - 1
        scores = score_continuations(
            self.lens,
            prompts,
            choices,
            layers=[last],
            token_budget=self.token_budget,
            show_progress=not disable_tqdm,
        )
        return [
            pair
            for score in scores
            for pair in zip(score.log_likelihoods[0].tolist(), score.greedy[0].tolist(), strict=True)
        ]

    def _fitted(self, context: str, prompt: list[int], room: int) -> list[int]:
        """`prompt` cut on the left, after BOS if any, so that `room` tokens more fit (the last is only predicted)."""
        excess = len(prompt) + room - (self.max_length + 1)
        if excess <= 0:
            return prompt
        if excess >= len(prompt):
            raise IsoglossError(
                f"a choice of {room} tokens does not fit the model's context of {self.max_length};"
                f" its question begins {context[:60]!r}"
            )
        self.truncated.add(context)
        kept = prompt[:1] if prompt[0] == self.tokenizer.bos_token_id else []
        return [*kept, *prompt[excess + len(kept) :]]

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> Any:
        raise NotImplementedError("score_continuations takes whole questions, not single continuations")

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
        """Not needed by multiple-choice tasks."""
        raise NotImplementedError

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> Any:
        """Not needed by multiple-choice tasks."""
        raise NotImplementedError
