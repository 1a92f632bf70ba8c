"""Log-probabilities of continuations at hidden layers; a prompt runs once for all its continuations."""

import logging
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm import tqdm

from isogloss.models.batching import Batch, each_batch
from isogloss.models.hooks import visited
from isogloss.scoring.lens import Lens, score_words
from isogloss.scoring.packing import attention_masks, pack
from isogloss.scoring.trees import Tree, tree_of

logger = logging.getLogger(__name__)


class Scored(NamedTuple):
    """What the layers of a model make of one prompt."""

    log_likelihoods: Float[Tensor, "layers continuations"]  # sums over a continuation's tokens, in nats, float64
    greedy: Bool[Tensor, "layers continuations"]  # whether each of its tokens is the most probable (`WordScores`)
    states: Float[Tensor, "state_layers d_model"] | None  # residual at the prompt's last token, float32


class _Edges(NamedTuple):
    """`WordScores` of a tree's edges at each layer, on the CPU."""

    log_probabilities: Float[Tensor, "layers edges"]  # float64
    greedy: Bool[Tensor, "layers edges"]


class _Sequences(NamedTuple):
    """What goes through the model: a row for each prompt, or, of a model that cannot be packed, each continuation."""

    owners: list[int]  # which prompt
    trees: list[Tree]
    ids: list[array]  # prompt and nodes


@torch.inference_mode()
def score_continuations(
    lens: Lens,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[Sequence[int]]],
    *,
    layers: Sequence[int],
    state_layers: Sequence[int] = (),
    with_states: Sequence[bool] | None = None,
    token_budget: int,
    show_progress: bool = True,
) -> list[Scored]:
    """The log-likelihood of each continuation (token ids, at least one) after its prompt (token ids), at each layer.

    log p_l(w | q) = sum_t log softmax(lens of h_l^(t-1))[w_t] (paper B, eq. 7, at the position that predicts
    the token; the superscript printed there is an erratum). One forward a batch: each prompt is followed by
    its continuations under a mask that hides them from one another, common beginnings once, and the lens
    reads only where a continuation's token is predicted. Equal to a forward for each continuation up to
    float tolerance, sliding windows included. A letter is a continuation of one token. States are those of
    `state_layers`, of the prompts `with_states` (default: all). At most `token_budget` positions are in a batch.
    """
    sequences = _sequences(prompts, continuations, packed=lens.packed)
    if not lens.packed:
        name = type(lens.model).__name__
        logger.warning("%s computes a packed prompt otherwise: a forward for each continuation", name)
    wanted = [with_states is None or with_states[owner] for owner in sequences.owners]
    sums: list[list[Tensor]] = [[] for _ in sequences.ids]
    greedy: list[list[Tensor]] = [[] for _ in sequences.ids]
    states: list[Tensor | None] = [None] * len(prompts)
    progress = tqdm(total=len(sequences.ids), desc="questions", mininterval=2, disable=not show_progress)

    def work(batch: Batch) -> None:
        trees = [sequences.trees[row] for row in batch.rows]
        lengths = [len(prompts[sequences.owners[row]]) for row in batch.rows]
        stated = [number for number, row in enumerate(batch.rows) if wanted[row]]
        edges, ends = _score_batch(lens, batch, lengths, trees, layers, state_layers, stated)
        for row, tree, scores in zip(batch.rows, trees, edges, strict=True):
            sums[row] = [scores.log_probabilities[:, path].sum(1) for path in tree.paths]
            greedy[row] = [scores.greedy[:, path].all(1) for path in tree.paths]
        for number, state in zip(stated, ends, strict=True):
            states[sequences.owners[batch.rows[number]]] = state
        progress.update(len(batch.rows))

    with progress:
        each_batch(sequences.ids, work, token_budget=token_budget)
    rows: list[list[int]] = [[] for _ in prompts]
    for row, owner in enumerate(sequences.owners):
        rows[owner].append(row)

    def of_prompt(parts: list[list[Tensor]], prompt: int) -> Tensor:
        return torch.stack([part for row in rows[prompt] for part in parts[row]], dim=1)

    return [Scored(of_prompt(sums, prompt), of_prompt(greedy, prompt), state) for prompt, state in enumerate(states)]


def _sequences(prompts: Sequence[Any], continuations: Sequence[Sequence[Any]], *, packed: bool) -> _Sequences:
    sequences = _Sequences([], [], [])
    for owner, (prompt, choices) in enumerate(zip(prompts, continuations, strict=True)):
        for group in [choices] if packed else [[ids] for ids in choices]:
            tree = tree_of(group)
            sequences.owners.append(owner)
            sequences.trees.append(tree)
            sequences.ids.append(array("i", [*prompt, *tree.tokens]))
    return sequences


def _reads(lengths: Sequence[int], trees: Sequence[Tree]) -> tuple[Int[Tensor, " reads"], Int[Tensor, " reads"]]:
    """Row and column of each position that predicts: a prompt's last token, then its nodes, prompt after prompt."""
    counts = torch.tensor([1 + len(tree.tokens) for tree in trees])
    row = torch.arange(len(trees)).repeat_interleave(counts)
    spans = zip(lengths, trees, strict=True)
    return row, torch.cat([torch.arange(length - 1, length + len(tree.tokens)) for length, tree in spans])


def _score_batch(
    lens: Lens,
    batch: Batch,
    lengths: Sequence[int],
    trees: Sequence[Tree],
    layers: Sequence[int],
    state_layers: Sequence[int],
    stated: Sequence[int],
) -> tuple[list[_Edges], Float[Tensor, "stated state_layers d_model"]]:
    """What each tree's edges score, and the states at the last prompt tokens of the rows `stated`."""
    device = next(lens.model.parameters()).device
    row, column = (part.to(device) for part in _reads(lengths, trees))
    state_row = torch.tensor(stated, dtype=torch.long)
    state_column = (torch.tensor(lengths)[state_row] - 1).to(device)
    state_row = state_row.to(device)
    kept: dict[int, Tensor] = {}
    states: dict[int, Tensor] = {}

    def visit(layer: int, residual: Tensor) -> None:
        if layer in layers:
            kept[layer] = residual[row, column]
        if layer in state_layers:
            states[layer] = residual[state_row, state_column].float()

    with visited(lens.model, {*layers, *state_layers}, visit):
        _forward(lens, batch, lengths, trees)
    nothing = torch.empty(len(stated), 0, lens.decoder.d_model)
    ends = torch.stack([states[layer] for layer in state_layers], dim=1).cpu() if states else nothing
    return _edges(lens, kept, layers, trees), ends


def _forward(lens: Lens, batch: Batch, lengths: Sequence[int], trees: Sequence[Tree]) -> None:
    """One forward of the batch without the head."""
    device = next(lens.model.parameters()).device
    inputs: dict[str, Any] = {"attention_mask": batch.attention_mask.to(device)}
    if lens.packed:
        packed = pack(lengths, trees)
        positions = packed.position_ids.to(device)
        mask = attention_masks(lens.model, packed.allowed, positions, positions)
        inputs = {"attention_mask": mask, "position_ids": positions}
    lens.decoder.body(input_ids=batch.input_ids.to(device), use_cache=False, **inputs)


def _edges(lens: Lens, kept: dict[int, Tensor], layers: Sequence[int], trees: Sequence[Tree]) -> list[_Edges]:
    rows: list[int] = []
    first = 0  # of the tree's reads: the prompt's last token
    for tree in trees:
        rows += [first + 1 + source for source in tree.sources]
        first += 1 + len(tree.tokens)
    device = next(iter(kept.values())).device
    reads = torch.tensor(rows, device=device)
    words = torch.tensor([target for tree in trees for target in tree.targets], device=device)
    scores = [score_words(lens, kept.pop(layer), layer, reads, words) for layer in layers]
    log_probabilities = torch.stack([of_layer.log_probabilities for of_layer in scores]).cpu().double()
    greedy = torch.stack([of_layer.greedy for of_layer in scores]).cpu()
    sizes = [len(tree.targets) for tree in trees]
    return list(map(_Edges, log_probabilities.split(sizes, dim=1), greedy.split(sizes, dim=1)))
