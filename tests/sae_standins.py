"""Tiny SAEs in the exact formats of their publishers, and what SAELens' own loaders make of the same files."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

D_MODEL, FEATURES, LAYER = 32, 64, 12


def weights(d_model: int = D_MODEL, features: int = FEATURES) -> dict[str, torch.Tensor]:
    """A random JumpReLU SAE, its decoder's rows of norm 1, in SAELens' names."""
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int, scale: float) -> torch.Tensor:
        return torch.randn(*shape, generator=draw) * scale

    return {
        "W_enc": normal(d_model, features, scale=1 / d_model**0.5),
        "W_dec": torch.nn.functional.normalize(normal(features, d_model, scale=1.0), dim=1),
        "b_enc": normal(features, scale=0.1),
        "b_dec": normal(d_model, scale=0.3),
        "threshold": torch.rand(features, generator=draw) + 0.1,
    }


def without_threshold() -> dict[str, torch.Tensor]:
    return {name: value for name, value in weights().items() if name != "threshold"}


def scope(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Google's names."""
    return {name.replace("W_", "w_"): value for name, value in tensors.items()}


def gemma_scope(root: Path, path: str) -> None:
    folder = root / path
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **{name: value.numpy() for name, value in scope(weights()).items()})


def gemma_scope_2(root: Path, path: str, **changed: Any) -> None:
    """As google/gemma-scope-2-270m-pt."""
    folder = root / path
    folder.mkdir(parents=True)
    save_file(scope(weights()), folder / "params.safetensors")
    config = {
        "hf_hook_point_in": f"model.layers.{LAYER}.output",
        "hf_hook_point_out": f"model.layers.{LAYER}.output",
        "width": FEATURES,
        "model_name": "gemma-v3-270m-pt",
        "architecture": "jump_relu",
        "l0": 60,
        "affine_connection": False,
        "type": "sae",
    }
    (folder / "config.json").write_text(json.dumps(config | changed))


LLAMA_SCALE = 25.56  # norm_scaling_factor of l12r_8x is set by the test from SAELens' directory


def llama_scope(
    root: Path, path: str, scale: float = LLAMA_SCALE, decoder: float | torch.Tensor = 1.0, **changed: Any
) -> None:
    """As fnlp/Llama3_1-8B-Base-LXR-8x; the threshold is in the model's own units."""
    folder = root / path
    (folder / "checkpoints").mkdir(parents=True)
    made = weights()
    tensors = {
        "encoder.weight": made["W_enc"].T.contiguous(),
        "encoder.bias": made["b_enc"],
        "decoder.weight": (made["W_dec"] * decoder).T.contiguous(),
        "decoder.bias": made["b_dec"],
    }
    save_file(tensors, folder / "checkpoints" / "final.safetensors")
    norm = D_MODEL**0.5 / scale
    config = {
        "device": "cuda:0",
        "seed": 42,
        "dtype": "torch.bfloat16",
        "hook_point_in": f"blocks.{LAYER}.hook_resid_post",
        "hook_point_out": f"blocks.{LAYER}.hook_resid_post",
        "use_decoder_bias": True,
        "apply_decoder_bias_to_pre_encoder": False,
        "expansion_factor": 2,
        "d_model": D_MODEL,
        "d_sae": FEATURES,
        "bias_init_method": "all_zero",
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.6 / scale,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": norm, "out": norm},
        "decoder_exactly_fixed_norm": False,
        "sparsity_include_decoder_norm": True,
        "use_glu_encoder": False,
        "init_decoder_norm": 0.5,
        "init_encoder_norm": None,
        "init_encoder_with_decoder_transpose": True,
        "lp": 1,
        "l1_coefficient": 8e-05,
        "l1_coefficient_warmup_steps": 78125,
        "top_k": 50,
        "k_warmup_steps": 78125,
        "use_batch_norm_mse": True,
        "use_ghost_grads": False,
        "tp_size": 1,
        "ddp_size": 1,
    }
    (folder / "hyperparams.json").write_text(json.dumps(config | changed))


QWEN = "Qwen/SAE-Res-Qwen3-1.7B-Base-W1K-L0_50"  # a narrow one of Qwen3-1.7B, whose width SAELens knows
QWEN_D_MODEL, QWEN_FEATURES = 2048, 1024


def qwen_scope(root: Path, path: str) -> None:
    root.mkdir(parents=True)
    made = weights(QWEN_D_MODEL, QWEN_FEATURES)
    tensors = {"W_enc": made["W_enc"].T.contiguous(), "W_dec": made["W_dec"].T.contiguous()}
    torch.save({**tensors, "b_enc": made["b_enc"], "b_dec": made["b_dec"]}, root / path)


def sparsify(root: Path, path: str, **changed: Any) -> None:
    """As `SparseCoder.save_to_disk` writes it, in the folder of a run."""
    folder = root / path
    folder.mkdir(parents=True)
    made = weights()
    tensors = {"encoder.weight": made["W_enc"].T.contiguous(), "encoder.bias": made["b_enc"]}
    save_file({**tensors, "W_dec": made["W_dec"], "b_dec": made["b_dec"]}, folder / "sae.safetensors")
    config = {
        "activation": "topk",
        "expansion_factor": 2,
        "normalize_decoder": True,
        "num_latents": 0,
        "k": 8,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": D_MODEL,
    }
    (folder / "cfg.json").write_text(json.dumps(config | changed))
    (folder.parent / "config.json").write_text(json.dumps({"model": "HuggingFaceTB/SmolLM2-135M", "ctx_len": 2048}))


DICTIONARIES: dict[str, Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]] = {
    "AutoEncoder": lambda made: {**_linear(made), "encoder.bias": made["b_enc"], "bias": made["b_dec"]},
    "AutoEncoderNew": lambda made: {**_linear(made), "encoder.bias": made["b_enc"], "decoder.bias": made["b_dec"]},
    "AutoEncoderTopK": lambda made: {**_batch_topk(made), "threshold": torch.tensor(-1.0)},
    "BatchTopKSAE": lambda made: _batch_topk(made),
    "MatryoshkaBatchTopKSAE": lambda made: {
        **made,
        "threshold": torch.tensor(0.4),
        "k": torch.tensor(8, dtype=torch.int),
        "group_sizes": torch.tensor([32, 32]),
    },
    "JumpReluAutoEncoder": lambda made: dict(made),
    "GatedAutoEncoder": lambda made: {
        **_linear(made),
        "decoder_bias": made["b_dec"],
        "r_mag": made["b_enc"] * 3,
        "mag_bias": made["b_enc"] * 5,
        "gate_bias": -made["threshold"],
    },
}


def _linear(made: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"encoder.weight": made["W_enc"].T.contiguous(), "decoder.weight": made["W_dec"].T.contiguous()}


def _batch_topk(made: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    more = {"k": torch.tensor(8, dtype=torch.int), "threshold": torch.tensor(0.4)}
    return {**_linear(made), "encoder.bias": made["b_enc"], "b_dec": made["b_dec"], **more}


def dictionary_learning(root: Path, path: str, made: str = "BatchTopKSAE", **changed: Any) -> None:
    """As SAEBench's repositories hold them."""
    folder = root / path
    folder.mkdir(parents=True)
    torch.save(DICTIONARIES[made](weights()), folder / "ae.pt")
    trainer = {
        "trainer_class": "BatchTopKTrainer",
        "dict_class": made,
        "lr": 3e-4,
        "steps": 244140,
        "auxk_alpha": 0.03125,
        "warmup_steps": 1000,
        "decay_start": 195312,
        "threshold_beta": 0.999,
        "threshold_start_step": 1000,
        "top_k_aux": 16,
        "seed": 0,
        "activation_dim": D_MODEL,
        "dict_size": FEATURES,
        "k": 8,
        "device": "cuda:0",
        "layer": LAYER,
        "lm_name": "google/gemma-2-2b",
        "wandb_name": "BatchTopKTrainer",
        "submodule_name": f"resid_post_layer_{LAYER}",
    }
    buffer = {
        "d_submodule": D_MODEL,
        "io": "out",
        "n_ctxs": 244,
        "ctx_len": 1024,
        "refresh_batch_size": 4,
        "out_batch_size": 2048,
        "device": "cuda:0",
    }
    (folder / "config.json").write_text(json.dumps({"trainer": trainer | changed, "buffer": buffer}))


VERSION_5 = {
    "architecture": "standard",
    "d_in": D_MODEL,
    "d_sae": FEATURES,
    "activation_fn_str": "relu",
    "apply_b_dec_to_input": True,
    "finetuning_scaling_factor": False,
    "context_size": 128,
    "model_name": "gpt2-small",
    "hook_name": f"blocks.{LAYER}.hook_resid_post",
    "hook_layer": LAYER,
    "hook_head_index": None,
    "prepend_bos": True,
    "dataset_path": "Skylion007/openwebtext",
    "dataset_trust_remote_code": True,
    "normalize_activations": "none",
    "dtype": "float32",
    "device": "cuda",
    "sae_lens_training_version": "5.3.0",
    "activation_fn_kwargs": {},
    "neuronpedia_id": None,
    "model_from_pretrained_kwargs": {},
    "seqpos_slice": [None],
}
VERSION_6 = {
    "architecture": "jumprelu",
    "d_in": D_MODEL,
    "d_sae": FEATURES,
    "dtype": "float32",
    "device": "cpu",
    "apply_b_dec_to_input": True,
    "normalize_activations": "none",
    "reshape_activations": "none",
    "metadata": {
        "sae_lens_version": "6.5.0",
        "sae_lens_training_version": "6.5.0",
        "model_name": "gpt2",
        "hook_name": f"blocks.{LAYER}.hook_resid_post",
        "model_class_name": "HookedTransformer",
        "hook_head_index": None,
        "context_size": 128,
        "seqpos_slice": [None],
        "model_from_pretrained_kwargs": {},
        "prepend_bos": True,
        "exclude_special_tokens": False,
        "dataset_path": "Skylion007/openwebtext",
    },
}
OLDEST = {  # version 2, of which GPT-2's best-known SAEs are
    "model_name": "gpt2-small",
    "hook_point": f"blocks.{LAYER + 1}.hook_resid_pre",
    "hook_point_layer": LAYER + 1,
    "hook_point_head_index": None,
    "dataset_path": "Skylion007/openwebtext",
    "context_size": 128,
    "d_in": D_MODEL,
    "d_sae": FEATURES,
    "dtype": "torch.float32",
    "device": "cuda",
    "expansion_factor": 2,
    "l1_coefficient": 8e-05,
    "lp_norm": 1,
    "lr": 0.0004,
    "use_ghost_grads": True,
}


def saelens(
    root: Path, path: str, config: Mapping[str, Any] | None = None, tensors: Mapping[str, torch.Tensor] | None = None
) -> None:
    folder = root / path
    folder.mkdir(parents=True)
    save_file(dict(tensors or weights()), folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config or VERSION_6))


def gated() -> dict[str, torch.Tensor]:
    """A gated SAE in SAELens' names."""
    made = without_threshold()
    bias = made.pop("b_enc")
    return {**made, "r_mag": bias * 3, "b_mag": bias * 5, "b_gate": -weights()["threshold"]}


def opinion(
    monkeypatch: pytest.MonkeyPatch, root: Path, release: str, sae_id: str, loader: str, **overrides: Any
) -> Any:
    """The SAE that SAELens' loader makes of the files in `root`, which stands for the repository.

    `overrides` are of the config that it makes up from names.
    """
    from huggingface_hub.errors import EntryNotFoundError
    from sae_lens import SAE
    from sae_lens.loading import pretrained_sae_loaders as loaders

    def local(_: str, filename: str, subfolder: str = "", **__: Any) -> str:
        path = root / subfolder / filename
        if not path.is_file():
            raise EntryNotFoundError(filename)
        return str(path)

    def shapes(_: str, filename: str) -> dict[str, list[int]]:
        with safe_open(root / filename, framework="pt") as tensors:
            return {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118

    monkeypatch.setattr(loaders, "hf_hub_download", lambda repo_id, filename, **more: local(repo_id, filename, **more))
    monkeypatch.setattr(loaders, "get_safetensors_tensor_shapes", shapes)
    named = loaders.NAMED_PRETRAINED_SAE_LOADERS[loader]

    def converter(cfg_overrides: dict[str, Any], **more: Any) -> Any:
        return named(cfg_overrides=cfg_overrides | overrides, **more)

    return SAE.from_pretrained(release, sae_id, device="cpu", dtype="float32", converter=converter)
