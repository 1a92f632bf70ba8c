"""Stage `fetch_sae`: one published SAE on the residual stream after a layer, in SAELens' format whatever its own."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from isogloss.config.pretrained import Saes
from isogloss.errors import IsoglossError
from isogloss.sources.hub import record
from isogloss.sources.saes.belonging import check_hook, check_model
from isogloss.sources.saes.locate import locate, open_sae
from isogloss.sources.saes.published import PublishedSae
from isogloss.sources.saes.table import LAYOUTS
from isogloss.sources.saes.tensors import is_finite
from isogloss.tables import atomic_path


def fetch_sae(*, saes: Saes, sae_id: str, layer: int, d_model: int, model: str | None, output: str) -> None:
    """Make the folder `output` with the SAE `sae_id` in float32, as SAELens 6 saves one: `cfg.json` and weights.

    Its activations are those of the publisher's own encoder, in the publisher's units. Where they come from, and the
    hook point `blocks.{layer}.hook_resid_post`, go into the metadata; id, commit, size and checksum of what was
    fetched into `fetched.json`. `model` is the language model's name, if it has one.

    Raises `IsoglossError` for an SAE that is not there, of another model, kind, width or hook point, that does
    something to its input or activations that is not understood, or whose weights are damaged.
    """
    located = locate(saes, sae_id)
    opened = open_sae(saes, located)
    try:
        sae = LAYOUTS[located.layout].read(opened)
    except (RuntimeError, IndexError) as error:  # torch's, of tensors that cannot be multiplied
        reason = str(error).splitlines()[0]
        raise IsoglossError(f"{opened.where}: its weights do not fit each other ({reason}); fetch it again") from None
    file = LAYOUTS[located.layout].files[-1]
    _check_shapes(sae, d_model, f"{opened.where}: {file}" if file else opened.where)
    if saes.kind not in (None, sae.kind):
        raise IsoglossError(f"{opened.where}: the SAE is of kind {sae.kind}, saes.kind says {saes.kind}; correct it")
    features = sae.b_enc.numel()
    if saes.features not in (None, features):
        raise IsoglossError(
            f"{opened.where}: the SAE has {features} features, saes.features says {saes.features}; correct it"
        )
    check_hook(sae.hook, sae_id, layer, opened.where)
    if "model_name" not in saes.ignore:
        check_model(sae.model, model, opened.where)
    about = {
        "hook_name": f"blocks.{layer}.hook_resid_post",
        "prepend_bos": True,
        "release": saes.release,
        "sae_id": sae_id,
        "layout": located.layout,
        "ignored": sorted(saes.ignore),
        **({"model_name": sae.model} if sae.model else {}),
        **({"centred_input": True} if sae.centred_input else {}),
    }
    with atomic_path(Path(output)) as aside:
        _save(sae, aside, about)
        files = {name: opened.files[file] for file, name in located.names().items()}
        record(aside, located.repository, files, release=saes.release, sae_id=sae_id, layout=located.layout)


def _check_shapes(sae: PublishedSae, d_model: int, where: str) -> None:
    """Raise `IsoglossError` for weights that do not fit each other or the model, or that are not finite."""
    width, features = sae.w_enc.shape if sae.w_enc.ndim == 2 else (0, 0)
    if width != d_model:
        raise IsoglossError(
            f"{where}: the SAE is for width {width}, the model's residual stream has {d_model}; give the SAE of this"
            " model"
        )
    tensors = {
        "W_enc": (sae.w_enc, (d_model, features)),
        "W_dec": (sae.w_dec, (features, d_model)),
        "b_enc": (sae.b_enc, (features,)),
        "b_dec": (sae.b_dec, (d_model,)),
        "threshold": (sae.threshold, (features,)),
    }
    for name, (tensor, shape) in tensors.items():
        if tensor is None:
            continue
        if tensor.shape != shape:
            there, wanted = (" x ".join(map(str, sizes)) for sizes in (tensor.shape, shape))
            raise IsoglossError(f"{where}: {name} has shape {there}, not {wanted}; give another SAE or fetch it again")
        if not is_finite(tensor):
            raise IsoglossError(f"{where}: {name} with NaN or infinite values; fetch it again")
    if sae.declared not in (None, features):
        raise IsoglossError(
            f"{where}: its config says {sae.declared} features, its weights have {features}; give another SAE or fetch"
            " it again"
        )
    if sae.width not in (None, width):
        raise IsoglossError(
            f"{where}: its config says width {sae.width}, its weights have {width}; give another SAE or fetch it again"
        )
    if sae.k is not None and not 1 <= sae.k <= features:
        raise IsoglossError(f"{where}: k is {sae.k}, but the SAE has {features} features; give another SAE")


def _save(sae: PublishedSae, folder: Path, about: dict[str, Any]) -> None:
    cfg = {
        "architecture": sae.kind,
        "d_in": len(sae.w_enc),
        "d_sae": len(sae.b_enc),
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": sae.subtracts_b_dec,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": version("sae-lens"), "unit_norm_input": sae.unit_norm_input, **about},
    }
    if sae.k is not None:
        cfg |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    weights = {"W_enc": sae.w_enc, "b_enc": sae.b_enc, "W_dec": sae.w_dec, "b_dec": sae.b_dec}
    if sae.threshold is not None:
        weights["threshold"] = sae.threshold
    folder.mkdir()
    (folder / "cfg.json").write_text(json.dumps(cfg), encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "sae_weights.safetensors")
