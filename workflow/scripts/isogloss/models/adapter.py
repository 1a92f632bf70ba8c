"""LoRA adapters: made for training, saved as standard PEFT folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from peft.tuners.tuners_utils import _check_lora_target_modules_mamba
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of, unwrapped


def with_lora(
    model: nn.Module,
    layers: list[int],
    target_modules: Literal["all"] | Sequence[str],
    *,
    rank: int,
    alpha: float,
    dropout: float,
) -> PeftModel:
    """`model` wrapped with fresh LoRA matrices (float32) on `target_modules` of `layers` (0-based), ready to train.

    Modules are named as in a decoder layer, q_proj say; "all" is every linear map of those layers, never
    embeddings or head. The matrices' first values come from torch's global generator; only their own
    dropout is on. Raises `IsoglossError` for a module name that the layers do not have, and for one that PEFT puts no
    matrices on.
    """
    linear = sorted(
        {
            name.rsplit(".", 1)[-1]
            for layer in layers
            for name, part in decoder_of(model).layers[layer].named_modules()
            if isinstance(part, nn.Linear | Conv1D)  # GPT-2 has the latter
        }
    )
    linear = [name for name in linear if _takes_lora(model, name)]
    chosen = linear if target_modules == "all" else sorted(target_modules)
    if unknown := [name for name in chosen if name not in linear]:
        raise IsoglossError(
            f"alignment.target_modules: the model has no {', '.join(unknown)}; its linear maps are {', '.join(linear)}"
        )
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        lora_dropout=dropout,
        bias="none",
        target_modules=chosen,
        layers_to_transform=layers,
    )
    tuned = get_peft_model(model, config)  # type: ignore[arg-type]
    assert isinstance(tuned, PeftModel)
    tuned.eval()
    for name, part in tuned.named_modules():
        if "lora_dropout" in name:  # the base model's own dropout stays off: it is the one that is measured
            part.train()
    return tuned


def _takes_lora(model: nn.Module, name: str) -> bool:
    """Whether PEFT puts matrices on maps of this name: not on some of recurrent layers."""
    try:
        _check_lora_target_modules_mamba(LoraConfig(), unwrapped(model), name)
    except ValueError:
        return False
    return True


def save_adapter(model: PeftModel, folder: Path, model_name: str) -> None:
    """Write a standard PEFT folder that names the model, not where it lay: the same bytes for the same run."""
    from isogloss.tables import atomic_path

    config = model.peft_config["default"]
    assert isinstance(config, LoraConfig)
    config.base_model_name_or_path = model_name
    config.target_modules = sorted(config.target_modules or [])
    base = model.get_base_model()
    assert isinstance(base, PreTrainedModel)
    # PEFT writes these two into its README.
    base.name_or_path = base.config._name_or_path = model_name
    with atomic_path(folder) as aside:
        # Embeddings are never tuned here; "auto" would ask the Hub whether they might be.
        model.save_pretrained(str(aside), save_embedding_layers=False)
