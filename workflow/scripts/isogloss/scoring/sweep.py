"""One pass over prompts for many ways of steering them (paper B, sec. 2.3): vectors × layers × γ."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from tqdm import tqdm

from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of, hidden_of, with_hidden
from isogloss.models.batching import Batch, collate, each_batch
from isogloss.models.hooks import body_of, changed_after, output_after, read_after, resumed_after
from isogloss.scoring.lens import Lens, lens_of, score_words
from isogloss.scoring.packing import attention_masks
from isogloss.scoring.prefixes import AfterPrefixes, Prefixes, read_prefixes
from isogloss.scoring.trees import Trees, make_trees, tree_of
from isogloss.scoring.trial import agrees, later_pairs, trial_of

# Tokens of letters beside each other in a forward: as many as the prompts of the batch have, or so many if these are
_ROWS = 1024  # fewer,
_OF_A_QUESTION = 256  # and so many of a question: all are in its mask, though its copies do not see each other.
# Texts are trees of several tokens: so many go on together, of a question at most as many as stand here, in groups of
_TEXTS = 2048  # questions with trees of like size. A GPU waits for the kernels of smaller forwards.
_GROUPS = {"cpu": (256, 4)}  # tokens of a question; the fewest questions
_LARGE_GROUPS = (128, 16)
_PADDED = 1.05  # A group that is not small has up to so many tokens for each real one.


class Addition(NamedTuple):
    """What is added to the residual stream of the last prompt token."""

    layer: int  # 0-based; after this block
    vector: Float[Tensor, " d_model"]  # γv


class _Ways(NamedTuple):
    """All additions after a layer."""

    layer: int
    numbers: list[int]  # of the additions
    vectors: Float[Tensor, "ways d_model"]  # where the model is, in float32


class _Question(NamedTuple):
    """What follows a prefix."""

    root: int  # the prompt's last token
    continuations: Sequence[Sequence[int]]


def steering_lens(model: nn.Module) -> Lens:
    """The lens of a model that can be steered in many ways at once: once a job, since it is tried by some forwards.

    Raises `IsoglossError` for a model that fails `steers`, and as `lens_of`.
    """
    lens = lens_of(model)
    if not steers(lens):
        raise IsoglossError(
            f"{type(lens.model).__name__} computes sequences that are packed after a cached prompt otherwise than plain"
            " ones, so that ways of steering cannot run beside each other; leave latent.steering out"
        )
    return lens


@torch.inference_mode()
def steered_scores(
    lens: Lens,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[Sequence[int]]],
    additions: Sequence[Addition],
    *,
    token_budget: int,
    show_progress: bool = True,
) -> Float[Tensor, "questions configurations choices"]:
    """Mean log-probability per token, in nats, of each continuation of each prompt: plain, then with each addition.

    `lens` is a `steering_lens`. Prompts are two token ids or more; all have equally many continuations, of at least one
    token each. Configuration 0 is the model as it is: no other configuration changes a bit of it. An addition
    reaches the last prompt token alone: the residual stream below and of the tokens before stays what it was, and
    continuations see it through that token's keys and values. So each prompt's cache is made once, and all that
    is steered after one layer goes on from there, beside each other, each blind to the rest: what a forward a
    configuration gives, to float tolerance. No fewer tokens would do: each one that predicts differs between ways in
    all layers above and under the head. Batches have at most `token_budget` prompt tokens. Raises `IsoglossError` for a
    layer that the model does not have.
    """
    check_layers(lens.model, [addition.layer for addition in additions])
    ways = _by_layer(additions, next(lens.model.parameters()).device)
    columns = torch.tensor([0, *(1 + number for one in ways for number in one.numbers)])
    sizes = [1 + len(tree_of(choices).tokens) for choices in continuations]
    scores = torch.zeros(len(prompts), 1 + len(additions), len(continuations[0]) if prompts else 0)
    progress = tqdm(total=len(prompts), desc="questions", mininterval=2, disable=not show_progress)

    def work(batch: Batch) -> None:
        batch = _sorted(batch, [sizes[row] for row in batch.rows])
        prefixes = read_prefixes(lens.model, batch)
        questions = [_Question(prompts[row][-1], continuations[row]) for row in batch.rows]
        scores[torch.tensor(batch.rows)[:, None], columns] = _score_batch(lens, prefixes, questions, ways).cpu()
        progress.update(len(batch.rows))

    with progress:
        each_batch([prompt[:-1] for prompt in prompts], work, token_budget=token_budget)
    return scores


def _by_layer(additions: Sequence[Addition], device: torch.device) -> list[_Ways]:
    numbers: dict[int, list[int]] = {}
    for number, addition in enumerate(additions):
        numbers.setdefault(addition.layer, []).append(number)
    return [
        _Ways(layer, of_layer, torch.stack([additions[number].vector.to(device).float() for number in of_layer]))
        for layer, of_layer in numbers.items()
    ]


def _sorted(batch: Batch, sizes: Sequence[int]) -> Batch:
    """The batch with its rows by size of what follows them."""
    order = sorted(range(len(sizes)), key=lambda row: sizes[row])
    return Batch([batch.rows[row] for row in order], *(part[order] for part in batch[1:]))


@torch.inference_mode()
def steers(lens: Lens) -> bool:
    """Whether a sweep gives what plain forwards with a hook give: tried on few tokens, below the last layer."""
    layer = max(0, len(lens.decoder.layers) - 2)
    trial = trial_of(lens.model)
    vector = -2 * hidden_of(output_after(lens.model, collate(trial.prompts[:1]), layer))[0, -1].float()

    def steered() -> Tensor:
        prefixes = read_prefixes(lens.model, collate([prompt[:-1] for prompt in trial.prompts]))
        with read_after(lens.model, layer) as outputs:
            _last_residual(lens, prefixes, trial.trees)
        steered = _steered(outputs[0], slice(None), vector[None])
        residual = _last_residual(lens, prefixes, trial.trees, after=(layer, steered))
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


def _score_batch(
    lens: Lens, prefixes: Prefixes, questions: Sequence[_Question], ways: Sequence[_Ways]
) -> Float[Tensor, "questions configurations choices"]:
    """Scores of questions by size of tree: plain, then in the `ways` as they come."""
    device = prefixes.lengths.device
    trees = _trees(questions, device)
    with ExitStack() as stack:
        outputs = {layer: stack.enter_context(read_after(lens.model, layer)) for layer, *_ in ways}
        plain = _scores(lens, _last_residual(lens, prefixes, trees), trees)
    scores = plain.repeat(1, 1 + sum(len(one.numbers) for one in ways), 1)
    most, fewest = _GROUPS.get(device.type, _LARGE_GROUPS)
    for few in _of_like_size(trees.sizes, fewest):
        some, their_prefixes = _trees(questions[few], device), prefixes.of(few)
        number, nodes = some.tokens.shape
        letters = min(max(prefixes.width, _ROWS // number), _OF_A_QUESTION)
        together = letters if nodes == 1 else max(1, min(_TEXTS // number, most) // nodes)
        column = 1
        for layer, _, vectors in ways:
            for part in vectors.split(together):
                after = layer, _steered(outputs[layer][0], few, part, nodes)
                residual = _last_residual(lens, their_prefixes, some, after=after)
                scores[few, column : column + len(part)] = _scores(lens, residual, some)
                column += len(part)
    return scores


def _trees(questions: Sequence[_Question], device: torch.device) -> Trees:
    roots, continuations = zip(*questions, strict=True)
    return make_trees(roots, continuations, device)


def _of_like_size(sizes: Sequence[int], fewest: int) -> Iterator[slice]:
    """Runs of trees, given by size, which padding to one size makes little larger; `fewest` trees or more but one."""
    start = real = 0
    for stop, size in enumerate(sizes):
        if stop - start >= fewest and size * (stop + 1 - start) > _PADDED * (real + size):
            yield slice(start, stop)
            start, real = stop, 0
        real += size
    yield slice(start, len(sizes))


def _steered(output: Any, few: slice, vectors: Float[Tensor, "copies d_model"], nodes: int | None = None) -> Any:
    """A layer's output on trees, of a few and up to so many nodes, for each of `vectors`, in float32 at the root."""
    residual = hidden_of(output)[few, :nodes]
    copies = residual[:, None].repeat(1, len(vectors), 1, 1)
    root = residual[:, None, 0].float() + vectors.to(residual.device, torch.float32)
    copies[:, :, 0] = root.to(residual.dtype)
    return with_hidden(output, copies.flatten(1, 2))


def _last_residual(
    lens: Lens, prefixes: Prefixes, trees: Trees, *, after: tuple[int, Any] | None = None
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
            past_key_values=AfterPrefixes(layers=prefixes.layers),
            use_cache=True,
        )
    return hidden_of(ends[0])


def _masks(
    model: nn.Module, prefixes: Prefixes, trees: Trees, positions: Int[Tensor, "questions rows"]
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


def _scores(
    lens: Lens, residual: Float[Tensor, "questions rows d_model"], trees: Trees
) -> Float[Tensor, "questions copies choices"]:
    """Mean log-probability per token of each continuation, for each copy of its tree."""
    questions, nodes = trees.tokens.shape
    copies = residual.shape[1] // nodes
    real = trees.real[:, None].expand(-1, copies, -1)
    number = real.flatten().cumsum(0).view(real.shape) - 1
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
