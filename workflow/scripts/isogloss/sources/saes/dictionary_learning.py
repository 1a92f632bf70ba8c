"""The layout of dictionary_learning, SAEBench's SAEs among others: `config.json` with `ae.pt` (torch)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from isogloss.errors import IsoglossError
from isogloss.sources.saes.folding import Gate
from isogloss.sources.saes.published import (
    Layout,
    Opened,
    PublishedSae,
    Shape,
    check_keys,
    check_neutral,
    mapping,
    name,
    read_config,
    whole_number,
    words,
)
from isogloss.sources.saes.tensors import read_tensors

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, FILE = "config.json", "ae.pt"
LINEAR = {"encoder.weight": "W_enc.T", "decoder.weight": "W_dec.T"}
PLAIN = {"W_enc": "W_enc", "b_enc": "b_enc", "W_dec": "W_dec", "b_dec": "b_dec"}
BIASED = {**LINEAR, "encoder.bias": "b_enc"}


class _Class(NamedTuple):
    """One of the library's dictionaries."""

    kind: str
    tensors: dict[str, str]
    subtracts_b_dec: bool = True
    optional: Mapping[str, str] = {}
    unread: tuple[str, ...] = ()


_CLASSES = {
    "AutoEncoder": _Class("standard", {**BIASED, "bias": "b_dec"}),
    "AutoEncoderNew": _Class("standard", {**BIASED, "decoder.bias": "b_dec"}, subtracts_b_dec=False),
    # Its threshold is for other uses: `encode` keeps the k largest of each token.
    "AutoEncoderTopK": _Class("topk", {**BIASED, "b_dec": "b_dec"}, unread=("k", "threshold")),
    "BatchTopKSAE": _Class(
        "jumprelu", {**BIASED, "b_dec": "b_dec"}, optional={"threshold": "threshold"}, unread=("k",)
    ),
    "MatryoshkaBatchTopKSAE": _Class(
        "jumprelu", PLAIN, optional={"threshold": "threshold"}, unread=("k", "group_sizes")
    ),
    "JumpReluAutoEncoder": _Class("jumprelu", {**PLAIN, "threshold": "threshold"}, subtracts_b_dec=False),
    "GatedAutoEncoder": _Class(
        "jumprelu",
        {**LINEAR, "decoder_bias": "b_dec", "r_mag": "r_mag", "mag_bias": "b_mag", "gate_bias": "b_gate"},
    ),
}
# norm_factor: inputs are divided by it in training; what is saved is for the model's own units.
TRAINER = words(
    "trainer_class dict_class activation_dim dict_size k layer lm_name submodule_name lr steps seed device wandb_name "
    "warmup_steps decay_start auxk_alpha threshold_beta threshold_start_step top_k_aux k_anneal_steps l1_penalty "
    "initial_sparsity_penalty sparsity_penalty sparsity_warmup_steps sparsity_function resample_steps bandwidth "
    "target_l0 aux_weight p_start p_end anneal_start anneal_end sparsity_queue_length n_sparsity_updates "
    "sparsity_loss_type group_fractions group_weights group_sizes norm_factor"
)
BUFFER = words("d_submodule n_ctxs ctx_len refresh_batch_size out_batch_size device remove_bos add_special_tokens")


def _read(opened: Opened) -> PublishedSae:
    """The encoder of the class that `trainer.dict_class` names, BatchTopK by its threshold as at inference.

    GatedAutoEncoder and JumpReluAutoEncoder multiply what they return by the norms of the decoder's rows; here, as in
    SAELens and Neuronpedia, activations are before that, so that x^ = f W_dec + b_dec holds as for all others.
    """
    trainer, made = _trainer(opened)
    tensors = read_tensors(opened, FILE, made.tensors, made.optional, made.unread)
    w_enc, b_enc, threshold = tensors["W_enc"], tensors.get("b_enc"), tensors.get("threshold")
    if "r_mag" in tensors:
        w_enc, b_enc, threshold = Gate(w_enc, tensors["r_mag"], tensors["b_mag"], tensors["b_gate"]).jumprelu()
    assert b_enc is not None
    return PublishedSae(
        kind=made.kind,
        w_enc=w_enc,
        b_enc=b_enc,
        w_dec=tensors["W_dec"],
        b_dec=tensors["b_dec"],
        subtracts_b_dec=made.subtracts_b_dec,
        hook=_hook(opened, trainer),
        model=name(opened, trainer, "lm_name"),
        threshold=_threshold(opened, threshold, b_enc) if made.kind == "jumprelu" else None,
        k=whole_number(opened, trainer, "k") if made.kind == "topk" else None,
        declared=_shape(opened).features,
        width=whole_number(opened, trainer, "activation_dim"),
    )


def _trainer(opened: Opened) -> tuple[dict[str, Any], _Class]:
    config = check_keys(opened, read_config(opened, CONFIG), {"trainer", "buffer"})
    trainer, buffer = (mapping(opened, config, key) for key in ("trainer", "buffer"))
    trainer = check_keys(opened, trainer, TRAINER, "its config's trainer")
    buffer = check_keys(opened, buffer, {*BUFFER, "io"}, "its config's buffer")
    check_neutral(opened, buffer, {"io": ("out",)})
    made = name(opened, trainer, "dict_class")
    if made not in _CLASSES:
        raise IsoglossError(f"{opened.where}: dict_class is {made}; understood are {', '.join(_CLASSES)}")
    return trainer, _CLASSES[made]


def _hook(opened: Opened, trainer: dict[str, Any]) -> str:
    """SAEBench's names of submodules: resid_post_layer_12; without one, as SAELens takes it, the residual stream."""
    layer, module = trainer.get("layer"), name(opened, trainer, "submodule_name")
    return f"blocks.{layer}.hook_resid_post" if module in (None, f"resid_post_layer_{layer}") else module


def _threshold(opened: Opened, threshold: "Tensor | None", b_enc: "Tensor") -> "Tensor":
    """One number for all features, or one each; BatchTopK begins with -1 until its training has set it."""
    if threshold is None or (threshold.ndim == 0 and threshold < 0):
        raise IsoglossError(
            f"{opened.where}: no threshold is set, without which a BatchTopK SAE depends on what else is in the batch;"
            " give one that was trained to the end"
        )
    return threshold.expand_as(b_enc).contiguous() if threshold.ndim == 0 else threshold


def _shape(opened: Opened) -> Shape:
    trainer, made = _trainer(opened)
    return Shape(made.kind, whole_number(opened, trainer, "dict_size"))


DICTIONARY_LEARNING = Layout((CONFIG, FILE), _read, _shape)
