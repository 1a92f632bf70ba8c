"""What of published SAEs is refused, and what is known of them before anything is fetched."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

import sae_standins as standins
from isogloss.config.pretrained import PretrainedModel
from isogloss.errors import IsoglossError
from isogloss.sources.saes.locate import require_saes
from isogloss.sources.saes.release import find_release
from published_saes import BARE, fetch
from sae_standins import D_MODEL, FEATURES, VERSION_5, VERSION_6


def saelens_with(config: dict[str, Any], **tensors: torch.Tensor) -> Callable[[Path, str], None]:
    return lambda root, path: standins.saelens(root, path, config, {**BARE, **tensors})


def metadata(**changed: Any) -> dict[str, Any]:
    return {**VERSION_6, "architecture": "standard", "metadata": {**VERSION_6["metadata"], **changed}}


REFUSED: dict[str, tuple[Callable[[Path, str], None], str]] = {
    "layer_norm": (saelens_with({**VERSION_5, "normalize_activations": "layer_norm"}), "rescales its input"),
    "scale unknown": (
        saelens_with({**VERSION_5, "normalize_activations": "expected_average_only_in"}),
        "a factor that is not in the files; give saes.release",
    ),
    "whitened": (saelens_with({**metadata(), "normalize_activations": "covariance_whitening"}), "rescales its input"),
    "centred, of a model that is not known to have LayerNorm": (
        saelens_with(
            {**VERSION_5, "model_name": "x", "model_from_pretrained_kwargs": {"center_writing_weights": True}}
        ),
        r"loaded with center_writing_weights .*name model_from_pretrained_kwargs in saes\.ignore",
    ),
    "checkpoint": (
        saelens_with({**VERSION_5, "model_from_pretrained_kwargs": {"checkpoint_index": 3}}),
        "loaded with checkpoint_index",
    ),
    "no BOS": (saelens_with({**VERSION_5, "prepend_bos": False}), r"prepend_bos is false, which .* saes\.ignore"),
    "head": (saelens_with({**VERSION_5, "hook_head_index": 2}), "hook_head_index is 2"),
    "positions": (saelens_with({**VERSION_5, "seqpos_slice": [5, None]}), r"seqpos_slice is \[5, null\]"),
    "positions of version 6": (saelens_with(metadata(seqpos_slice=[4, None])), r"seqpos_slice is \[4, null\]"),
    "reshape": (saelens_with({**VERSION_6, "reshape_activations": "hook_z"}), 'reshape_activations is "hook_z"'),
    "tanh-relu": (saelens_with({**VERSION_5, "activation_fn_str": "tanh-relu"}), 'activation_fn is "tanh-relu"'),
    "abstopk": (saelens_with({**VERSION_6, "architecture": "abstopk", "k": 4}), "its architecture is abstopk; under"),
    "transcoder": (saelens_with({**VERSION_6, "architecture": "jumprelu_transcoder"}), "jumprelu_transcoder; under"),
    "no k": (saelens_with({**VERSION_5, "activation_fn_str": "topk"}), "k is null, not a positive whole number"),
    "k too large": (saelens_with({**VERSION_6, "architecture": "topk", "k": 99}), "k is 99, but .* 64 features"),
    "no threshold": (
        saelens_with({**VERSION_6, "architecture": "batchtopk", "k": 4}),
        "without its threshold",
    ),
    "unknown key": (saelens_with({**VERSION_6, "whiten": 1}), r"has whiten, which isogloss does not know"),
    "unknown tensor": (saelens_with(VERSION_5, W_skip=torch.zeros(3)), "has the tensors W_skip besides"),
    "factors switched off": (saelens_with(VERSION_5, scaling_factor=torch.full((FEATURES,), 2.0)), "says that finetun"),
    "factors of another width": (
        saelens_with({**VERSION_5, "finetuning_scaling_factor": True}, scaling_factor=torch.full((3,), 2.0)),
        "scaling_factor is not one for each feature",
    ),
    "whole numbers": (saelens_with(VERSION_5, b_enc=torch.ones(FEATURES, dtype=torch.int)), "of torch.int32, not of"),
    "overflow": (saelens_with(VERSION_5, W_enc=(BARE["W_enc"] * 1e6).half()), "W_enc with NaN or infinite values"),
    "shape": (saelens_with(VERSION_5, b_dec=torch.ones(FEATURES)), "b_dec has shape 64, not 32"),
    "another layer's": (saelens_with({**VERSION_5, "hook_name": "blocks.12.hook_resid_pre"}), "give it for layer 11"),
    "mlp": (saelens_with({**VERSION_5, "hook_name": "blocks.12.hook_mlp_out"}), "belongs to blocks.12.hook_mlp_out"),
    "another model's": (
        saelens_with({**VERSION_5, "model_name": "pythia-70m"}),
        r"belongs to the model pythia-70m, the study's is gpt2; .* saes\.ignore",
    ),
    **{
        f"SAELens, {key} as text": (saelens_with({**VERSION_5, key: "false"}), f'{key} is "false", not true or false')
        for key in ("apply_b_dec_to_input", "rescale_acts_by_decoder_norm", "unit_norm_input")
    },
    "SAELens, a switch as number": (
        saelens_with({**VERSION_5, "apply_b_dec_to_input": 0}),
        "apply_b_dec_to_input is 0, not true or false",
    ),
    "SAELens, neither on nor off": (
        saelens_with({**VERSION_5, "apply_b_dec_to_input": None}),
        "apply_b_dec_to_input is null, not true or false",
    ),
    "SAELens, factors as text": (
        saelens_with({**VERSION_5, "finetuning_scaling_factor": "false"}, scaling_factor=torch.full((FEATURES,), 2.0)),
        'finetuning_scaling_factor is "false", not true or false',
    ),
    "SAELens, centring as text": (
        saelens_with({**VERSION_5, "model_from_pretrained_kwargs": {"center_writing_weights": "false"}}),
        'center_writing_weights is "false", not true or false',
    ),
    **{
        f"Llama Scope, {key} as text": (
            lambda root, path, key=key: standins.llama_scope(root, path, **{key: "false"}),
            f'{key} is "false", not true or false',
        )
        for key in ("sparsity_include_decoder_norm", "apply_decoder_bias_to_pre_encoder")
    },
    "Gemma Scope 2, transcoder": (
        lambda root, path: standins.gemma_scope_2(root, path, type="transcoder"),
        'type is "transcoder"',
    ),
    "Gemma Scope 2, attention": (
        lambda root, path: standins.gemma_scope_2(
            root, path, hf_hook_point_in="model.layers.12.self_attn.o_proj.input", model_name="gpt2"
        ),
        "belongs to model.layers.12.self_attn.o_proj.input",
    ),
    "Llama Scope, transcoder": (
        lambda root, path: standins.llama_scope(root, path, hook_point_out="blocks.12.hook_mlp_out"),
        "a transcoder from blocks.12.hook_resid_post to blocks.12.hook_mlp_out",
    ),
    "Llama Scope, token-wise": (
        lambda root, path: standins.llama_scope(root, path, norm_activation="token-wise"),
        'norm_activation is "token-wise"',
    ),
    "sparsify, groupmax": (
        lambda root, path: standins.sparsify(root, path, activation="groupmax"),
        'activation is "groupmax"',
    ),
    "sparsify, transcoder": (lambda root, path: standins.sparsify(root, path, transcode=True), "transcode is true"),
    "sparsify, MLP": (lambda root, path: standins.sparsify(root, "layers.12.mlp"), "belongs to layers.12.mlp"),
    "dictionary_learning, no threshold yet": (
        lambda root, path: standins.dictionary_learning(root, path, "AutoEncoderTopK", dict_class="BatchTopKSAE"),
        "no threshold is set",
    ),
    "dictionary_learning, another class": (
        lambda root, path: standins.dictionary_learning(root, path, dict_class="CrossCoder"),
        "dict_class is CrossCoder; understood are AutoEncoder, ",
    ),
    "dictionary_learning, MLP": (
        lambda root, path: standins.dictionary_learning(root, path, submodule_name="mlp_out_layer_12"),
        "belongs to mlp_out_layer_12",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_changes_inputs_or_activations_and_is_not_applied_is_refused(tmp_path: Path, case: str):
    write, line = REFUSED[case]
    path = "layers.12.mlp" if case == "sparsify, MLP" else "sae"
    write(tmp_path / "files", path)
    with pytest.raises(IsoglossError, match=line) as caught:
        fetch(tmp_path / "files", path, tmp_path / "out", model="gpt2")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_what_the_user_declares_harmless_is_taken_and_recorded(tmp_path: Path):
    config = {**VERSION_5, "prepend_bos": False, "whiten": 1, "model_name": "x"}
    standins.saelens(tmp_path / "files", "sae", config, BARE)
    ignore = ["prepend_bos", "whiten", "model_name"]
    output = fetch(tmp_path / "files", "sae", tmp_path / "out", model="gpt2", ignore=ignore)
    config["activation_fn_str"] = "tanh-relu"
    standins.saelens(tmp_path / "more", "sae", config, BARE)
    with pytest.raises(IsoglossError, match=r"activation_fn is .*; give another SAE$"):  # no one can know that
        fetch(tmp_path / "more", "sae", tmp_path / "no", ignore=[*ignore, "activation_fn"])
    assert '"ignored": ["model_name", "prepend_bos", "whiten"]' in (output / "cfg.json").read_text()


class Payload:
    """What a pickle could run."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (print, ("run",))


def test_code_in_a_file_of_tensors_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    standins.dictionary_learning(tmp_path / "files", "sae")
    torch.save({"encoder.weight": Payload()}, tmp_path / "files" / "sae" / "ae.pt")
    with pytest.raises(IsoglossError, match=r"ae\.pt holds more than tensors \(a pickle\), and code in it is not run"):
        fetch(tmp_path / "files", "sae", tmp_path / "out")
    (tmp_path / "files" / "sae" / "ae.pt").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(IsoglossError, match=r"ae\.pt is no whole file of tensors \(.*\); fetch it again"):
        fetch(tmp_path / "files", "sae", tmp_path / "out")
    assert "run" not in capsys.readouterr().out


def test_files_of_two_layouts_need_the_layouts_name(tmp_path: Path):
    root = tmp_path / "files"
    standins.gemma_scope_2(root, "sae", model_name="gpt2")
    standins.gemma_scope(root / "other", "sae")
    (root / "other" / "sae" / "params.npz").rename(root / "sae" / "params.npz")
    with pytest.raises(IsoglossError, match=r"files of gemma-scope and gemma-scope-2; say which in saes\.layout"):
        fetch(root, "sae", tmp_path / "out")
    fetch(root, "sae", tmp_path / "out", layout="gemma-scope-2")
    with pytest.raises(IsoglossError, match=r"saes\.layout is gemma; understood are gemma-scope, gemma-scope-2, "):
        fetch(root, "sae", tmp_path / "out", layout="gemma")
    with pytest.raises(IsoglossError, match=r"no SAE in a layout .* \(cfg\.json with sae\.safetensors\)"):
        fetch(root, "sae", tmp_path / "out", layout="sparsify")


def test_what_saelens_directory_knows_of_gemma_scope_2(tmp_path: Path):
    few, every = find_release("gemma-scope-2-270m-pt-res"), find_release("gemma-scope-2-270m-pt-res-all")
    assert few is not None
    assert every is not None
    layers = [{int(re.findall(r"layer_(\d+)", name)[0]) for name in release.paths} for release in (few, every)]
    assert layers == [{5, 9, 12, 15}, set(range(18))]
    assert few.path("layer_12_width_16k_l0_medium") == "resid_post/layer_12_width_16k_l0_medium"
    assert (few.repository, every.repository) == ("google/gemma-scope-2-270m-pt",) * 2
    with pytest.raises(IsoglossError, match=r"no SAE layer_3_width_16k_l0_medium; it has layers 5, 9, 12, 15: correct"):
        few.path("layer_3_width_16k_l0_medium")
    with pytest.raises(IsoglossError, match=r"of that layer it has layer_3_width_16k_l0_big, layer_3_width_16k_l0_sm"):
        every.path("layer_3_width_16k_l0_medium")
    assert find_release("gemma-scope-2-270m-pt-re") is None


def model(saes: dict[str, Any], **changed: Any) -> PretrainedModel:
    shape = {
        "layers": 18,
        "d_model": D_MODEL,
        "d_mlp": 64,
        "heads": 4,
        "key_value_heads": 1,
        "d_head": 8,
        "vocabulary": 9,
    }
    plain = {
        "title": "Small",
        "source": {"id": "google/gemma-3-270m"},
        "architecture": shape,
        "layers": "all",
        "saes": saes,
    }
    return PretrainedModel.model_validate(plain | {"analyses": ["similarity", "gap"]} | changed)


def test_what_is_known_to_be_lacking_is_said_before_anything_runs(tmp_path: Path):
    pattern = "layer_{layer}_width_16k_l0_medium"
    some = {"layers": [5, 9, 12, 15]}
    require_saes({"small": model({"release": "gemma-scope-2-270m-pt-res", "ids": pattern}, **some)})
    with pytest.raises(IsoglossError) as caught:
        require_saes({"small": model({"release": "gemma-scope-2-270m-pt-res", "ids": pattern})})
    _, line = str(caught.value).splitlines()
    assert line == (
        "  models.small.saes: layers 0, 1, 2, 3, 4, 6, 7, 8, 10, 11, 13, 14, 16, 17: release gemma-scope-2-270m-pt-res"
        " has no SAE layer_0_width_16k_l0_medium; it has layers 5, 9, 12, 15: correct saes.ids or saes.release"
    )
    other = model({"release": "gemma-scope-2-270m-pt-res", "ids": pattern}, source={"id": "openai/gpt2"}, **some)
    with pytest.raises(IsoglossError, match=r"the SAE belongs to the model google/gemma-3-270m, the study's is openai"):
        require_saes({"small": other})
    standins.gemma_scope_2(tmp_path, "resid_post/layer_5_width_16k_l0_medium")
    saes = {"source": {"folder": str(tmp_path)}, "ids": f"resid_post/{pattern}"}
    require_saes({"small": model(saes, layers=[5])})
    with pytest.raises(IsoglossError, match=r"layers 9, 12, 15: .* there are resid_post/layer_5_width_16k_l0_med"):
        require_saes({"small": model(saes, **some)})


@pytest.mark.parametrize(
    ("ids", "line"),
    [
        ("layer_12", "layer_12 is one id for all layers; write {layer} where the layer's number stands"),
        ({5: "../../etc"}, r"\.\./\.\./etc leads out of the source"),
        ({5: "/etc"}, "/etc leads out of the source"),
        ({5: "layer_5"}, "no SAE for layer 9, 12, 15"),
    ],
)
def test_ids_are_within_the_source_and_for_every_layer(ids: Any, line: str):
    with pytest.raises(ValidationError, match=line):
        model({"release": "gemma-scope-2-270m-pt-res", "ids": ids}, layers=[5, 9, 12, 15])


def test_releases_are_read_as_saelens_reads_them():
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    for name, known in list(get_pretrained_saes_directory().items())[::12]:
        release = find_release(name)
        assert release is not None
        assert (release.repository, release.paths, release.scales) == (
            known.repo_id,
            known.saes_map,
            known.norm_scaling_factor,
        )
        assert release.overrides == (known.config_overrides or {})
