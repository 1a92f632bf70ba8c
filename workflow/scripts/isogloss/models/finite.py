"""What to do where a model's numbers are not finite."""

import torch
from torch import nn


def remedy(model: nn.Module, *, read: str = "") -> str:
    """How to mend residuals that are not finite, or what is computed of them and of a file that is `read`."""
    if next(model.parameters()).dtype != torch.float32:
        return "try compute.dtype float32"
    *files, last = ["the model's weights", "its config.json", "its adapter", *([read] if read else [])]
    return f"{', '.join(files)} or {last} is damaged: fetch or train it again"
