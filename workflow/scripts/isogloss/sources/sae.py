"""Stage `fetch_sae`: one pretrained SAE on the residual stream after a layer, in SAELens format."""

import json
import logging
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError

from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.sources.hub import Repository, hub_repository, one_line, open_repository, record, write_record
from isogloss.tables import atomic_path

if TYPE_CHECKING:
    from sae_lens import SAE  # 5 s to import

logger = logging.getLogger(__name__)

NPZ, CFG, WEIGHTS = "params.npz", "cfg.json", "sae_weights.safetensors"
RESIDUAL = "gemma-scope-2b-pt-res"  # stands in for a Gemma Scope repository whose name is not known
# The same point in the names of TransformerLens and of transformers' modules, whose output it is.
HOOKS = (r"blocks\.(\d+)\.hook_resid_post", r"(?:\w+\.)*(?:layers|h)\.(\d+)(?:\.output)?")
LAYER_IN_ID = r"(?:(?:layers?|blocks)[_.]?|^l(?=\d+[a-z]_))(\d+)"  # layer_12/..., blocks.12...., l12r_8x


def fetch_sae(
    *,
    source: Source | None,
    release: str | None,
    sae_id: str,
    layer: int,
    kind: str,
    features: int,
    d_model: int,
    output: str,
) -> None:
    """Make the folder `output` with the SAE `sae_id` as SAELens saves it, in float32.

    From `source`, Gemma Scope's `params.npz` or SAELens' own two files below `sae_id`; without one,
    SAELens loads `release`. Release, id and the hook point `blocks.{layer}.hook_resid_post` go into the
    metadata. Raises `IsoglossError` for an SAE that is not there, of another kind, width or hook
    point than declared, that rescales its input, or whose weights are damaged.
    """
    if source is None:
        assert release is not None  # the configuration asks for one of the two
        _from_release(release, sae_id, layer, kind, features, d_model, Path(output))
        return
    repository = open_repository(source)
    npz, cfg, weights = (str(PurePosixPath(sae_id, name)) for name in (NPZ, CFG, WEIGHTS))
    where = f"{repository.where}: {sae_id}"
    if repository.has(npz):
        files = repository.take([npz])
        names = [name for name in (repository.id, release) if name]
        sae = _from_gemma_scope(files[npz].parent, names, sae_id, layer, features, d_model, where)
    elif repository.has(cfg) and repository.has(weights):
        files = repository.take([cfg, weights])
        sae = _from_sae_lens(files[cfg].parent, where)
    else:
        raise IsoglossError(f"{where}: neither {NPZ} nor {CFG} with {WEIGHTS}{_beside(repository, sae_id)}")
    _check(sae, sae_id, layer, kind, features, d_model, where)
    with atomic_path(Path(output)) as aside:
        _save(sae, aside, layer, release, sae_id)
        record(aside, repository, files, release=release, sae_id=sae_id)


def _beside(repository: Repository, sae_id: str) -> str:
    """What the folder above has instead, for the message."""
    above = PurePosixPath(sae_id).parent
    others = [str(PurePosixPath(name).parent) for file in (NPZ, CFG) for name in repository.names(f"{above}/*/{file}")]
    shown = ", ".join(others[:8]) + (", ..." if len(others) > 8 else "")
    return f"; there are {shown}: correct saes.ids" if others else "; correct saes.ids or the source"


def _from_gemma_scope(
    folder: Path, names: list[str], sae_id: str, layer: int, features: int, d_model: int, where: str
) -> "SAE[Any]":
    from sae_lens import SAE

    def converter(
        path: str | Path, device: str = "cpu", cfg_overrides: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        cfg = _gemma_scope_cfg(names, sae_id, layer, {"d_in": d_model, "d_sae": features})
        state = _read_npz(Path(path) / NPZ, features, d_model, f"{where}/{NPZ}")
        return cfg | {"device": device} | (cfg_overrides or {}), state

    return SAE.load_from_disk(folder, converter=converter)


def _read_npz(path: Path, features: int, d_model: int, where: str) -> dict[str, torch.Tensor]:
    """Gemma Scope's five arrays under SAELens' names, in float32; nothing pickled is loaded."""
    shapes = {
        "w_enc": (d_model, features),
        "w_dec": (features, d_model),
        "b_enc": (features,),
        "b_dec": (d_model,),
        "threshold": (features,),
    }
    state: dict[str, torch.Tensor] = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if lacking := [name for name in shapes if name not in arrays]:
                raise IsoglossError(f"{where}: no array {', '.join(lacking)}; is it an SAE of Gemma Scope?")
            if more := [name for name in arrays if name not in shapes]:
                raise IsoglossError(
                    f"{where}: arrays {', '.join(more)} that a JumpReLU SAE of Gemma Scope has not; a transcoder or a"
                    " newer format: load it by `release`, without source"
                )
            for name, shape in shapes.items():
                array = arrays[name]
                if array.shape != shape:
                    raise IsoglossError(
                        f"{where}: {name} has shape {_times(array.shape)}, not {_times(shape)} as d_model {d_model} and"
                        f" saes.features {features} say; correct them, or give the SAE of this model"
                    )
                key = "W" + name[1:] if name.startswith("w_") else name
                state[key] = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).splitlines()[0]
        raise IsoglossError(f"{where}: not a whole npz file of numbers ({reason}); fetch it again") from None
    return state


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _gemma_scope_cfg(names: list[str], sae_id: str, layer: int, widths: Mapping[str, int]) -> dict[str, Any]:
    """SAELens' configuration of a Gemma Scope SAE, which it reads off the names of repository and folder."""
    from sae_lens.loading.pretrained_sae_loaders import get_gemma_2_config_from_hf

    folder = sae_id if re.search(r"layer_\d+", sae_id) else f"layer_{layer}/{sae_id}"
    for name in names:
        try:
            return get_gemma_2_config_from_hf(name, folder, "cpu", cfg_overrides=dict(widths))
        except ValueError:
            continue
    logger.warning("%s: no repository or release name tells the hook point; taken to be the residual stream", sae_id)
    cfg = get_gemma_2_config_from_hf(RESIDUAL, folder, "cpu", cfg_overrides=dict(widths))
    return {key: value for key, value in cfg.items() if key != "model_name"}


def _from_sae_lens(folder: Path, where: str) -> "SAE[Any]":
    from sae_lens import SAE

    try:
        cfg = json.loads((folder / CFG).read_text(encoding="utf-8"))
        if not isinstance(cfg, dict) or "d_in" not in cfg:
            raise IsoglossError(f"{where}/{CFG}: not the configuration of an SAE in SAELens format")
        return SAE.load_from_disk(folder, device="cpu", dtype="float32")
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise IsoglossError(f"{where}: SAELens cannot load it ({reason}); fetch it again or give another SAE") from None


def _from_release(release: str, sae_id: str, layer: int, kind: str, features: int, d_model: int, output: Path) -> None:
    from sae_lens import SAE
    from sae_lens.loading.pretrained_saes_directory import get_repo_id_and_folder_name

    where = f"{release}: {sae_id}"
    try:
        name, _ = get_repo_id_and_folder_name(release, sae_id)
        repository = hub_repository(name, "main")  # one request, where SAELens would retry
        with one_line(name, "main", "model"):
            sae = SAE.from_pretrained(release, sae_id, device="cpu", dtype="float32")
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise IsoglossError(f"{where}: SAELens cannot load it ({reason}); correct saes.release or saes.ids") from None
    _check(sae, sae_id, layer, kind, features, d_model, where)
    with atomic_path(output) as aside:
        _save(sae, aside, layer, release, sae_id)
        write_record(
            aside,
            {file: aside / file for file in (CFG, WEIGHTS)},
            id=name,
            revision=repository.commit,
            requested="main",
            source="sae-lens",
            release=release,
            sae_id=sae_id,
        )


def _check(sae: "SAE[Any]", sae_id: str, layer: int, kind: str, features: int, d_model: int, where: str) -> None:
    """Hold the SAE against what is declared; raises `IsoglossError` for the first difference."""
    cfg = sae.cfg
    if cfg.architecture() != kind:
        raise IsoglossError(f"{where}: the SAE is of kind {cfg.architecture()}, saes.kind says {kind}; correct it")
    if cfg.d_in != d_model:
        raise IsoglossError(
            f"{where}: the SAE is for width {cfg.d_in}, the model's residual stream has {d_model};"
            " give the SAE of this model"
        )
    if cfg.d_sae != features:
        raise IsoglossError(f"{where}: the SAE has {cfg.d_sae} features, saes.features says {features}; correct it")
    if cfg.normalize_activations not in (None, "none"):
        raise IsoglossError(
            f"{where}: the SAE rescales its input (normalize_activations {cfg.normalize_activations!r}), which"
            " isogloss does not do; SAELens folds expected_average_only_in into the weights where it loads a `release`"
        )
    _check_hook(cfg.metadata.get("hook_name") or cfg.metadata.get("hf_hook_name"), sae_id, layer, where)
    broken = [name for name, values in sae.state_dict().items() if not torch.isfinite(values).all()]
    if broken:
        raise IsoglossError(f"{where}: {', '.join(broken)} with NaN or infinite values; fetch it again")


def _check_hook(hook: str | None, sae_id: str, layer: int, where: str) -> None:
    """The SAE must belong to the residual stream after `layer`: by its hook name, else by its id, else by trust."""
    wanted = f"layer {layer} (blocks.{layer}.hook_resid_post)"
    if hook is None:
        match = re.search(LAYER_IN_ID, sae_id)
        if match and int(match[1]) != layer:
            raise IsoglossError(f"{where}: by its id the SAE belongs to layer {match[1]}, not to {wanted}")
        return
    match = next((match for pattern in HOOKS if (match := re.fullmatch(pattern, hook))), None)
    if match is None or int(match[1]) != layer:
        raise IsoglossError(
            f"{where}: the SAE belongs to {hook}, not to the residual stream after {wanted}; give that SAE in saes.ids"
        )


def _save(sae: "SAE[Any]", folder: Path, layer: int, release: str | None, sae_id: str) -> None:
    metadata = sae.cfg.metadata
    metadata.hook_name = f"blocks.{layer}.hook_resid_post"
    metadata.release, metadata.sae_id = release, sae_id
    sae.save_model(folder)
