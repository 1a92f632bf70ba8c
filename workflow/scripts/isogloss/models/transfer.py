"""Tensors on their way to a device and from it, while it computes."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` of the host on `device`, for which nothing waits: from memory that is not pinned, CUDA would.

    Pinned memory is used again only once the device has read it.
    """
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def read_back(results: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
    """Begin to copy `results` of one device to the host; what is returned waits for them, and gives them there.

    The copies run in the device's order, behind what makes the results: nothing waits until they are asked for.
    """
    if not any(result.is_cuda for result in results):
        return lambda: list(results)
    here = [torch.empty(result.shape, dtype=result.dtype, pin_memory=True) for result in results]
    for host, result in zip(here, results, strict=True):
        host.copy_(result, non_blocking=True)
    arrived = torch.cuda.Event(blocking=True)  # a thread that waits leaves its core to the others
    arrived.record(torch.cuda.current_stream(results[0].device))

    def wait() -> list[Tensor]:
        arrived.synchronize()
        return here

    return wait
