import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hub as server
import sae_standins as standins
from isogloss.config.pretrained import Saes, Source
from isogloss.errors import IsoglossError
from isogloss.sae.autoencoder import activations, load_encoder
from isogloss.sources.saes.fetch import fetch_sae
from standins import tiny_sae

D_MODEL, FEATURES, LAYER = 32, 64, 12
GEMMA_SCOPE = "google/gemma-scope-2b-pt-res"
SECOND = "gemma-scope-2-270m-pt-res"
ID = f"layer_{LAYER}/width_16k/average_l0_80"


def arrays() -> dict[str, np.ndarray]:
    """A random JumpReLU SAE as Gemma Scope writes it."""
    draw = np.random.default_rng(0)
    return {
        "w_enc": draw.normal(0, 0.3, (D_MODEL, FEATURES)).astype(np.float32),
        "w_dec": draw.normal(0, 0.3, (FEATURES, D_MODEL)).astype(np.float32),
        "b_enc": draw.normal(0, 0.1, FEATURES).astype(np.float32),
        "b_dec": draw.normal(0, 0.1, D_MODEL).astype(np.float32),
        "threshold": draw.uniform(0.1, 0.9, FEATURES).astype(np.float32),
    }


def gemma_scope(folder: Path, sae_id: str = ID, **changed: Any) -> Path:
    """A local copy of a Gemma Scope repository."""
    (folder / sae_id).mkdir(parents=True)
    values = {name: value for name, value in (arrays() | changed).items() if value is not None}
    np.savez(folder / sae_id / "params.npz", **values)
    return folder


def fetch(tmp_path: Path, folder: Path | None, **changed: Any) -> Path:
    output = tmp_path / "results" / "sae" / "layer"
    arguments = {
        "source": {"id": GEMMA_SCOPE, "revision": "main", "folder": str(folder)},
        "release": "gemma-scope-2b-pt-res",
        "sae_id": ID,
        "layer": LAYER,
        "kind": "jumprelu",
        "features": FEATURES,
        "d_model": D_MODEL,
        "output": str(output),
    }
    fetch_sae(**call(**(arguments | changed)))
    return output


def call(**settings: Any) -> dict[str, Any]:
    """Arguments of `fetch_sae` from flat settings."""
    keys = ("source", "release", "kind", "features")
    saes = {"ids": {settings["layer"]: settings["sae_id"]}, **{key: settings.pop(key) for key in keys}}
    return {"saes": Saes.model_validate(saes), "model": None, **settings}


def test_gemma_scope_encodes_by_its_formula_in_saelens_and_here(tmp_path: Path):
    from sae_lens import SAE

    output = fetch(tmp_path, gemma_scope(tmp_path / "scope"))
    x, a = torch.randn(50, D_MODEL) * 3, arrays()
    z = x.numpy() @ a["w_enc"] + a["b_enc"]
    expected = torch.from_numpy(np.maximum(z, 0) * (z > a["threshold"]))
    assert 0.1 < (expected > 0).float().mean() < 0.9
    sae = SAE.load_from_disk(output)
    assert torch.allclose(sae.encode(x), expected, atol=1e-5)
    assert torch.allclose(activations(load_encoder(output), x), expected, atol=1e-5)
    assert torch.allclose(sae.decode(expected), expected @ torch.from_numpy(a["w_dec"]) + torch.from_numpy(a["b_dec"]))


def test_release_id_hook_point_and_the_file_fetched_are_on_record(tmp_path: Path):
    output = fetch(tmp_path, gemma_scope(tmp_path / "scope"))
    cfg = json.loads((output / "cfg.json").read_text())
    assert cfg["architecture"] == "jumprelu"
    assert cfg["metadata"]["hook_name"] == f"blocks.{LAYER}.hook_resid_post"
    assert (cfg["metadata"]["release"], cfg["metadata"]["sae_id"]) == ("gemma-scope-2b-pt-res", ID)
    record = json.loads((output / "fetched.json").read_text())
    npz = tmp_path / "scope" / ID / "params.npz"
    assert record["files"][f"{ID}/params.npz"]["bytes"] == npz.stat().st_size
    assert (record["source"], record["id"], record["sae_id"]) == ("folder", GEMMA_SCOPE, ID)
    assert not any(path.is_symlink() for path in output.iterdir())


def test_a_pinned_repository_and_a_release_come_from_the_hub_at_a_commit(tmp_path: Path):
    from sae_lens import SAE

    saes = tiny_sae(tmp_path / "saes" / "layer_0", kind="jumprelu")
    standins.gemma_scope_2(tmp_path / "scope-2", "resid_post/layer_12_width_16k_l0_medium")
    common = {"kind": "jumprelu", "features": FEATURES, "d_model": D_MODEL}
    with server.serving() as hub:
        pinned = hub.add(GEMMA_SCOPE, gemma_scope(tmp_path / "scope"))
        hub.add(GEMMA_SCOPE, gemma_scope(tmp_path / "newer", b_enc=arrays()["b_enc"] + 1))
        main = hub.add("someone/saes", saes.parent)
        second = hub.add("google/gemma-scope-2-270m-pt", tmp_path / "scope-2")
        source = Source(id=GEMMA_SCOPE, revision=pinned)
        calls = [
            {"source": source, "release": None, "sae_id": ID, "layer": LAYER},
            {"source": None, "release": "someone/saes", "sae_id": "layer_0", "layer": 0},
            {"source": None, "release": SECOND, "sae_id": "layer_12_width_16k_l0_medium", "layer": LAYER},
            {"source": None, "release": "no-such-release", "sae_id": "layer_0", "layer": 0},
            {"source": None, "release": SECOND, "sae_id": "layer_11_width_16k_l0_medium", "layer": 11},
        ]
        calls = [call(**one, **common, output=str(tmp_path / f"out-{number}")) for number, one in enumerate(calls)]
        lines = server.call("isogloss.sources.saes.fetch:fetch_sae", hub.url, tmp_path / "cache", *calls)
    assert lines[:3] == [""] * 3
    assert "SAELens' directory has no release no-such-release" in lines[3]
    assert "it has layers 5, 9, 12, 15" in lines[4]
    records = [json.loads((tmp_path / f"out-{number}/fetched.json").read_text()) for number in range(3)]
    assert [record["source"] for record in records] == ["hub"] * 3
    assert [record["revision"] for record in records] == [pinned, main, second]
    assert [record["layout"] for record in records] == ["gemma-scope", "saelens", "gemma-scope-2"]
    assert torch.equal(SAE.load_from_disk(tmp_path / "out-0").b_enc.data, torch.from_numpy(arrays()["b_enc"]))
    x = torch.randn(20, D_MODEL)
    assert torch.equal(SAE.load_from_disk(tmp_path / "out-1").encode(x), SAE.load_from_disk(saes).encode(x))


@pytest.mark.parametrize("kind", ["topk", "jumprelu", "standard"])
def test_saelens_format_comes_through_unchanged(tmp_path: Path, kind: str):
    folder = tiny_sae(tmp_path / "saes" / "layer_0", kind=kind).parent
    output = fetch(tmp_path, folder, source={"folder": str(folder)}, sae_id="layer_0", layer=0, kind=kind)
    x = torch.randn(20, D_MODEL)
    assert torch.equal(activations(load_encoder(output), x), activations(load_encoder(folder / "layer_0"), x))
    assert json.loads((output / "cfg.json").read_text())["metadata"]["sae_id"] == "layer_0"


@pytest.mark.parametrize(
    ("hook", "sae_id", "layer", "fits"),
    [
        ("blocks.3.hook_resid_post", "a", 3, True),
        ("model.layers.3", "a", 3, True),
        ("model.language_model.layers.3.output", "a", 3, True),
        ("transformer.h.3", "a", 3, True),
        ("gpt_neox.layers.3", "a", 3, True),
        ("blocks.3.hook_resid_post", "a", 4, False),
        ("blocks.4.hook_resid_pre", "a", 3, True),  # the same vector
        ("blocks.3.hook_resid_pre", "a", 3, False),
        ("blocks.3.hook_mlp_out", "a", 3, False),
        ("model.layers.3.mlp", "a", 3, False),
        (None, "layer_3", 3, True),
        (None, "layer_3", 4, False),
        (None, "resid_post_layer_3_trainer_1", 4, False),
        (None, "l3r_8x", 4, False),
        (None, "blocks.13.hook_resid_post", 13, True),
        (None, "width_16k-average_l0_71", 4, True),
    ],
)
def test_only_the_residual_stream_after_the_layer_is_taken(
    tmp_path: Path, hook: str | None, sae_id: str, layer: int, fits: bool
):
    folder = tiny_sae(tmp_path / "saes" / sae_id, kind="jumprelu")
    cfg = json.loads((folder / "cfg.json").read_text())
    cfg["metadata"].pop("hook_name")
    cfg["metadata"] |= {"hook_name": hook} if hook else {}
    (folder / "cfg.json").write_text(json.dumps(cfg))
    wanted = {"source": {"folder": str(folder.parent)}, "sae_id": sae_id, "layer": layer}
    if fits:
        output = fetch(tmp_path, folder, **wanted)
        assert load_encoder(output).hook_name == f"blocks.{layer}.hook_resid_post"
    else:
        with pytest.raises(IsoglossError, match=rf"belongs to .*, not to .*layer {layer} \(blocks\.{layer}\."):
            fetch(tmp_path, folder, **wanted)


@pytest.mark.parametrize("repository", ["google/gemma-scope-2b-pt-att", "google/gemma-scope-2b-pt-mlp"])
def test_gemma_scope_of_another_site_or_layer_is_refused(tmp_path: Path, repository: str):
    folder = gemma_scope(tmp_path / "scope")
    source = {"id": repository, "folder": str(folder)}
    with pytest.raises(IsoglossError, match=r"the SAE belongs to blocks\.12\.(attn\.hook_z|hook_mlp_out), not to"):
        fetch(tmp_path, folder, source=source, release=None)
    with pytest.raises(IsoglossError, match=r"the SAE belongs to blocks\.12\.hook_resid_post, not to .* layer 11"):
        fetch(tmp_path, folder, layer=11)


def test_a_gemma_scope_folder_without_a_name_is_taken_for_the_residual_stream(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = gemma_scope(tmp_path / "scope")
    output = fetch(tmp_path, folder, source={"folder": str(folder)}, release=None)
    assert "nothing says at which point it was trained; taken to be the residual" in caplog.text
    cfg = json.loads((output / "cfg.json").read_text())
    assert not cfg["apply_b_dec_to_input"]
    assert "model_name" not in cfg["metadata"]


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"w_enc": None}, r"params\.npz has no tensor w_enc"),
        ({"w_enc": arrays()["w_enc"].T}, r"the SAE is for width 64, the model's residual stream has 32"),
        ({"threshold": arrays()["threshold"][:-1]}, r"threshold has shape 63, not 64"),
        ({"b_enc": np.full(FEATURES, np.nan, np.float32)}, r"b_enc with NaN or infinite values"),
        ({"b_enc": np.array([{}] * FEATURES, dtype=object)}, r"no whole file of tensors .*allow_pickle=False"),
        ({"b_dec_out": np.zeros(3)}, r"has the tensors b_dec_out besides"),
    ],
)
def test_a_damaged_or_foreign_npz_is_one_clear_line(tmp_path: Path, changed: dict[str, Any], line: str):
    with pytest.raises(IsoglossError, match=line) as caught:
        fetch(tmp_path, gemma_scope(tmp_path / "scope", **changed))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results" / "sae" / "layer").exists()


def test_a_cut_off_npz_is_one_clear_line(tmp_path: Path):
    path = gemma_scope(tmp_path / "scope") / ID / "params.npz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(IsoglossError, match=r"no whole file of tensors .*; fetch it again"):
        fetch(tmp_path, tmp_path / "scope")


def test_another_kind_or_width_than_declared_is_told(tmp_path: Path):
    folder = tiny_sae(tmp_path / "saes" / "layer_0", kind="topk").parent
    wanted = {"source": {"folder": str(folder)}, "sae_id": "layer_0", "layer": 0}
    with pytest.raises(IsoglossError, match=r"the SAE is of kind topk, saes\.kind says jumprelu"):
        fetch(tmp_path, folder, **wanted)
    with pytest.raises(IsoglossError, match=r"the SAE is for width 32, the model's residual stream has 48"):
        fetch(tmp_path, folder, **wanted, kind="topk", d_model=48)
    with pytest.raises(IsoglossError, match=r"the SAE has 64 features, saes\.features says 128"):
        fetch(tmp_path, folder, **wanted, kind="topk", features=128)


def test_an_sae_that_rescales_its_input_or_is_damaged_is_refused(tmp_path: Path):
    folder = tiny_sae(tmp_path / "saes" / "layer_0", kind="jumprelu")
    wanted = {"source": {"folder": str(folder.parent)}, "sae_id": "layer_0", "layer": 0}
    whole, weights = (folder / "cfg.json").read_text(), (folder / "sae_weights.safetensors").read_bytes()
    (folder / "cfg.json").write_text(json.dumps(json.loads(whole) | {"normalize_activations": "layer_norm"}))
    with pytest.raises(IsoglossError, match=r'rescales its input \(normalize_activations "layer_norm"\)'):
        fetch(tmp_path, folder, **wanted)
    (folder / "cfg.json").write_text(json.dumps(json.loads(whole) | {"d_sae": 65}))
    with pytest.raises(IsoglossError, match=r"its config says 65 features, its weights have 64"):
        fetch(tmp_path, folder, **wanted)
    (folder / "cfg.json").write_text(whole)
    (folder / "sae_weights.safetensors").write_bytes(weights[:1000])
    with pytest.raises(IsoglossError, match=r"no whole file of tensors \(") as caught:
        fetch(tmp_path, folder, **wanted)
    assert "\n" not in str(caught.value)


def test_an_id_that_is_not_there_names_its_neighbours(tmp_path: Path):
    folder = gemma_scope(tmp_path / "scope")
    with pytest.raises(IsoglossError, match=rf"no SAE in a layout .*; there are {ID}: correct saes\.ids"):
        fetch(tmp_path, folder, sae_id=f"layer_{LAYER}/width_16k/average_l0_81")
    with pytest.raises(IsoglossError, match=r"no SAE in a layout .*; correct saes\.ids or the source"):
        fetch(tmp_path, folder, sae_id="elsewhere/x")
