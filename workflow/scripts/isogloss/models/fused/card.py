"""What a graphics card can do, judged by plain facts: its name, its compute capability, what an error says."""

from typing import NamedTuple

import torch

from isogloss.errors import IsoglossError

_BFLOAT16 = (8, 0)  # compute capability from which tensor cores take it (CUDA C++ Programming Guide, "Tensor Cores")
_TRITON = (7, 0)  # from which Triton makes kernels (its README, "Compatibility")
_NOT_THERE = ("no cuda gpus", "no cuda-capable device", "found no nvidia driver")  # nobody expects a GPU to be used


class Card(NamedTuple):
    """A CUDA device."""

    name: str
    capability: tuple[int, int]


def card_of(device: torch.device) -> Card:
    """The card that `device`, of CUDA, is."""
    return Card(torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device))


def check_dtype(card: Card, dtype: torch.dtype) -> None:
    """Raises `IsoglossError` for a dtype that the card does not compute in: bfloat16 before Ampere."""
    if dtype == torch.bfloat16 and card.capability < _BFLOAT16:
        raise IsoglossError(
            f"{card.name} (compute capability {_dotted(card.capability)}) has no bfloat16, which needs"
            f" {_dotted(_BFLOAT16)}; set compute.dtype to float32, or take another card"
        )


def why_no_kernels(card: Card) -> str | None:
    """Why Triton can make no kernels for the card; None if it can, as far as its capability tells."""
    if card.capability >= _TRITON:
        return None
    needed = _dotted(_TRITON)
    return f"{card.name} has compute capability {_dotted(card.capability)}, Triton makes kernels from {needed} on"


def why_no_gpu(built_for: str | None, error: str | None) -> str | None:
    """Why the work goes to the CPU although torch was built for CUDA `built_for`, by what its start-up said.

    None for a torch without CUDA, where nothing went wrong, and on a machine that has no card or hides it.
    """
    if built_for is None or error is None or any(part in error.lower() for part in _NOT_THERE):
        return None
    return (
        f"torch is built for CUDA {built_for}, but the GPU cannot be used ({first_line(error)}); going on with the CPU"
    )


def first_line(error: object) -> str:
    """The first line of another library's message that says something, with its kind if it is an exception."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:160]
    return f"{type(error).__name__}: {text}".removesuffix(": ") if isinstance(error, Exception) else text


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
