"""Same seed, same thread count, same bits."""

import os
import random
import sys


def make_deterministic(seed: int, threads: int) -> None:
    """Seed Python, and torch if it is imported; hold torch to `threads` threads and deterministic kernels."""
    random.seed(seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        # torch would fill all memory that it hands out with NaN, which costs 5 % of a GPU's time and makes wrong code
        # fail, not right code repeat: no stage reads what it has not written. A stage that makes empty tensors fills
        # them by row, and what cannot be filled (a text that memory did not suffice for) stops the stage.
        torch.utils.deterministic.fill_uninitialized_memory = False
