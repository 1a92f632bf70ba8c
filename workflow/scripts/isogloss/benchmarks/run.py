"""The `benchmark` stage: one model, with or without an adapter, on a block of tasks in one language."""

import logging
from array import array
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import datasets
import pyarrow as pa
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.evaluator import evaluate
from torch import nn
from transformers import PreTrainedTokenizerBase

from isogloss.benchmarks.tasks import FILES, BenchmarkTask, lm_eval_task, okapi_task
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.models.loading import context_length, load_causal_model, load_tokenizer
from isogloss.models.path import kernels_of
from isogloss.models.tokenization import prompt_ids
from isogloss.scoring.continuations import score_continuations
from isogloss.scoring.lens import lens_of
from isogloss.sources.lm_eval_tasks import Part
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
    languages: Mapping[str, Sequence[str]],
    shots: Mapping[str, int],
    questions: Mapping[str, int | None],
    compute: Compute,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write, by language, a row per question with each choice's log-likelihood (paper A, sec. 2.3 and app. B.2).

    `data` maps each task of the block to its folder, `languages` to those that have it (a language is asked the tasks
    that it has), `shots` to the examples in its prompt, `questions` to the number of questions, the first by a hash of
    their ids (`first_by_hash`; None: all). Questions of Okapi's tasks are those that all its languages have, of
    others all that can be asked. acc and acc_norm (log-likelihood by the choice's characters) are lm-eval's. The
    metadata say by task whether all languages have the same questions (`parallel`), and count the ids dropped, the
    prompts that were too long, and the questions asked whose text lm-eval's processing altered.

    Raises `IsoglossError` for bad questions (`okapi_task`, `lm_eval_task`) and as `load_causal_model`.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    model = None
    for lang, output in outputs.items():
        tasks: dict[str, BenchmarkTask] = {}
        for name, folder in data.items():
            if lang not in languages[name]:
                continue
            if name in FILES:
                tasks[name] = okapi_task(name, folder, lang, languages[name], shots=shots[name], seed=seed)
            else:
                tasks[name] = lm_eval_task(name, folder, lang, shots=shots[name], seed=seed)
        model = model or SharedPromptLM(
            load_causal_model(lm, adapter=adapter, dtype=getattr(torch, compute.dtype), kernels=compute.kernels),
            load_tokenizer(lm),
            token_budget=compute.token_budget,
        )
        _ask(model, tasks, shots, questions, output, {**metadata, **kernels_of(model.lens.model), "lang": lang})


def _ask(
    model: "SharedPromptLM",
    tasks: Mapping[str, BenchmarkTask],
    shots: Mapping[str, int],
    questions: Mapping[str, int | None],
    output: str,
    metadata: Mapping[str, Any],
) -> None:
    """Ask the tasks in one language and write the answers."""
    model.truncated.clear()
    chosen = {name: _chosen(made, questions[name]) for name, made in tasks.items()}
    asked: Any = {part.task.task_name: part.task for parts in chosen.values() for part, _ in parts}
    result: Any = evaluate(
        model,
        {"tasks": asked, "groups": {}, "group_map": {}},
        samples={part.task.task_name: positions for parts in chosen.values() for part, positions in parts},
        bootstrap_iters=0,
        log_samples=True,
    )
    samples = {
        name: [(part, sample) for part, _ in parts for sample in result["samples"][part.task.task_name]]
        for name, parts in chosen.items()
    }
    truncated = {
        name: sum(any(context in model.truncated for context, _ in sample["arguments"]) for _, sample in pairs)
        for name, pairs in samples.items()
    }
    for name, count in truncated.items():
        if count:
            logger.warning("%s: %d of %d prompts cut to the model's context", name, count, len(samples[name]))
    more = {
        "dropped": {name: made.dropped for name, made in tasks.items()},
        "truncated": truncated,
        "altered": {
            name: sum(part.questions[at] in tasks[name].altered for part, positions in parts for at in positions)
            for name, parts in chosen.items()
        },
        "derived_from": {name: made.derived_from for name, made in tasks.items()},
        "parallel": {name: made.parallel for name, made in tasks.items()},
    }
    with TableWriter(output, SCHEMA, {**metadata, **more}) as writer:
        for name, pairs in samples.items():
            rows = [_row(name, shots[name], part, sample) for part, sample in pairs]
            rows.sort(key=lambda row: row["question"])
            writer.write(pa.Table.from_pylist(rows, SCHEMA))


def _chosen(made: BenchmarkTask, count: int | None) -> list[tuple[Part, list[int]]]:
    """Which documents of each part are asked, by position; parts of which none is are left out."""
    every = [
        (number, at)
        for number, part in enumerate(made.parts)
        for at in range(len(part.questions))
        if at not in part.left_out
    ]
    positions = first_by_hash([made.parts[number].questions[at] for number, at in every], count)
    chosen = groupby((every[position] for position in positions), key=itemgetter(0))
    return [(made.parts[number], [at for _, at in own]) for number, own in chosen]


def _row(name: str, shots: int, part: Part, sample: Mapping[str, Any]) -> dict[str, Any]:
    choices = part.task.doc_to_choice(sample["doc"])
    # Where each choice has a context of its own, what follows is the target and the text the answer's position.
    target: Any = part.task.doc_to_text(sample["doc"]) if part.task.multiple_input else sample["target"]
    target = target[0] if isinstance(target, list) else target  # of several right answers the first
    return {
        "task": name,
        "question": part.questions[sample["doc_id"]],
        "shots": shots,
        # a position, or for MMLU the letter
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
    tokenizer puts it there by itself (Gemma, Llama), else with its first word (Qwen, GPT-NeoX). There are two
    differences. A prompt that does not fit the model's context is cut on the left as there, but for all its
    choices alike, and keeps its BOS; and what spells a special token is text (`models.tokenization`).
    """

    def __init__(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, *, token_budget: int) -> None:
        super().__init__()
        self.lens = lens_of(model)
        self.tokenizer: Any = tokenizer
        self.token_budget = token_budget
        self.max_length = context_length(model)
        self.truncated: set[str] = set()  # prompts that were too long
        # A prompt comes back with each of its choices.
        self._encode = lru_cache(maxsize=2)(partial(prompt_ids, tokenizer))

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
            texts = [str(request.arguments[1]) for request in group]
            pairs = [self._encode_pair(context, text) if context else self._after_nothing(text) for text in texts]
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

    def _after_nothing(self, continuation: str) -> tuple[list[int], list[int]]:
        """A continuation of the empty prompt, as lm-eval puts it: after BOS, or the end-of-text token without one."""
        ids, first = self.tok_encode(continuation, add_special_tokens=False), self.prefix_token_id
        return ([first], ids) if ids[0] != first else (ids[:1], ids[1:])

    @property
    def prefix_token_id(self) -> int:
        """What an empty prompt is in `HFLM`."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else bos

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
