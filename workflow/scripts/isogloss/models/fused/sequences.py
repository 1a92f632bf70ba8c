"""The texts of a batch one after another as one sequence, without padding; no text sees another."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask

from isogloss.models.batching import Batch
from isogloss.models.windows import Sight, sights_of

BLOCK = 128  # tokens of a block of flex attention's masks, and what a sequence's length is a multiple of


class Sequence(NamedTuple):
    """A batch as one sequence; what fills its last block are short texts of their own."""

    input_ids: Int[Tensor, "1 tokens"]
    position_ids: Int[Tensor, "1 tokens"]  # within each text
    text: Int[Tensor, " tokens"]  # which text each token is of
    slots: Int[Tensor, "batch pos"]  # where each token of the batch stands; the first token for padding

    def padded(self, residual: Float[Tensor, "1 tokens d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """The residual stream as the padded batch has it; the stream of another token where there is padding."""
        return residual[0].index_select(0, self.slots.flatten()).unflatten(0, self.slots.shape)


def sequence_of(batch: Batch, device: torch.device) -> Sequence:
    """`batch`, padded on the right, as one sequence on `device`."""
    real = batch.attention_mask.bool()
    lengths = real.sum(1)
    tokens = int(lengths.sum())
    filler = torch.arange(-tokens % BLOCK, device=real.device)
    starts = lengths.cumsum(0) - lengths
    text = torch.arange(len(lengths), device=real.device).repeat_interleave(lengths)
    position = torch.cat([torch.arange(tokens, device=real.device) - starts[text], torch.zeros_like(filler)])
    column = torch.arange(real.shape[1], device=real.device)
    return Sequence(
        torch.cat([batch.input_ids[real], torch.zeros_like(filler)])[None].to(device),
        position[None].to(device),
        torch.cat([text, len(lengths) + filler]).to(device),
        torch.where(real, starts[:, None] + column, 0).to(device),
    )


def block_masks(model: nn.Module, sequence: Sequence) -> BlockMask | dict[str, BlockMask]:
    """What `model` takes as attention mask of `sequence`, by kind of layer if they differ."""
    masks = {kind: block_mask(sequence, sight) for kind, sight in sights_of(model).items()}
    return masks if len(masks) > 1 else masks.popitem()[1]


def block_mask(sequence: Sequence, sight: Sight) -> BlockMask:
    """Each token sees its text up to itself, as far as `sight` goes.

    Blocks of keys that none of a block of queries sees are left out; they are known from the texts' beginnings, and
    no dense mask is made, which would be 1 GB for 32,768 tokens.
    """
    text, position = sequence.text, sequence.position_ids[0]
    reach = position  # how far back the first token is that each sees
    if sight.window is not None:
        reach = reach.clamp(max=sight.window - 1)
    if sight.chunk is not None:
        reach = torch.minimum(reach, position % sight.chunk)
    earliest = torch.arange(len(text), device=text.device) - reach
    first = earliest.view(-1, BLOCK).amin(1) // BLOCK
    blocks = torch.arange(len(first), device=text.device)
    indices = (first[:, None] + blocks).clamp(max=len(first) - 1)

    def visible(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = (text[query] == text[key]) & (key <= query)
        return seen & sight.reaches(position[query], position[key])

    return BlockMask.from_kv_blocks(
        (blocks - first + 1).to(torch.int32)[None, None],
        indices.to(torch.int32)[None, None],
        BLOCK_SIZE=BLOCK,
        mask_mod=visible,
        seq_lengths=(len(text), len(text)),
    )
