"""Two engines that run an encoder-decoder that translates: CTranslate2 and transformers.

CTranslate2 is several times faster on a CPU, most of all with int8 weights (tests/bench_translation.py),
and transformers is the reference. Greedy decoding in float32 gives the same tokens with both. Beam search may differ
at a text's tail, where the two normalise lengths and stop by rules of their own, so the engine is a setting that
tables record. For a study of paper A's size take `ctranslate2` with `int8`, which CPUs and GPUs have, or `float16` if
all translation jobs run on GPUs.
"""

import json
import logging
from collections import deque
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from isogloss.errors import IsoglossError
from isogloss.models.batching import Batch, each_batch, make_batches
from isogloss.models.encoder_decoder import load_encoder_decoder
from isogloss.models.folder import brief
from isogloss.models.loading import best_device

logger = logging.getLogger(__name__)

_BATCH = {"cpu": 1024, "cuda": 16384}  # source tokens of a batch, padding included


@runtime_checkable
class Engine(Protocol):
    """A way to run a translation model."""

    version: str

    def generate(
        self,
        sources: Sequence[Sequence[int]],
        limits: Sequence[int],
        advance: Callable[[int], object],
        first: int | None = None,
    ) -> list[list[int]]:
        """The best output of each source (ids, </s> last), in order, as ids without </s>.

        With `first`, a language's token, outputs begin with that by force; it is no part of what comes
        back. An output stops at its limit or later, when the longest limit of its batch is reached.
        `advance` gets how many sources are done.
        """
        ...


class CTranslate2Engine:
    """The converted model in `folder`/ctranslate2, on the GPU if there is one.

    On a CPU, whole batches go side by side, one a thread (torch's number of threads): that is faster
    than several threads a batch, and the thread count changes no output.
    """

    def __init__(self, folder: Path, compute_type: str, beam_size: int) -> None:
        import ctranslate2

        converted = folder / "ctranslate2"
        if not (converted / "model.bin").is_file():
            raise IsoglossError(
                f"{converted}: no model.bin there; fetch the translator again with translation.engine ctranslate2"
            )
        self._device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        supported = sorted(ctranslate2.get_supported_compute_types(self._device))
        if compute_type not in supported:
            raise IsoglossError(
                f"translation.compute_type {compute_type}: CTranslate2 has it not on this {self._device};"
                f" take one of {', '.join(supported)}"
            )
        self.version = version("ctranslate2")
        self._beam_size = beam_size
        self._source = _vocabulary(converted, "source")
        self._names = _vocabulary(converted, "target")
        self._target = {token: number for number, token in enumerate(self._names)}
        threads = torch.get_num_threads() if self._device == "cpu" else 1
        self._ahead = 2 * threads  # batches in the queue: none waits, and progress is seen
        self._translator = ctranslate2.Translator(
            str(converted),
            device=self._device,
            compute_type=compute_type,
            inter_threads=threads,
            intra_threads=1,
        )

    def generate(
        self,
        sources: Sequence[Sequence[int]],
        limits: Sequence[int],
        advance: Callable[[int], object],
        first: int | None = None,
    ) -> list[list[int]]:
        """As `Engine.generate`. A batch that the GPU's memory cannot hold is tried again in halves."""
        outputs: list[list[int]] = [[] for _ in sources]
        left, budget = list(range(len(sources))), _BATCH[self._device]
        while left:
            batches = [
                [left[row] for row in batch.rows]
                for batch in make_batches([sources[row] for row in left], token_budget=budget)
            ]
            left = []
            pending: deque[tuple[list[int], Any]] = deque()
            while batches or pending:
                while batches and len(pending) < self._ahead:
                    rows = batches.pop(0)
                    pending.append((rows, self._start(sources, limits, rows, first)))
                rows, results = pending.popleft()
                try:
                    for row, result in zip(rows, results, strict=True):
                        tokens = result.result().hypotheses[0][first is not None :]
                        outputs[row] = [self._target[token] for token in tokens]
                except RuntimeError as error:
                    if "out of memory" not in str(error).lower():
                        raise
                    if len(rows) == 1:
                        raise IsoglossError(
                            f"out of GPU memory on a single text of {len(sources[rows[0]])} tokens; take a GPU with"
                            " more memory or a lower translation.beam_size"
                        ) from error
                    left += rows
                else:
                    advance(len(rows))
            if left:
                budget //= 2
                logger.warning("out of GPU memory: going on with %d tokens a batch", budget)
        return outputs

    def _start(
        self, sources: Sequence[Sequence[int]], limits: Sequence[int], rows: Sequence[int], first: int | None
    ) -> Any:
        return self._translator.translate_batch(
            [[self._source[number] for number in sources[row]] for row in rows],
            target_prefix=None if first is None else [[self._names[first]]] * len(rows),
            asynchronous=True,
            beam_size=self._beam_size,
            max_input_length=0,
            max_decoding_length=max(limits[row] for row in rows) + (first is not None),
        )


def _vocabulary(converted: Path, side: str) -> list[str]:
    """A converted model's tokens by their ids, as the converter wrote them; its two sides may share one file."""
    own, shared = converted / f"{side}_vocabulary.json", converted / "shared_vocabulary.json"
    return json.loads((own if own.exists() else shared).read_text(encoding="utf-8"))


class TransformersEngine:
    """The model in `folder` by transformers' own `generate`, on the GPU if there is one."""

    def __init__(self, folder: Path, compute_type: str, beam_size: int) -> None:
        if compute_type not in ("float32", "bfloat16", "float16"):
            raise IsoglossError(
                f"translation.compute_type {compute_type} needs translation.engine ctranslate2; transformers has"
                " float32, bfloat16 and float16"
            )
        self.version = version("transformers")
        self._folder = folder
        self._beam_size = beam_size
        self._device = best_device()
        model = load_encoder_decoder(folder, where=str(folder), dtype=getattr(torch, compute_type))
        self._pad, self._end = int(model.config.pad_token_id), int(model.config.eos_token_id)
        settings = model.generation_config
        settings.max_length = None  # the limit is given with each batch,
        settings.forced_eos_token_id = None  # and what reaches it must not look as if it had ended
        self._model = model.to(self._device).eval()

    @torch.no_grad()
    def generate(
        self,
        sources: Sequence[Sequence[int]],
        limits: Sequence[int],
        advance: Callable[[int], object],
        first: int | None = None,
    ) -> list[list[int]]:
        """As `Engine.generate`. A batch that the GPU's memory cannot hold is tried again in halves."""
        outputs: list[list[int]] = [[] for _ in sources]
        given = 1 + (first is not None)  # where decoding starts, and the language

        def work(batch: Batch) -> None:
            try:
                generated = self._model.generate(  # type: ignore[operator]
                    input_ids=batch.input_ids.to(self._device),
                    attention_mask=batch.attention_mask.to(self._device),
                    do_sample=False,
                    num_beams=self._beam_size,
                    forced_bos_token_id=first,
                    max_new_tokens=max(limits[row] for row in batch.rows) + given - 1,
                )
            except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
                raise IsoglossError(
                    f"{self._folder}: transformers cannot generate with its config.json and generation_config.json"
                    f" ({brief(error)}); fetch the translator again"
                ) from None
            for row, ids in zip(batch.rows, generated[:, given:].tolist(), strict=True):
                outputs[row] = ids[: ids.index(self._end)] if self._end in ids else ids
            advance(len(batch.rows))

        each_batch(sources, work, token_budget=_BATCH[self._device.type], pad_id=self._pad)
        return outputs


ENGINES: dict[str, Callable[[Path, str, int], Engine]] = {
    "ctranslate2": CTranslate2Engine,
    "transformers": TransformersEngine,
}
"""Engines by their name in the config."""
