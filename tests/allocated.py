"""The most bytes that tensors take at a time while something runs on the CPU, as torch's own allocator reports them."""

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(call: Callable[[], object]) -> float:
    """Of what `call` allocates, above what was there before; tensors that lie in a file's pages are none of it."""
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    assert seen.profiler is not None
    results = seen.profiler.kineto_results
    assert results is not None
    events = sorted((event for event in results.events() if event.name() == "[memory]"), key=lambda one: one.start_ns())
    held = most = 0
    for event in events:
        held += event.nbytes()  # pyright: ignore[reportAttributeAccessIssue]
        most = max(most, held)
    return float(most)
