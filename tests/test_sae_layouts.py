"""Each layout of published SAEs: its stand-in read by isogloss, held against SAELens' own loading of the same files."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

import sae_standins as standins
from isogloss.config.pretrained import Saes
from isogloss.sae.autoencoder import activations, load_encoder
from isogloss.sae.kinds.encoder import unit_norm
from isogloss.sources.saes.locate import sae_shape
from isogloss.sources.saes.release import find_release
from isogloss.sources.saes.table import LAYOUTS
from published_saes import BARE, fetch
from sae_standins import D_MODEL, FEATURES, LAYER, VERSION_5, VERSION_6, opinion, weights

PACKAGE = Path(__file__).parents[1] / "workflow" / "scripts" / "isogloss"


def assert_same(sae: Any, output: Path, x: torch.Tensor, seen: torch.Tensor | None = None) -> None:
    """Activations and decoder are those of SAELens' `sae`, which sees `seen`; so are they of the folder in SAELens."""
    from sae_lens import SAE

    expected = sae.encode(x if seen is None else seen)
    assert 0.02 < (expected > 0).float().mean() < 0.9
    encoder = load_encoder(output)
    assert_close(activations(encoder, x), expected, atol=1e-4, rtol=1e-4)
    ours = SAE.load_from_disk(output)
    assert_close(ours.encode(unit_norm(x) if encoder.unit_norm_input else x), expected, atol=1e-4, rtol=1e-4)


SCOPED: dict[str, tuple[Callable[..., None], str, str, str, dict[str, Any]]] = {
    "gemma-scope": (
        standins.gemma_scope,
        "google/gemma-scope-2b-pt-res",
        f"layer_{LAYER}/width_16k/average_l0_82",
        "gemma_2",
        {"kind": "jumprelu", "model": "google/gemma-2-2b"},
    ),
    "gemma-scope-2": (
        standins.gemma_scope_2,
        "google/gemma-scope-2-270m-pt",
        f"resid_post/layer_{LAYER}_width_16k_l0_medium",
        "gemma_3",
        {"kind": "jumprelu", "model": "google/gemma-3-270m"},
    ),
    "qwen-scope": (
        standins.qwen_scope,
        standins.QWEN,
        f"layer{LAYER}.sae.pt",
        "qwen_scope",
        {"kind": "topk", "d_model": standins.QWEN_D_MODEL, "model": "Qwen/Qwen3-1.7B-Base"},
    ),
    "dictionary-learning": (
        standins.dictionary_learning,
        "someone/saebench",
        f"resid_post_layer_{LAYER}/trainer_0",
        "dictionary_learning_1",
        {"kind": "jumprelu", "model": "google/gemma-2-2b"},
    ),
}


@pytest.mark.parametrize("layout", SCOPED)
def test_a_layout_encodes_and_decodes_as_in_saelens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str):
    write, repository, path, loader, settings = SCOPED[layout]
    root = tmp_path / "files"
    write(root, path)
    widths = {"d_in": D_MODEL, "d_sae": FEATURES} if layout == "gemma-scope" else {}  # else 2304 x 16k by the names
    sae = opinion(monkeypatch, root, repository, path, loader, **widths)
    output = fetch(root, path, tmp_path / "out", id=repository, **settings)
    x = torch.randn(40, settings.get("d_model", D_MODEL)) * 2
    assert_same(sae, output, x)
    decoder = load_file(output)
    assert_close(decoder["W_dec"], sae.W_dec.data)
    assert_close(decoder["b_dec"], sae.b_dec.data)
    shape = sae_shape(Saes.model_validate({"source": {"folder": str(root)}, "ids": {LAYER: path}}), LAYER)
    assert shape == (settings["kind"], sae.cfg.d_sae)


def load_file(output: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(output / "sae_weights.safetensors")


def test_llama_scope_encodes_as_in_saelens_with_the_scale_folded_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    release, name = "llama_scope_lxr_8x", f"l{LAYER}r_8x"
    known = find_release(release)
    assert known is not None
    root, path = tmp_path / "files", known.path(name)
    standins.llama_scope(root, path, scale=known.scales[name])
    sae = opinion(monkeypatch, root, release, name, "llama_scope")
    output = fetch(root, name, tmp_path / "out", release=release, model="meta-llama/Llama-3.1-8B")
    assert_same(sae, output, torch.randn(40, D_MODEL) / known.scales[name])
    assert_close(load_file(output)["W_dec"], sae.W_dec.data)
    shape = sae_shape(Saes.model_validate({"source": {"folder": str(root)}, "ids": {LAYER: path}}), LAYER)
    assert shape == ("jumprelu", FEATURES)


def test_llama_scope_compares_activations_times_the_decoders_norm(tmp_path: Path):
    root, path = tmp_path / "files", f"Llama3_1-8B-Base-L{LAYER}R-8x"
    norms = torch.linspace(0.5, 2, FEATURES)[:, None]
    standins.llama_scope(root, path, scale=3.0, decoder=norms)
    x, made = torch.randn(40, D_MODEL) / 3, weights()
    z = 3.0 * x @ made["W_enc"] + made["b_enc"]
    expected = torch.where(z * norms.T > 0.6, z, torch.zeros_like(z))
    assert_close(activations(load_encoder(fetch(root, path, tmp_path / "out")), x), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("made", standins.DICTIONARIES)
def test_the_dictionaries_of_dictionary_learning_encode_as_in_saelens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str
):
    root, path = tmp_path / "files", f"resid_post_layer_{LAYER}/trainer_0"
    standins.dictionary_learning(root, path, made)
    output, x = fetch(root, path, tmp_path / "out"), torch.randn(40, D_MODEL) * 2
    if made == "AutoEncoderNew":  # SAELens' loader finds no b_dec in it
        plain = weights()
        expected = (x @ plain["W_enc"] + plain["b_enc"]).relu()
        assert_close(activations(load_encoder(output), x), expected, atol=1e-4, rtol=1e-4)
    else:
        assert_same(opinion(monkeypatch, root, "someone/saes", path, "dictionary_learning_1"), output, x)


def test_sparsify_encodes_as_its_own_encoder_documents(tmp_path: Path):
    """`SparseCoder.encode`: topk of relu((x - b_dec) W' + b); SAELens' loader asks `normalize_decoder`."""
    root, path = tmp_path / "files", f"layers.{LAYER}"
    standins.sparsify(root, path)
    x, made = torch.randn(40, D_MODEL) * 2, weights()
    values, features = ((x - made["b_dec"]) @ made["W_enc"] + made["b_enc"]).relu().topk(8)
    expected = torch.zeros(40, FEATURES).scatter(1, features, values)
    output = fetch(root, path, tmp_path / "out", model="HuggingFaceTB/SmolLM2-135M", features=FEATURES)
    assert_close(activations(load_encoder(output), x), expected, atol=1e-4, rtol=1e-4)
    assert_close(load_file(output)["W_dec"], made["W_dec"])
    shape = sae_shape(Saes.model_validate({"source": {"folder": str(root)}, "ids": {LAYER: path}}), LAYER)
    assert shape == ("topk", FEATURES)


FORMS: dict[str, tuple[dict[str, Any], dict[str, torch.Tensor]]] = {
    "version 6, jumprelu": (VERSION_6, weights()),
    "version 6, no b_dec": ({**VERSION_6, "apply_b_dec_to_input": False}, weights()),
    "version 6, topk": ({**VERSION_6, "architecture": "topk", "k": 8, "rescale_acts_by_decoder_norm": False}, BARE),
    "version 6, topk by norms": (
        {**VERSION_6, "architecture": "topk", "k": 8, "rescale_acts_by_decoder_norm": True},
        {**BARE, "W_dec": BARE["W_dec"] * torch.linspace(0.5, 3, FEATURES)[:, None]},
    ),
    "version 6, gated": ({**VERSION_6, "architecture": "gated"}, standins.gated()),
    "version 5, relu": (VERSION_5, BARE),
    "version 5, topk": ({**VERSION_5, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 8}}, BARE),
    "version 5, unit norm": ({**VERSION_5, "normalize_activations": "constant_norm_rescale"}, BARE),
    "version 5, folded": ({**VERSION_5, "model_from_pretrained_kwargs": {"fold_ln": True}}, BARE),
    "version 5, factors of 1": (VERSION_5, {**BARE, "scaling_factor": torch.ones(FEATURES)}),
    "oldest": (standins.OLDEST, BARE),
    "bfloat16": ({**VERSION_5, "dtype": "bfloat16"}, {name: value.bfloat16() for name, value in BARE.items()}),
    "float16": ({**VERSION_6, "dtype": "float16"}, {name: value.half() for name, value in weights().items()}),
    "float64": (VERSION_5, {name: value.double() for name, value in BARE.items()}),
}


@pytest.mark.parametrize("form", FORMS)
def test_saelens_own_files_encode_as_in_saelens(tmp_path: Path, form: str):
    from sae_lens import SAE

    config, tensors = FORMS[form]
    root = tmp_path / "files"
    standins.saelens(root, "sae", config, tensors)
    output, x = fetch(root, "sae", tmp_path / "out", model="openai-community/gpt2"), torch.randn(40, D_MODEL) * 2
    assert_same(SAE.load_from_disk(root / "sae", dtype="float32"), output, x)
    shape = sae_shape(Saes.model_validate({"source": {"folder": str(root)}, "ids": {LAYER: "sae"}}), LAYER)
    assert shape == (load_encoder(output).kind, FEATURES)


def test_centring_and_scale_of_a_release_are_folded_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """TransformerLens' `center_writing_weights` takes the mean off the stream; SAELens folds the scale alone."""
    from sae_lens import SAE

    release, name = "gpt2-small-mlp-tm", "blocks.0.hook_mlp_out"
    known = find_release(release)
    assert known is not None
    assert known.overrides["model_from_pretrained_kwargs"] == {"center_writing_weights": True}
    root = tmp_path / "files"
    standins.saelens(root, known.path(name), {**VERSION_5, "normalize_activations": "expected_average_only_in"}, BARE)
    sae = opinion(monkeypatch, root, release, name, "sae_lens")
    output, x = fetch(root, name, tmp_path / "out", release=release, model="gpt2"), torch.randn(40, D_MODEL) + 1.5
    centred = x - x.mean(dim=1, keepdim=True)
    assert_same(sae, output, x, seen=centred)
    assert_close(SAE.load_from_disk(output).decode(sae.encode(centred)), sae.decode(sae.encode(centred)))
    assert (activations(load_encoder(output), x) - sae.encode(x)).abs().max() > 0.1


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka_batchtopk"])
def test_a_batchtopk_sae_is_what_saelens_saves_of_it_for_inference(tmp_path: Path, architecture: str):
    import sae_lens

    common: dict[str, Any] = {"d_in": D_MODEL, "d_sae": FEATURES, "k": 6.0, "rescale_acts_by_decoder_norm": True}
    if architecture == "batchtopk":
        sae = sae_lens.BatchTopKTrainingSAE(sae_lens.BatchTopKTrainingSAEConfig(**common))
    else:
        config = sae_lens.MatryoshkaBatchTopKTrainingSAEConfig(**common, matryoshka_widths=[32, FEATURES])
        sae = sae_lens.MatryoshkaBatchTopKTrainingSAE(config)
    sae.topk_threshold.fill_(0.3)
    for name, value in BARE.items():
        getattr(sae, name).data.copy_(value)
    sae.W_dec.data.mul_(torch.linspace(0.5, 3, FEATURES)[:, None])
    sae.cfg.metadata.hook_name = f"blocks.{LAYER}.hook_resid_post"
    sae.save_model(tmp_path / "files" / "sae")
    sae.save_inference_model(tmp_path / "inference")
    output = fetch(tmp_path / "files", "sae", tmp_path / "out", kind="jumprelu")
    assert_same(sae_lens.SAE.load_from_disk(tmp_path / "inference"), output, torch.randn(40, D_MODEL) * 2)


def test_factors_of_finetuning_scale_what_is_decoded(tmp_path: Path):
    factor = torch.linspace(0.5, 2, FEATURES)
    config = {**VERSION_5, "finetuning_scaling_factor": True}
    standins.saelens(tmp_path / "files", "sae", config, {**BARE, "scaling_factor": factor})
    output, x = fetch(tmp_path / "files", "sae", tmp_path / "out"), torch.randn(40, D_MODEL)
    z = ((x - BARE["b_dec"]) @ BARE["W_enc"] + BARE["b_enc"]).relu()
    assert_close(activations(load_encoder(output), x), z)
    assert_close(z @ load_file(output)["W_dec"], (z * factor) @ BARE["W_dec"])


def test_an_sae_that_was_trained_here_keeps_its_scaling_of_inputs(tmp_path: Path):
    from isogloss.sae.kinds.topk import TopKAutoencoder, save_saelens

    sae = TopKAutoencoder(D_MODEL, FEATURES, 8, generator=torch.Generator().manual_seed(0))
    about = {"hook_name": f"blocks.{LAYER}.hook_resid_post", "prepend_bos": True, "unit_norm_input": True, "step": 3}
    save_saelens(tmp_path / "files" / "sae", sae, about)
    x = torch.randn(40, D_MODEL) * 3
    output = fetch(tmp_path / "files", "sae", tmp_path / "out")
    assert torch.equal(activations(load_encoder(output), x), activations(load_encoder(tmp_path / "files" / "sae"), x))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_named_in_two_files_of_the_package(layout: str):
    """A new one touches its module and the table."""
    constant = layout.replace("-", "_")
    naming = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(rf'"{layout}"|\b{constant.upper()}\b|saes\.{constant}\b', path.read_text(encoding="utf-8"))
    }
    assert naming == {f"sources/saes/{constant}.py", "sources/saes/table.py"}
