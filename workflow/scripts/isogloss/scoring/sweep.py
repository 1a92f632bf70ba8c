"""One pass over prompts for many ways of steering them (paper B, sec. 2.3): vectors × layers × γ."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from tqdm import tqdm
from transformers.cache_utils import Cache, DynamicCache

from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of, hidden_of, with_hidden
from isogloss.models.batching import Batch, collate, each_batch
from isogloss.models.hooks import body_of, changed_after, output_after, read_after, resumed_after
from isogloss.scoring.lens import Lens, lens_of, score_words
from isogloss.scoring.packing import attention_masks
from isogloss.scoring.trees import Trees, make_trees
from isogloss.scoring.trial import agrees, later_pairs, trial_of

_ROWS = 1024  # tokens that a forward may have beside each other even where the prompts of a batch have fewer
_OF_A_QUESTION = 256  # and of one question: they are all in its mask, though its copies do not see each other


class Addition(NamedTuple):
    """What is added to the residual stream of the last prompt token."""

    layer: int  # 0-based; after this block
    vector: Float[Tensor, " d_model"]  # γv


class _Prefixes(NamedTuple):
    """The prompts of a batch without their last tokens, after a forward."""

    cache: DynamicCache  # of all layers and all tokens: sliding windows are in the masks
    lengths: Int[Tensor, " questions"]
    width: int


@torch.inference_mode()
def steered_scores(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[Sequence[int]]],
    additions: Sequence[Addition],
    *,
    token_budget: int,
    show_progress: bool = True,
) -> Float[Tensor, "questions configurations choices"]:
    """Mean log-probability per token, in nats, of each continuation of each prompt: plain, then with each addition.

    Prompts are two token ids or more; all have equally many continuations, of at least one
    token each. Configuration 0 is the model as it is: no other configuration changes a bit of it. An addition
    reaches the last prompt token alone: the residual stream below and of the tokens before stays what it was, and
    continuations see it through that token's keys and values. So each prompt's cache is made once, and all that
    is steered after one layer goes on from there, beside each other, each blind to the rest: what a forward a
    configuration gives, to float tolerance, for less. Batches have at most `token_budget` prompt tokens.
    Raises `IsoglossError` for a layer that the model does not have and for one that fails `steers`.
    """
    check_layers(model, [addition.layer for addition in additions])
    lens = lens_of(model)
    if not steers(lens):
        raise IsoglossError(
            f"{type(lens.model).__name__} computes sequences that are packed after a cached prompt otherwise than plain"
            " ones, so that ways of steering cannot run beside each other; leave latent.steering out"
        )
    scores = torch.zeros(len(prompts), 1 + len(additions), len(continuations[0]) if prompts else 0)
    progress = tqdm(total=len(prompts), desc="questions", mininterval=2, disable=not show_progress)

    def work(batch: Batch) -> None:
        prefixes = _read_prefixes(lens.model, batch)
        last = [prompts[row][-1] for row in batch.rows]
        trees = make_trees(last, [continuations[row] for row in batch.rows], prefixes.lengths.device)
        scores[batch.rows] = _score_batch(lens, prefixes, trees, additions).cpu()
        progress.update(len(batch.rows))

    with progress:
        each_batch([prompt[:-1] for prompt in prompts], work, token_budget=token_budget)
    return scores


@torch.inference_mode()
def steers(lens: Lens) -> bool:
    """Whether a sweep gives what plain forwards with a hook give: tried on few tokens, below the last layer."""
    layer = max(0, len(lens.decoder.layers) - 2)
    trial = trial_of(lens.model)
    vector = -2 * hidden_of(output_after(lens.model, collate(trial.prompts[:1]), layer))[0, -1].float()

    def steered() -> Tensor:
        prefixes = _read_prefixes(lens.model, collate([prompt[:-1] for prompt in trial.prompts]))
        with read_after(lens.model, layer) as outputs:
            _last_residual(lens, prefixes, trial.trees)
        residual = _last_residual(lens, prefixes, trial.trees, after=(layer, _steered(outputs[0], vector[None])))
        return lens.decoder.norm(residual[later_pairs(trial.trees)])

    def adding(position: int) -> AbstractContextManager[None]:
        def change(residual: Tensor) -> Tensor:
            changed = residual.clone()
            changed[:, position] = (residual[:, position].float() + vector).to(residual.dtype)
            return changed

        return changed_after(lens.model, layer, change)

    return lens.packed and agrees(lens.model, trial, steered, during=adding)


def check_layers(model: nn.Module, layers: Sequence[int]) -> None:
    """Raises `IsoglossError` for layers that `model` does not have."""
    depth = len(decoder_of(model).layers)
    if wrong := [layer for layer in layers if not 0 <= layer < depth]:
        raise IsoglossError(
            f"no layer {wrong[0]} to steer after; the model has layers 0 to {depth - 1}: change latent.steering.layers"
        )


def _read_prefixes(model: nn.Module, batch: Batch) -> _Prefixes:
    device = next(model.parameters()).device
    mask = batch.attention_mask.to(device)
    cache = DynamicCache()
    body_of(model)(input_ids=batch.input_ids.to(device), attention_mask=mask, past_key_values=cache, use_cache=True)
    return _Prefixes(cache, mask.sum(dim=1), mask.shape[1])


def _score_batch(
    lens: Lens, prefixes: _Prefixes, trees: Trees, additions: Sequence[Addition]
) -> Float[Tensor, "questions configurations choices"]:
    by_layer: dict[int, list[int]] = {}
    for number, addition in enumerate(additions):
        by_layer.setdefault(addition.layer, []).append(number)
    with ExitStack() as stack:
        outputs = {layer: stack.enter_context(read_after(lens.model, layer)) for layer in by_layer}
        plain = _scores(lens, _last_residual(lens, prefixes, trees), trees)
    scores = plain.repeat(1, 1 + len(additions), 1)
    questions, nodes = trees.tokens.shape
    room = min(max(prefixes.width, _ROWS // questions), _OF_A_QUESTION)
    together = max(1, room // nodes)
    for layer, of_layer in by_layer.items():
        for start in range(0, len(of_layer), together):
            part = of_layer[start : start + together]
            steered = _steered(outputs[layer][0], torch.stack([additions[number].vector for number in part]))
            residual = _last_residual(lens, prefixes, trees, after=(layer, steered))
            scores[:, [1 + number for number in part]] = _scores(lens, residual, trees)
    return scores


def _steered(output: Any, vectors: Float[Tensor, "copies d_model"]) -> Any:
    """A layer's output on trees, once for each of `vectors`, which is added at the root in float32."""
    residual = hidden_of(output)
    copies = residual[:, None].repeat(1, len(vectors), 1, 1)
    root = residual[:, None, 0].float() + vectors.to(residual.device, torch.float32)
    copies[:, :, 0] = root.to(residual.dtype)
    return with_hidden(output, copies.flatten(1, 2))


def _last_residual(
    lens: Lens, prefixes: _Prefixes, trees: Trees, *, after: tuple[int, Any] | None = None
) -> Float[Tensor, "questions rows d_model"]:
    """The residual stream after the last block: of the trees, or of copies that go on `after` a layer's output."""
    last = len(lens.decoder.layers) - 1
    if after and after[0] == last:
        return hidden_of(after[1])
    copies = hidden_of(after[1]).shape[1] // trees.tokens.shape[1] if after else 1
    positions = (prefixes.lengths[:, None] + trees.depths).repeat(1, copies)
    with ExitStack() as stack:
        if after:
            stack.enter_context(resumed_after(lens.model, *after))
        ends = stack.enter_context(read_after(lens.model, last))
        body_of(lens.model)(
            input_ids=trees.tokens.repeat(1, copies),
            attention_mask=_masks(lens.model, prefixes, trees, positions),
            position_ids=positions,
            past_key_values=_AfterPrefix(prefixes.cache),
            use_cache=True,
        )
    return hidden_of(ends[0])


def _masks(
    model: nn.Module, prefixes: _Prefixes, trees: Trees, positions: Int[Tensor, "questions rows"]
) -> Tensor | dict[str, Tensor]:
    """What is added to attention scores of copies of each tree after its prefix, by kind of layer if they differ."""
    keys = torch.arange(prefixes.width, device=positions.device).expand(len(positions), -1)
    prefix = (keys < prefixes.lengths[:, None])[:, None].expand(-1, positions.shape[1], -1)
    tree = _diagonal(trees.above, positions.shape[1] // trees.tokens.shape[1])
    return attention_masks(model, torch.cat([prefix, tree], dim=2), positions, torch.cat([keys, positions], dim=1))


def _diagonal(tree: Bool[Tensor, "questions nodes nodes"], copies: int) -> Bool[Tensor, "questions rows rows"]:
    """`tree` along the diagonal, `copies` times."""
    questions, nodes, _ = tree.shape
    same = torch.eye(copies, dtype=torch.bool, device=tree.device)
    return (same[None, :, None, :, None] & tree[:, None, :, None, :]).reshape(questions, *[copies * nodes] * 2)


class _AfterPrefix(Cache):
    """Keys and values of prefixes, which new ones follow without being kept."""

    def __init__(self, prefixes: DynamicCache) -> None:
        super().__init__(layers=prefixes.layers)

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        """The prefixes' keys and values of a layer, and the new ones behind them."""
        layer: Any = self.layers[layer_idx]
        return torch.cat([layer.keys, key_states], dim=-2), torch.cat([layer.values, value_states], dim=-2)


def _scores(
    lens: Lens, residual: Float[Tensor, "questions rows d_model"], trees: Trees
) -> Float[Tensor, "questions copies choices"]:
    """Mean log-probability per token of each continuation, for each copy of its tree."""
    questions, nodes = trees.tokens.shape
    copies = residual.shape[1] // nodes
    real = trees.real[:, None].expand(-1, copies, -1)
    number = torch.zeros(real.shape, dtype=torch.long, device=real.device)
    number[real] = torch.arange(int(real.sum()), device=real.device)
    pairs = trees.pairs
    rows = number[pairs.question, :, pairs.node]  # [pairs, copies]
    words = score_words(
        lens,
        residual.reshape(questions, copies, nodes, -1)[real],
        len(lens.decoder.layers) - 1,
        rows.flatten(),
        pairs.word[:, None].expand_as(rows).flatten(),
    )
    of_token = words.log_probabilities.reshape(rows.shape)
    totals = of_token.new_zeros(questions, trees.counts.shape[1], copies)
    totals.index_put_((pairs.question, pairs.choice), of_token, accumulate=True)
    return (totals / trees.counts[:, :, None]).transpose(1, 2)
