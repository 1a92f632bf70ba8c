"""Whether a model takes packed sequences: tried on few tokens against plain forwards, whatever its family."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isogloss.models.batching import collate
from isogloss.models.hooks import body_of
from isogloss.models.path import FLEX
from isogloss.models.windows import seen_by_masks, short_windows, text_config_of
from isogloss.scoring.packing import attention_masks, pack
from isogloss.scoring.trees import Trees, make_trees, tree_of

States = Float[Tensor, "pairs d_model"]


class Trial(NamedTuple):
    """Few tokens, and what follows: prompts longer and shorter than `short_windows`, as many choices each."""

    prompts: list[list[int]]
    choices: list[list[list[int]]]
    trees: Trees  # of the choices


def trial_of(model: nn.Module) -> Trial:
    """The same tokens for every model with so large a vocabulary, all over which they are spread."""
    step = max(1, text_config_of(model).vocab_size // 64)
    word = [number * step for number in range(64)]
    prompts = [word[3:14], word[14:17]]
    choices = [[word[20:30], [*word[20:23], *word[30:36]], word[36:44]], [word[44:48], word[48:60], word[10:20]]]
    return Trial(prompts, choices, make_trees([prompt[-1] for prompt in prompts], choices, _device(model)))


@torch.inference_mode()
def packs(model: nn.Module) -> bool:
    """Whether `model` computes the same in a packed sequence as in one for each continuation: tried on few tokens.

    Layers that see by anything but a mask (linear attention, convolutions) and windows under a name of their own,
    which few tokens would not reach, are a no untried. Changes nothing of the model.
    """
    implementation = text_config_of(model)._attn_implementation
    if implementation not in ("eager", "sdpa", FLEX) or not seen_by_masks(model):  # others take no mask of ours
        return False
    trial = trial_of(model)
    return agrees(model, trial, lambda: _packed_states(model, trial))


def agrees(
    model: nn.Module,
    trial: Trial,
    states: Callable[[], States],
    *,
    during: Callable[[int], AbstractContextManager[Any]] | None = None,
) -> bool:
    """Whether `states` gives what plain forwards do, within `during` of the last prompt token's position, if given.

    They are final hidden states where each token of each choice but the first is predicted (`Trees.pairs`): a
    first choice stands where it would stand alone. Windows are short meanwhile. As close as the model's precision
    allows for half of them, since a rounding can send a token to another expert; where inputs are misread, nearly
    all are far off. A model that takes no such inputs raises what its authors thought of: that is a no.
    """
    with short_windows(model):
        expected = _plain_states(model, trial, during or (lambda _: nullcontext())).float()
        try:
            found = states().float()
        except torch.OutOfMemoryError:
            raise
        except Exception:
            return False
    distance = (found - expected).norm(dim=-1) / expected.norm(dim=-1)
    return bool(distance.median() < max(1e-2, 12 * torch.finfo(next(model.parameters()).dtype).eps))


def _packed_states(model: nn.Module, trial: Trial) -> States:
    trees = [tree_of(choices) for choices in trial.choices]
    packed = pack([len(prompt) for prompt in trial.prompts], trees)
    positions = packed.position_ids.to(_device(model))
    batch = collate([[*prompt, *tree.tokens] for prompt, tree in zip(trial.prompts, trees, strict=True)])
    mask = attention_masks(model, packed.allowed, positions, positions)
    states = _final_states(model, batch.input_ids, attention_mask=mask, position_ids=positions)
    roots = torch.tensor([len(prompt) - 1 for prompt in trial.prompts], device=states.device)
    questions, nodes = later_pairs(trial.trees)
    return states[questions, roots[questions] + nodes]


def later_pairs(trees: Trees) -> tuple[Tensor, Tensor]:
    """Question and node of each pair of a choice but the first."""
    later = trees.pairs.choice > 0
    return trees.pairs.question[later], trees.pairs.node[later]


def _plain_states(model: nn.Module, trial: Trial, during: Callable[[int], AbstractContextManager[Any]]) -> States:
    parts: list[Tensor] = []
    for prompt, choices in zip(trial.prompts, trial.choices, strict=True):
        for ids in choices[1:]:
            with during(len(prompt) - 1):
                states = _final_states(model, torch.tensor([[*prompt, *ids[:-1]]]))
            parts.append(states[0, len(prompt) - 1 :])
    return torch.cat(parts)


def _final_states(model: nn.Module, ids: Tensor, **inputs: Any) -> Float[Tensor, "batch pos d_model"]:
    return body_of(model)(input_ids=ids.to(_device(model)), use_cache=False, **inputs)[0]


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
