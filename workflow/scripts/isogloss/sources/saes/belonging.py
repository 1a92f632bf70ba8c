"""Whether an SAE belongs to the study's model and to the residual stream after the layer."""

import logging
import re

from isogloss.errors import IsoglossError

logger = logging.getLogger(__name__)

# The same point in the names of TransformerLens and of transformers' modules, whose output it is.
AFTER = (r"blocks\.(\d+)\.hook_resid_post", r"(?:\w+\.)*(?:layers|h)\.(\d+)(?:\.output)?")
BEFORE = r"blocks\.(\d+)\.hook_resid_pre"  # the stream after the block below
LAYER_IN_ID = r"(?:(?:layers?|blocks)[_.]?|^l(?=\d+[a-z]_))(\d+)"  # layer_12/..., blocks.12...., l12r_8x
SAME = (  # what one model's names differ in
    (r".*/", ""),
    (r"^gemma-v3-", "gemma-3-"),  # Gemma Scope 2
    (r"^(gemma-3-270m)-pt$", r"\1"),
    (r"^gpt2-small$", "gpt2"),  # TransformerLens
    (r"^meta-(?=llama)", ""),
    (r"^(mistral-7b)-v0\.1$", r"\1"),
)


def check_hook(hook: str | None, sae_id: str, layer: int, where: str) -> None:
    """Raise `IsoglossError` unless it is the residual stream after `layer`: by the hook, else the id, else by trust."""
    wanted = f"layer {layer} (blocks.{layer}.hook_resid_post)"
    if hook is None:
        logger.warning("%s: nothing says at which point it was trained; taken to be the residual stream", where)
        match = re.search(LAYER_IN_ID, sae_id)
        if match and int(match[1]) != layer:
            raise IsoglossError(f"{where}: by its id the SAE belongs to layer {match[1]}, not to {wanted}")
        return
    found = next((int(match[1]) for pattern in AFTER if (match := re.fullmatch(pattern, hook))), None)
    if found is None and (match := re.fullmatch(BEFORE, hook)):
        found = int(match[1]) - 1
    if found != layer:
        said = f"; give it for layer {found}" if found is not None and found >= 0 else "; give that SAE in saes.ids"
        raise IsoglossError(f"{where}: the SAE belongs to {hook}, not to the residual stream after {wanted}{said}")


def check_model(named: str | None, wanted: str | None, where: str) -> None:
    """Raise `IsoglossError` if the SAE's files name another model than `wanted`, where both are known."""
    if named and wanted and not same_model(named, wanted):
        raise IsoglossError(
            f"{where}: the SAE belongs to the model {named}, the study's is {wanted}; give the SAE of this model, or"
            " name model_name in saes.ignore if it is meant"
        )


def same_model(name: str, other: str) -> bool:
    """Whether two names are of one model, owner and publishers' habits aside."""
    return _bare(name) == _bare(other)


def _bare(name: str) -> str:
    bare = name.strip().lower()
    for pattern, instead in SAME:
        bare = re.sub(pattern, instead, bare)
    return bare
