"""LoRA adapters: made for training, saved as standard PEFT folders."""

from pathlib import Path

from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from isogloss.errors import IsoglossError
from isogloss.tables import atomic_path


def with_lora(
    model: nn.Module, layers: list[int], target_modules: list[str], *, rank: int, alpha: float, dropout: float
) -> PeftModel:
    """`model` wrapped with fresh LoRA matrices (float32) on `target_modules` of `layers` (0-based), ready to train.

    The matrices' first values come from torch's global generator; only their own dropout is on.
    Raises `IsoglossError` for a module name that the model does not have.
    """
    present = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    if unknown := [name for name in target_modules if name not in present]:
        linear = sorted(
            {name.rsplit(".", 1)[-1] for name, part in model.named_modules() if isinstance(part, nn.Linear)}
        )
        raise IsoglossError(
            f"alignment.target_modules: the model has no {', '.join(unknown)}; its linear maps are {', '.join(linear)}"
        )
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        lora_dropout=dropout,
        bias="none",
        target_modules=target_modules,
        layers_to_transform=layers,
    )
    tuned = get_peft_model(model, config)  # type: ignore[arg-type]
    assert isinstance(tuned, PeftModel)
    tuned.eval()
    for name, part in tuned.named_modules():
        if "lora_dropout" in name:  # the base model's own dropout stays off: it is the one that is measured
            part.train()
    return tuned


def save_adapter(model: PeftModel, folder: Path, model_name: str) -> None:
    """Write a standard PEFT folder that names the model, not where it lay: the same bytes for the same run."""
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
