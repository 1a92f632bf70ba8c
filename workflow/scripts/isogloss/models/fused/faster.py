"""A loaded model's faster parts, put on its modules one by one, each only where it is tried to be as good."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isogloss.models.architecture import decoder_of, unwrapped
from isogloss.models.batching import Batch, collate
from isogloss.models.fused.attention import allow_kernels, register
from isogloss.models.fused.attention_trial import calls_recorded, errs_no_more
from isogloss.models.fused.card import card_of, first_line, why_no_kernels
from isogloss.models.fused.liger import Liger, faster_gate, load_liger
from isogloss.models.fused.norms import faster_norm, is_norm
from isogloss.models.fused.trial import relative_error
from isogloss.models.hooks import padded_residuals, sequence_residuals
from isogloss.models.path import FLEX, OWN, ROWS, Kernels, kernels_of, path_of, set_path
from isogloss.models.windows import seen_by_masks, short_windows, text_config_of

logger = logging.getLogger(__name__)

PARTS = ("norms", "gates", "attention", "sequences")
# How far a forward in other kernels may be from transformers' own after all layers, relative to a token's vector; what
# is computed wrongly is off by a multiple. Each kernel by itself is held to more, `as_exact` and the tests.
_CLOSE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
# Tokens × weights from which compiling a model's layers should pay: some eight minutes of an H100, of which it saves
# more than the minute that it takes. Reckoned, not measured.
_WORTH_COMPILING = 1e17


def make_faster(model: nn.Module, *, parts: tuple[str, ...] = PARTS) -> None:
    """Put faster `parts` on `model`, in place, and log in a line each what was put on and what was left, and why.

    norms: RMSNorm by liger-kernel where it can be imported, else by torch. gates: activation and product of a gated
    MLP by liger-kernel. attention: flex attention, soft-cap, windows and sinks within; sequences: the texts of a batch
    as one sequence without padding, where nothing needs a gradient (`visit_residuals`). What is not as close to
    float32 as the module's own forward on a trial, and what cannot be computed here, stays as it was. Only this
    model's own modules change, no class. `kernels_of` says what was done; `undone` takes it back.

    Rotary positions stay transformers' own: attention layers call a function of their module for them, which all models
    of the class share, and flex attention can change scores, not the vectors that they are of. In long jobs
    `compile_layers` fuses them.
    """
    device = next(model.parameters()).device
    reason = why_no_kernels(card_of(device)) if device.type == "cuda" else None
    liger = _liger(reason) if {"norms", "gates"} & {*parts} else None
    kernels = Kernels()
    if "norms" in parts:
        kernels = kernels._replace(norms=_put_norms(model, liger))
    if "gates" in parts and liger:
        kernels = kernels._replace(gates=_put_gates(model, liger))
    set_path(model, kernels)
    if "attention" in parts and reason is None:
        _put_attention(model, sequences="sequences" in parts)
    logger.info("kernels: %s", "; ".join(f"{name}: {by}" for name, by in kernels_of(model)["kernels"].items()))


def undone(model: nn.Module) -> None:
    """Give `model` back its own forwards, attention and layers."""
    for module in decoder_of(model).body.modules():
        module.__dict__.pop("forward", None)
    own = path_of(model).own_attention
    if own is not None:
        unwrapped(model).set_attn_implementation(own)
    set_path(model, Kernels())


def compile_layers(model: nn.Module, tokens: int, *, backend: str | Callable[..., Any] = "inductor") -> bool:
    """Compile the decoder layers of `model` if so many `tokens` are to go through it that it pays; whether it did.

    Layers are compiled by themselves, so that one graph serves all of a kind and hooks between them are left alone.
    Within them norms and gates are the model's own again, which the compiler fuses. Needs a model that went the whole
    of `make_faster`: where flex attention could not be compiled, nothing can. Shapes do not matter: a graph holds for
    all of them.
    """
    inner, weights = unwrapped(model), sum(each.numel() for each in model.parameters())
    if path_of(model).rows == OWN or tokens * weights < _WORTH_COMPILING:
        return False
    if not getattr(inner, "_can_compile_fullgraph", False):
        logger.info("kernels: layers as they are: transformers does not know %s to compile", type(inner).__name__)
        return False
    before = path_of(model)
    layers = decoder_of(model).layers
    swapped = {module: module.__dict__.pop("forward", None) for module in layers.modules()}

    def put() -> None:
        for layer in layers:
            layer.forward = torch.compile(layer.forward, backend=backend)

    expected = _trial_residuals(model, sequences=True)
    allow_kernels()
    put()
    if why := _why_not(model, expected, sequences=True):
        for module, forward in swapped.items():
            module.__dict__.pop("forward", None)
            if forward is not None:
                module.forward = forward
        logger.info("kernels: layers as they are: compiled %s", why)
        return False
    set_path(model, before._replace(norms=OWN, gates=OWN, layers="compiled"))
    return True


def _liger(reason: str | None) -> Liger | None:
    """What of liger-kernel there is; None where there is none or there can be none, for `reason`, with a line."""
    if reason is None:
        try:
            return load_liger()
        except ModuleNotFoundError as error:  # nothing wrong: it is an extra
            reason = f"no {error.name} here; requirements-gpu.txt has it"
        except Exception as error:  # another version, a Triton that finds no driver: they raise anything
            reason = f"liger-kernel cannot be used ({first_line(error)})"
    logger.info("kernels: without liger-kernel: %s", reason)
    return None


def _put_norms(model: nn.Module, liger: Liger | None) -> str:
    """Which forwards the norms now have."""
    counts: dict[str, int] = {}
    for module in filter(is_norm, decoder_of(model).body.modules()):
        try:
            replacement = faster_norm(module, liger)
        except Exception as error:  # a kernel that is made at its first call: compilers and drivers raise anything
            if liger is None:
                raise
            logger.info("kernels: norms without liger-kernel: %s", first_line(error))
            liger = None
            replacement = faster_norm(module, None)
        if replacement:
            module.forward = replacement.forward
        by = replacement.by if replacement else OWN
        counts[by] = counts.get(by, 0) + 1
    return ", ".join(f"{count} {by}" for by, count in sorted(counts.items())) or OWN


def _put_gates(model: nn.Module, liger: Liger) -> str:
    """Whose the gates of the MLPs now are."""
    changed = 0
    try:
        for module in decoder_of(model).layers.modules():
            if forward := faster_gate(module, liger):
                module.forward = forward
                changed += 1
    except Exception as error:  # as of norms
        logger.info("kernels: gates without liger-kernel: %s", first_line(error))
    return f"{changed} liger-kernel" if changed else OWN


def _put_attention(model: nn.Module, *, sequences: bool) -> None:
    """Set the attention of this model, and texts as one sequence, as far as a trial of the whole model goes well."""
    inner, config = unwrapped(model), text_config_of(model)
    own = config._attn_implementation
    if not seen_by_masks(model) or not getattr(inner, "_supports_attention_backend", False):
        logger.info("kernels: attention as it was: %s takes no other", type(inner).__name__)
        return
    expected = _trial_residuals(model, sequences=False)
    register()
    inner.set_attn_implementation(FLEX)
    changed = config._attn_implementation == FLEX
    why = _why_not_flex(model, expected, sequences=False) if changed else "cannot be set"
    if not why and sequences:
        why_padded = _why_not_flex(model, expected, sequences=True)
        if why_padded and own == "sdpa":
            why = f"{why_padded}, for texts as one sequence"  # padded, it is what the model has
        elif why_padded:
            logger.info("kernels: batches stay padded: texts as one sequence: flex attention %s", why_padded)
        else:
            set_path(model, path_of(model)._replace(rows=ROWS))
    if why:
        inner.set_attn_implementation(own)
        logger.info("kernels: attention as it was (%s): flex attention %s", own, why)
        return
    set_path(model, path_of(model)._replace(attention="flex attention", own_attention=own))


def _why_not_flex(model: nn.Module, expected: Float[Tensor, "tokens d_model"], *, sequences: bool) -> str | None:
    """`_why_not` of a model with flex attention, which must err no more than its formula in each kind of call."""
    with calls_recorded() as calls:
        why = _why_not(model, expected, sequences=sequences)
    inexact = 0 if why else sum(not errs_no_more(call) for call in calls.values())
    return f"is less exact than its formula in {inexact} of {len(calls)} kinds of calls" if inexact else why


def _why_not(model: nn.Module, expected: Float[Tensor, "tokens d_model"], *, sequences: bool) -> str | None:
    """Why a forward as `model` now is cannot stand for the one that gave `expected`; None: it can."""
    try:
        found = _trial_residuals(model, sequences=sequences)
    except Exception as error:  # compilers and drivers raise anything
        return f"fails ({first_line(error)})"
    error = relative_error(found, expected)
    close = _CLOSE[next(model.parameters()).dtype]
    return None if error < close else f"gives other numbers ({error:.2g} off, more than {close:.2g})"


def _trial_batches(model: nn.Module) -> list[Batch]:
    """The same tokens for every model with so large a vocabulary: texts within a short window and beyond it.

    Two batches that differ in all sizes: kernels are made for one, then for any, and both must be tried; another
    kernel serves less than 128 queries.
    """
    step = max(1, text_config_of(model).vocab_size // 64)
    ids = [number * step for number in range(64)]
    return [collate([ids[1:12], ids[12:15], ids[20:50]]), collate([ids * 3, ids[::-1], ids[9:20], ids[30:60]])]


@torch.inference_mode()
def _trial_residuals(model: nn.Module, *, sequences: bool) -> Float[Tensor, "tokens d_model"]:
    """The residual stream of few texts after the last layer, windows short meanwhile, in float32."""
    read = sequence_residuals if sequences else padded_residuals
    parts: list[Tensor] = []
    with short_windows(model):
        for batch in _trial_batches(model):

            def visit(_layer: int, residual: Tensor, batch: Batch = batch) -> None:
                parts.append(residual[batch.attention_mask.bool().to(residual.device)].float())

            read(model, batch, [len(decoder_of(model).layers) - 1], visit)
    return torch.cat(parts)
