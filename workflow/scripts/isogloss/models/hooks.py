"""Read the residual stream after chosen decoder layers in one forward that goes no deeper."""

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from isogloss.models.architecture import decoder_of, hidden_of
from isogloss.models.batching import Batch

Visit = Callable[[int, Float[Tensor, "batch pos d_model"]], None]


class _LastLayerReached(Exception):
    """Ends a forward after the deepest wanted layer."""


def visit_residuals(model: nn.Module, batch: Batch, layers: Sequence[int], visit: Visit) -> None:
    """Call `visit(layer, residual)` for each of `layers`, shallow to deep, during one forward of `batch`.

    Layers are 0-based; the residual is the stream after the block (`blocks.l.hook_resid_post` in
    TransformerLens' naming), before the final norm at the last layer too. Nothing is kept: what
    `visit` does not store is gone. Gradients flow if they are enabled.
    """
    decoder = decoder_of(model)
    body = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    body = getattr(body, "base_model", body)
    deepest = max(layers)
    device = next(model.parameters()).device

    def hook(layer: int) -> Callable[..., None]:
        def read(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
            visit(layer, hidden_of(output))
            if layer == deepest:
                raise _LastLayerReached

        return read

    handles = [decoder.layers[layer].register_forward_hook(hook(layer)) for layer in sorted(set(layers))]
    try:
        body(  # type: ignore[operator]
            input_ids=batch.input_ids.to(device), attention_mask=batch.attention_mask.to(device), use_cache=False
        )
    except _LastLayerReached:
        pass
    finally:
        for handle in handles:
            handle.remove()
