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

    The copies run behind what makes the results and beside what is computed next.
    """
    if not any(result.is_cuda for result in results):
        return lambda: list(results)
    here = [torch.empty(result.shape, dtype=result.dtype, pin_memory=True) for result in results]
    copying = torch.cuda.Stream(results[0].device)
    copying.wait_stream(torch.cuda.current_stream(results[0].device))
    with torch.cuda.stream(copying):
        for host, result in zip(here, results, strict=True):
            host.copy_(result, non_blocking=True)
            result.record_stream(copying)  # its memory is not used again before
    arrived = torch.cuda.Event(blocking=True)  # a thread that waits leaves its core to the others
    arrived.record(copying)

    def wait() -> list[Tensor]:
        arrived.synchronize()
        return here

    return wait
