"""What a model says to a question while a steering vector is on (paper B leaves it open)."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from isogloss.bilingual.generation import stopping_tokens
from isogloss.bilingual.injection import changed_after
from isogloss.bilingual.translation_score import score_translations
from isogloss.models.batching import Batch, each_batch
from isogloss.models.loading import context_length
from isogloss.sources.parallel_questions import ParallelQuestion


def generate_steered(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    questions: Sequence[tuple[ParallelQuestion, ParallelQuestion]],
    vector: Float[Tensor, " d_model"],
    *,
    layer: int,
    gammas: Sequence[float],
    new_tokens: int,
    languages: tuple[str, str],
    token_budget: int,
    output: str,
    metadata: Mapping[str, Any],
) -> None:
    """Write what the model says to each question for each γ, and how near it is to the right answer's text.

    `questions` are in the prompts' language and in the reference's, `languages` are these two; chrF (0 to 100) is
    sacrebleu's, of one text against the right choice's.
    """
    import pyarrow as pa

    from isogloss.tables import TableWriter

    schema = pa.schema(
        {
            "question": pa.string(),
            "gamma": pa.float64(),
            "text": pa.string(),
            "native_chrf": pa.float64(),
            "reference_chrf": pa.float64(),
        }
    )
    stops = stopping_tokens(tokenizer)
    with TableWriter(output, schema, {**metadata, "layer": layer, "new_tokens": new_tokens}) as writer:
        for gamma in gammas:
            said = continue_steered(
                model,
                prompts,
                gamma * vector,
                layer=layer,
                stops=stops,
                new_tokens=new_tokens,
                token_budget=token_budget,
            )
            texts = [str(tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in said]
            chrf = [
                [
                    score_translations([text], [its.choices[its.answer]], lang).chrf
                    for its, lang in zip(pair, languages, strict=True)
                ]
                for text, pair in zip(texts, questions, strict=True)
            ]
            writer.write(
                {
                    "question": [native.question for native, _ in questions],
                    "gamma": pa.array([gamma] * len(texts), pa.float64()),
                    "text": texts,
                    "native_chrf": [native for native, _ in chrf],
                    "reference_chrf": [reference for _, reference in chrf],
                }
            )


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

    The most probable token each time, up to and without the first that stops, or `new_tokens`, or as many as the
    context has room for. Generated tokens are not steered: they see the steered one in the cache. Prompts are
    padded on the left, so that distances within a sliding window stay. A token beyond `stops`, which no tokenizer
    knows, stops too.
    """
    found: list[list[int]] = [[] for _ in prompts]
    device = next(model.parameters()).device
    added = addition.to(device, torch.float32)
    config: Any = model.config
    unknown = max(0, config.get_text_config().vocab_size - len(stops))
    stops = functional.pad(stops.to(device), (0, unknown), value=True)

    def change(residual: Float[Tensor, "batch pos d_model"]) -> Tensor:
        changed = residual.clone()
        changed[:, -1] = (residual[:, -1].float() + added).to(residual.dtype)
        return changed

    def work(batch: Batch) -> None:
        ids, mask = _left_padded([prompts[row] for row in batch.rows], device)
        room = context_length(model) - ids.shape[1] + 1
        cache: Any = None
        said: list[Tensor] = []
        stopped = torch.zeros(len(ids), dtype=torch.bool, device=device)
        for step in range(min(new_tokens, room)):
            with nullcontext() if step else changed_after(model, layer, change):
                run = model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :],
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
            cache = run.past_key_values
            token = run.logits[:, -1].argmax(dim=1)
            stopped = stopped | stops[token]
            said.append(torch.where(stopped, -1, token))
            if stopped.all():
                break
            ids = token[:, None]
            mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        for row, text in zip(batch.rows, torch.stack(said, dim=1).tolist(), strict=True):
            found[row] = [token for token in text if token >= 0]

    each_batch(prompts, work, token_budget=token_budget)
    return found


def _left_padded(
    ids: Sequence[Sequence[int]], device: torch.device
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
    width = max(map(len, ids))
    tokens = torch.zeros((len(ids), width), dtype=torch.long, device=device)
    mask = torch.zeros_like(tokens)
    for row, sequence in enumerate(ids):
        tokens[row, width - len(sequence) :] = torch.as_tensor(sequence, device=device)
        mask[row, width - len(sequence) :] = 1
    return tokens, mask
