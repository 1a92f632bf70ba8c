"""Hooks on a decoder: read the residual stream after layers, change it, resume a forward from it, the head alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from isogloss.models.architecture import decoder_of, hidden_of, unwrapped, with_hidden
from isogloss.models.batching import Batch
from isogloss.models.fused.sequences import block_masks, sequence_of
from isogloss.models.path import ROWS, path_of

Visit = Callable[[int, Float[Tensor, "batch pos d_model"]], None]
Change = Callable[[Float[Tensor, "batch pos d_model"]], Tensor]


class _LastLayerReached(Exception):
    """Ends a forward after the deepest wanted layer."""


class _HiddenStates(BaseModelOutputWithPast):
    """A body's output of hidden states alone: whatever else a head asks for (experts' routing, caches) is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def body_of(model: nn.Module) -> nn.Module:
    """A language model without its head and without PEFT's wrapper."""
    return decoder_of(model).body


@contextmanager
def _hooked(model: nn.Module, hooks: Mapping[int, Callable[[Any], Any]]) -> Iterator[None]:
    """While open, each layer's output goes through its hook, which may give another one."""
    layers = decoder_of(model).layers
    handles = [
        layers[layer].register_forward_hook(lambda _module, _inputs, output, hook=hook: hook(output))
        for layer, hook in sorted(hooks.items())
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def visited(model: nn.Module, layers: Iterable[int], visit: Visit) -> Iterator[None]:
    """While open, a forward calls `visit(layer, residual)` after each of `layers`."""
    with _hooked(model, {layer: lambda output, layer=layer: visit(layer, hidden_of(output)) for layer in layers}):
        yield


def visit_residuals(model: nn.Module, batch: Batch, layers: Sequence[int], visit: Visit) -> None:
    """Call `visit(layer, residual)` for each of `layers`, shallow to deep, during one forward that goes no deeper.

    Layers are 0-based; the residual is the stream after the block (`blocks.l.hook_resid_post` in
    TransformerLens' naming), before the final norm at the last layer too. Nothing is kept: what
    `visit` does not store is gone. Gradients flow if they are enabled. What stands where the batch is padded means
    nothing: without gradients a model may read the texts without padding (`isogloss.models.fused`).
    """
    whole = path_of(model).rows == ROWS and not torch.is_grad_enabled()
    (sequence_residuals if whole else padded_residuals)(model, batch, layers, visit)


def padded_residuals(model: nn.Module, batch: Batch, layers: Sequence[int], visit: Visit) -> None:
    """`visit_residuals` by a forward of the batch as it is."""
    device = next(model.parameters()).device
    inputs = {"input_ids": batch.input_ids.to(device), "attention_mask": batch.attention_mask.to(device)}
    _visit(model, inputs, layers, visit)


def sequence_residuals(model: nn.Module, batch: Batch, layers: Sequence[int], visit: Visit) -> None:
    """`visit_residuals` by a forward of the batch's texts one after another; layers see their streams so."""
    sequence = sequence_of(batch, next(model.parameters()).device)
    inputs = {
        "input_ids": sequence.input_ids,
        "position_ids": sequence.position_ids,
        "attention_mask": block_masks(model, sequence),
    }
    _visit(model, inputs, layers, lambda layer, residual: visit(layer, sequence.padded(residual)))


def _visit(model: nn.Module, inputs: Mapping[str, Any], layers: Sequence[int], visit: Visit) -> None:
    deepest = max(layers)

    def visit_or_stop(layer: int, residual: Float[Tensor, "batch pos d_model"]) -> None:
        visit(layer, residual)
        if layer == deepest:
            raise _LastLayerReached

    try:
        with visited(model, layers, visit_or_stop):
            body_of(model)(**inputs, use_cache=False)
    except _LastLayerReached:
        pass


@contextmanager
def read_after(model: nn.Module, layer: int) -> Iterator[list[Any]]:
    """While open, what `layer` gives out is put into the list, as it gives it."""
    outputs: list[Any] = []
    with _hooked(model, {layer: outputs.append}):
        yield outputs


def output_after(model: nn.Module, batch: Batch, layer: int) -> Any:
    """What `layer` gives out for a batch, by a forward that goes no deeper."""
    with read_after(model, layer) as outputs:
        padded_residuals(model, batch, [layer], lambda *_: None)
    return outputs[0]


@contextmanager
def changed_after(model: nn.Module, layer: int, change: Change) -> Iterator[None]:
    """While open, the hidden states after `layer` are what `change` makes of them."""
    with _hooked(model, {layer: lambda output: with_hidden(output, change(hidden_of(output)))}):
        yield


@contextmanager
def computing(forward: Callable[..., Any], modules: Iterable[nn.Module]) -> Iterator[None]:
    """While open, `modules` compute `forward`; then what they did before, be it their own or put on them."""
    before = [(module, module.__dict__.get("forward")) for module in modules]
    for module, _ in before:
        module.forward = forward
    try:
        yield
    finally:
        for module, own in before:
            del module.__dict__["forward"]
            if own is not None:
                module.forward = own


@contextmanager
def resumed_after(model: nn.Module, layer: int, output: Any) -> Iterator[None]:
    """While open, a forward of `model` goes on from `output` of `layer`, and the layers up to it compute nothing.

    Masks, positions and the layers above stay the model's own affair, so that this holds for every
    architecture that is understood; only without key/value cache. Where upper layers read keys and values of
    lower ones (Gemma 4's E models), these compute what they would, and only the output is another.
    """
    if getattr(unwrapped(model).config.get_text_config(), "num_kv_shared_layers", 0):
        with _hooked(model, {layer: lambda _: output}):
            yield
        return
    with computing(lambda *_, **__: output, decoder_of(model).layers[: layer + 1]):
        yield


def head_logits(model: nn.Module, hidden: Float[Tensor, "tokens d_model"]) -> Float[Tensor, "tokens words"]:
    """The causal LM's own head on final hidden states: with soft-capping and scales, where it has them."""
    output = _HiddenStates(last_hidden_state=hidden[None])  # type: ignore[arg-type]
    with computing(lambda *_, **__: output, [body_of(model)]):
        dummy = torch.zeros((1, len(hidden)), dtype=torch.long, device=hidden.device)
        return unwrapped(model)(input_ids=dummy, use_cache=False).logits[0]
