"""Every family of models goes through the same measurements, each held against transformers on single texts."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
    XLNetConfig,
    XLNetLMHeadModel,
)

from isogloss.config.measures import Alignment, AlignmentRun, Compute
from isogloss.disparity.align import align
from isogloss.errors import IsoglossError
from isogloss.models.adapter import with_lora
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import collate, encode_texts
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import load_base_model, load_causal_model, load_tokenizer
from isogloss.residuals.capture import capture
from isogloss.residuals.pooling import token_residuals
from isogloss.sae.encode import encode
from isogloss.tables import read_table, write_table
from standins import FAMILIES, TEXTS, family_tokenizer, mean_residuals, tiny_model, tiny_sae

LAYERS = 3
BOS = {"gemma2": 2, "gemma3": 2, "gemma3-vision": 2, "qwen2": 0, "llama": 0, "gpt-neox": 0}
ADDED = {"gemma2", "gemma3", "gemma3-vision", "llama"}  # families whose tokenizer puts BOS first by itself
LINEAR = {
    **{name: {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"} for name in FAMILIES},
    "gpt-neox": {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"},
}
# Short and long against the windows of 16 tokens.
PHRASES = [*TEXTS, "Euro", " ".join(TEXTS[:2]), " ".join(TEXTS[2:5])]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def lm(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp(family) / "lm", family=family, layers=LAYERS)


def whole_model(lm: Path) -> Any:
    """The model as transformers loads it, with head, and vision tower if there is one."""
    return AutoModelForCausalLM.from_pretrained(lm, dtype=torch.float32).eval()


def blocks(model: Any, family: str) -> Any:
    if family == "gemma3-vision":
        return model.model.language_model.layers
    return model.gpt_neox.layers if family == "gpt-neox" else model.model.layers


def own_ids(lm: Path, family: str, text: str) -> list[int]:
    return [BOS[family], *AutoTokenizer.from_pretrained(lm)(text, add_special_tokens=False)["input_ids"]]


@torch.no_grad()
def naive_residuals(model: Any, family: str, ids: list[int]) -> torch.Tensor:
    """What each decoder layer gives for one text, read by hooks of our own [layers, tokens, d_model]."""
    found: list[torch.Tensor] = []
    handles = [block.register_forward_hook(lambda _m, _i, out: found.append(out)) for block in blocks(model, family)]
    model(torch.tensor([ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    return torch.cat(found)


# --- Loading and reading --------------------------------------------------------------------------


@torch.no_grad()
def read_residuals(model: Any, texts: list[list[int]], layers: int = LAYERS) -> torch.Tensor:
    """What `visit_residuals` gives for texts in one batch [layers, texts, tokens, d_model]."""
    found: list[torch.Tensor] = []
    visit_residuals(model, collate(texts), range(layers), lambda _layer, residual: found.append(residual))
    return torch.stack(found)


def test_residuals_are_transformers_hidden_states_at_every_layer(lm: Path, family: str) -> None:
    model, full = load_base_model(lm), whole_model(lm)
    assert decoder_of(model).d_model == decoder_of(full).d_model == 32
    assert decoder_of(full).layers is blocks(full, family)
    for text in PHRASES:
        ids = own_ids(lm, family, text)
        with torch.no_grad():
            states = full(torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states
        for read in (model, full):
            found = read_residuals(read, [ids])[:, 0]
            assert torch.equal(found, naive_residuals(full, family, ids))
            assert torch.equal(found[:-1], torch.cat(states[1:-1]))
            assert not torch.allclose(found[-1], states[-1][0])  # which is after the final norm


@pytest.mark.parametrize("last", [0, 1, 2, None])
def test_a_model_cut_off_gives_the_same_bits(lm: Path, family: str, last: int | None) -> None:
    ids, depth = own_ids(lm, family, PHRASES[-1]), LAYERS if last is None else last + 1
    whole = naive_residuals(whole_model(lm), family, ids)
    for model in (load_base_model(lm, last_layer=last), load_causal_model(lm, last_layer=last)):
        assert len(decoder_of(model).layers) == depth
        assert model.config.num_hidden_layers == LAYERS  # which layers may scale by
        assert torch.equal(read_residuals(model, [ids], depth)[:, 0], whole[:depth])


def test_the_causal_model_has_the_logits_of_transformers(lm: Path, family: str) -> None:
    ids = torch.tensor([own_ids(lm, family, PHRASES[-1])])
    with torch.no_grad():
        assert torch.equal(load_causal_model(lm)(ids).logits, whole_model(lm)(ids).logits)


def test_shards_are_read(lm: Path, family: str, tmp_path: Path) -> None:
    full = whole_model(lm)
    full.save_pretrained(tmp_path, max_shard_size="50kB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    ids = own_ids(lm, family, PHRASES[0])
    found = token_residuals(load_base_model(tmp_path), [ids], range(LAYERS), token_budget=100)
    assert torch.equal(found, naive_residuals(full, family, ids)[:, 1:])


def test_a_text_decoder_is_found_under_either_of_its_names(tmp_path: Path) -> None:
    lm = tiny_model(tmp_path / "lm", family="gemma3-vision")
    weights = load_file(lm / "model.safetensors")
    assert "language_model.model.layers.0.mlp.up_proj.weight" in weights  # as on the Hub
    before = load_causal_model(lm)
    renamed = {name.replace("language_model.model.", "model.language_model."): x for name, x in weights.items()}
    save_file(renamed, lm / "model.safetensors", metadata={"format": "pt"})
    after = load_causal_model(lm)
    assert type(after).__name__ == "Gemma3ForCausalLM"
    for (name, one), (_, other) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        assert torch.equal(one, other), name


def test_every_measured_text_starts_with_bos_once(lm: Path, family: str) -> None:
    tokenizer, untouched = load_tokenizer(lm), AutoTokenizer.from_pretrained(lm)
    assert tokenizer.bos_token_id == BOS[family]
    for text, ids in zip(PHRASES, encode_texts(tokenizer, PHRASES), strict=True):
        assert ids == own_ids(lm, family, text)
        assert ids.count(BOS[family]) == 1
        assert tokenizer.decode(ids[1:]) == text
        # Its own habit, which benchmarks follow, is what it was.
        assert tokenizer.encode(text) == untouched.encode(text) == ids[family not in ADDED :]
    assert (untouched.bos_token_id is None) == (family == "qwen2")


def test_a_model_without_any_bos_is_refused(tmp_path: Path) -> None:
    lm = tiny_model(tmp_path / "lm", family="qwen2")
    config = json.loads((lm / "config.json").read_text())
    for bos in (None, 5000):
        (lm / "config.json").write_text(json.dumps({**config, "bos_token_id": bos}))
        with pytest.raises(IsoglossError, match=rf"lm: neither the tokenizer nor config.json \(bos_token_id: {bos}\)"):
            load_tokenizer(lm)


def test_an_empty_bos_is_none(tmp_path: Path) -> None:
    lm = tiny_model(tmp_path / "lm", family="llama")
    bos = load_tokenizer(lm).bos_token_id
    assert bos == json.loads((lm / "config.json").read_text())["bos_token_id"]
    settings = lm / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"bos_token": ""}))
    assert load_tokenizer(lm).bos_token_id == bos


SMALL = {"vocab_size": 320, "hidden_size": 16, "num_hidden_layers": 2}
STRANGERS = {
    "OpenAIGPT": lambda: OpenAIGPTLMHeadModel(OpenAIGPTConfig(vocab_size=320, n_embd=16, n_layer=2, n_head=2)),
    "XLNet": lambda: XLNetLMHeadModel(XLNetConfig(vocab_size=320, d_model=16, n_layer=2, n_head=2, d_inner=32)),
    "T5": lambda: T5ForConditionalGeneration(T5Config(vocab_size=320, d_model=16, d_kv=8, d_ff=16, num_layers=2)),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_an_architecture_that_is_not_understood_stops_at_load(name: str, tmp_path: Path) -> None:
    STRANGERS[name]().save_pretrained(tmp_path)
    for load in (load_base_model, load_causal_model):
        for last in (None, 0):
            with pytest.raises(IsoglossError, match=rf"(?i){name}.*(not found|no causal)") as error:
                load(tmp_path, last_layer=last)
            assert "\n" not in str(error.value)


def test_a_folder_without_all_its_weights_is_named(tmp_path: Path) -> None:
    def refused(message: str) -> None:
        for load in (load_base_model, load_causal_model):
            with pytest.raises(IsoglossError, match=message) as error:
                load(lm)
            assert "\n" not in str(error.value)

    lm = tiny_model(tmp_path / "lm", family="llama")
    (lm / "model.safetensors").rename(lm / "kept")
    refused(r"lm: no model.safetensors there; isogloss reads nothing but safetensors")
    (lm / ".snakemake_timestamp").touch()  # as Snakemake leaves in a folder that a job made
    refused(r"lm: no model.safetensors there; delete the folder \S+lm and run snakemake again")
    (lm / ".snakemake_timestamp").unlink()
    (lm / "pytorch_model.bin").write_bytes(b"")
    refused(r"no model.safetensors there, only pytorch_model.bin")

    weights = load_file(lm / "kept")
    save_file({k: v for k, v in weights.items() if "layers.1" not in k}, lm / "model.safetensors", {"format": "pt"})
    refused(r"lm: 9 weights are not in its safetensors files, the first is (model\.)?layers.1.input_layernorm.weight")
    assert load_base_model(lm, last_layer=0)
    (lm / "model.safetensors").write_bytes((lm / "kept").read_bytes()[:-100])
    refused(r"lm: model.safetensors is damaged: not a whole safetensors file")

    shutil.rmtree(lm)
    tiny_model(tmp_path / "whole", family="llama")
    whole_model(tmp_path / "whole").save_pretrained(lm, max_shard_size="50kB")
    shards = sorted(lm.glob("*.safetensors"))
    shards[1].unlink()
    refused(rf"lm: 1 of {len(shards)} shards are missing, the first is {shards[1].name}; fetch the model again")


# --- Measuring ------------------------------------------------------------------------------------


def translations(path: Path, features: int) -> Path:
    """Two phrases at each layer for each text, with the columns of the translations table."""
    rows = [(layer, text) for layer in range(LAYERS) for text in PHRASES for _ in range(2)]
    frame = pl.DataFrame(
        {
            "phrase": range(len(rows)),
            "layer": [layer for layer, _ in rows],
            "feature": [row * 7 % features for row in range(len(rows))],
            "text": [text for _, text in rows],
            "ids": None,
            "status": "ok",
            "chrf": None,
        },
        schema_overrides={
            "phrase": pl.Int64,
            "layer": pl.Int32,
            "feature": pl.Int32,
            "ids": pl.List(pl.Int32),
            "chrf": pl.Float32,
        },
    )
    write_table(path, frame)
    return path


@pytest.mark.parametrize("kind", ["jumprelu", "standard", "topk"])
def test_encode_is_the_largest_activation_on_a_texts_own_tokens(
    lm: Path, family: str, kind: str, tmp_path: Path
) -> None:
    from sae_lens import SAE

    folders = [tiny_sae(tmp_path / "sae" / f"layer_{layer}", kind=kind, seed=layer) for layer in range(LAYERS)]
    for layer, folder in enumerate(folders):
        cfg = json.loads((folder / "cfg.json").read_text())
        cfg["metadata"]["hook_name"] = f"blocks.{layer}.hook_resid_post"
        (folder / "cfg.json").write_text(json.dumps(cfg))
    encode(
        lm=str(lm),
        adapter=None,
        sae=str(tmp_path / "sae"),
        translations={"es": str(translations(tmp_path / "es.parquet", 64))},
        outputs={"es": str(tmp_path / "out.parquet")},
        layers=list(range(LAYERS)),
        compute=Compute(token_budget=128),
        seed=0,
        metadata={},
    )
    full, saes = whole_model(lm), [SAE.load_from_disk(folder, device="cpu") for folder in folders]
    largest = {}
    for text in PHRASES:
        residuals = naive_residuals(full, family, own_ids(lm, family, text))[:, 1:]
        for layer, sae in enumerate(saes):
            largest[layer, text] = sae.encode(residuals[layer]).max(dim=0).values
    found = read_table(tmp_path / "out.parquet")
    asked = read_table(tmp_path / "es.parquet")["text"]
    expected = [largest[row["layer"], text][row["feature"]] for row, text in zip(found.to_dicts(), asked, strict=True)]
    assert_close(torch.tensor(found["activation"]), torch.stack(expected), atol=1e-4, rtol=1e-4)
    assert 0 < (found["activation"] > 0).sum() < found.height
    assert found["n_tokens"].to_list() == [len(own_ids(lm, family, text)) - 1 for text in asked]


def test_capture_is_the_mean_over_a_texts_own_tokens(lm: Path, family: str, tmp_path: Path) -> None:
    capture(
        lm=str(lm),
        adapter=None,
        translations={"es": [str(translations(tmp_path / "es.parquet", 64))]},
        outputs={"es": str(tmp_path / "out.parquet")},
        layers=list(range(LAYERS)),
        feature_stride=2,
        compute=Compute(token_budget=128),
        metadata={},
    )
    full, found = whole_model(lm), read_table(tmp_path / "out.parquet")
    text_of = dict(read_table(tmp_path / "es.parquet").select("phrase", "text").rows())
    assert len(found["phrase"].unique()) in range(20, 36)
    for row in found.to_dicts():
        residuals = naive_residuals(full, family, own_ids(lm, family, text_of[row["phrase"]]))
        assert_close(torch.tensor(row["pooled"]), residuals[row["layer"], 1:].mean(dim=0), atol=1e-4, rtol=1e-4)


def test_neither_padding_nor_order_nor_batches_change_a_number(lm: Path, family: str) -> None:
    model, ids = load_base_model(lm), [own_ids(lm, family, text) for text in PHRASES]
    assert max(map(len, ids)) > 2 * 16 > 16 > min(map(len, ids))
    alone = torch.cat([token_residuals(model, [text], range(LAYERS), token_budget=1) for text in ids], dim=1)
    lengths = [len(text) - 1 for text in ids]
    backwards = torch.cat(list(alone.split(lengths, dim=1))[::-1], dim=1)
    for budget in (1, 90, 10_000):
        assert_close(token_residuals(model, ids, range(LAYERS), token_budget=budget), alone, atol=1e-4, rtol=1e-4)
        found = token_residuals(model, ids[::-1], range(LAYERS), token_budget=budget)
        assert_close(found, backwards, atol=1e-4, rtol=1e-4)
        means = mean_residuals(model, ids, range(LAYERS), token_budget=budget)
        expected = torch.stack([part.mean(dim=1) for part in alone.split(lengths, dim=1)])
        assert_close(means, expected, atol=1e-4, rtol=1e-4)
    # All in one batch, wherever a text stands in it.
    for row, (own, part) in enumerate(
        zip(read_residuals(model, ids).unbind(dim=1), alone.split(lengths, dim=1), strict=True)
    ):
        assert_close(own[:, 1 : lengths[row] + 1], part, atol=1e-4, rtol=1e-4)


# --- Alignment ------------------------------------------------------------------------------------


def test_all_linear_maps_of_the_wanted_layers_get_matrices(lm: Path, family: str) -> None:
    model = with_lora(load_causal_model(lm), [0, 2], "all", rank=2, alpha=4.0, dropout=0.0)
    trained = [name for name, matrix in model.named_parameters() if matrix.requires_grad]
    assert {name.split("layers.")[1].split(".")[0] for name in trained} == {"0", "2"}
    assert {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in trained} == LINEAR[family]
    assert len(trained) == 2 * 2 * len(LINEAR[family])
    one = sorted(LINEAR[family])[0]
    model = with_lora(load_causal_model(lm), [1], [one], rank=2, alpha=4.0, dropout=0.0)
    assert len([name for name, matrix in model.named_parameters() if matrix.requires_grad]) == 2
    with pytest.raises(IsoglossError, match=r"the model has no embed_tokens, lm_head; its linear maps are"):
        with_lora(load_causal_model(lm), [1], ["lm_head", "embed_tokens"], rank=2, alpha=4.0, dropout=0.0)


def test_gpt2_keeps_its_maps_in_conv1d(tmp_path: Path) -> None:
    GPT2LMHeadModel(GPT2Config(vocab_size=320, n_embd=16, n_layer=2, n_head=2)).save_pretrained(tmp_path)
    model = with_lora(load_causal_model(tmp_path), [1], "all", rank=2, alpha=4.0, dropout=0.0)
    trained = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name, part in model.named_parameters() if "lora" in name}
    assert trained == {"c_attn", "c_proj", "c_fc"}


def test_alignment_trains_and_its_adapter_comes_back_unmerged(lm: Path, family: str, tmp_path: Path) -> None:
    target, sae = 1, tiny_sae(tmp_path / "sae", kind="standard")
    spanish = [f"La moneda número {row} de Austria es euro" for row in range(12)]
    english = [f"The currency number {row} of Austria is Euro" for row in range(12)]
    keys = {"phrase": range(12), "layer": [target] * 12, "feature": [5, 9, 23, 40] * 3}
    kinds: dict[str, Any] = {"phrase": pl.Int64, "layer": pl.Int32, "feature": pl.Int32, "ids": pl.List(pl.Int32)}
    segments = [[f"segment/{row}"] for row in range(12)]
    more = {"activation": [2.0] * 12, "segments": segments}
    write_table(
        tmp_path / "en.parquet", pl.DataFrame({**keys, "text": english, "ids": None, **more}, schema_overrides=kinds)
    )
    write_table(tmp_path / "es.parquet", pl.DataFrame({**keys, "text": spanish, "ids": None}, schema_overrides=kinds))
    align(
        lm=str(lm),
        sae=str(sae),
        phrases=[str(tmp_path / "en.parquet")],
        translations=[str(tmp_path / "es.parquet")],
        reference_activations=None,
        adapter=str(tmp_path / "adapter"),
        losses=str(tmp_path / "losses.parquet"),
        state_folder=str(tmp_path / "state"),
        model_name=family,
        settings=Alignment(
            distance="absolute",
            held_out=1e-9,
            held_out_features=0,
            samples=100,
            iterations=25,
            batch_size=12,
            learning_rate=1e-2,
            rank=4,
            alpha=8.0,
            resume_every=100,
        ),
        run=AlignmentRun(target_layer=target, languages=["es"]),
        compute=Compute(token_budget=4096),
        seed=0,
        metadata={},
    )
    losses = read_table(tmp_path / "losses.parquet")["loss"]
    assert losses.tail(3).mean() < 0.7 * losses.head(3).mean()

    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert {name.split("layers.")[1].split(".")[0] for name in saved} == {"0", "1"}
    assert config["target_modules"] == sorted(LINEAR[family])
    assert config["layers_to_transform"] == [0, 1]

    ids = own_ids(lm, family, spanish[0])
    plain, adapted = load_causal_model(lm), load_causal_model(lm, adapter=tmp_path / "adapter")
    assert isinstance(adapted, PeftModel)
    matrices = {name.replace(".default", ""): x for name, x in adapted.named_parameters() if "lora_" in name}
    assert matrices.keys() == saved.keys()
    assert all(torch.equal(matrices[name], saved[name]) for name in saved)
    weights = dict(plain.named_parameters())
    for name, weight in adapted.get_base_model().named_parameters():
        if "lora_" not in name:
            assert torch.equal(weight, weights[name.replace(".base_layer", "")]), name
    before = token_residuals(plain, [ids], range(LAYERS), token_budget=100)
    stock = token_residuals(
        PeftModel.from_pretrained(plain, tmp_path / "adapter").eval(), [ids], range(LAYERS), token_budget=100
    )
    for last in (0, 1, 2, None):
        model = load_base_model(lm, last_layer=last, adapter=tmp_path / "adapter")
        layers = range(LAYERS if last is None else last + 1)
        found = token_residuals(model, [ids], layers, token_budget=100)
        assert torch.equal(found, stock[: len(layers)])
        assert not torch.allclose(found, before[: len(layers)], atol=1e-2)
    with adapted.disable_adapter():
        assert torch.equal(token_residuals(adapted, [ids], range(LAYERS), token_budget=100), before)


def test_stand_ins_have_the_tokenizers_of_their_families() -> None:
    assert {family: type(family_tokenizer(family)).__name__ for family in ("qwen2", "gpt-neox")} == {
        "qwen2": "Qwen2Tokenizer",
        "gpt-neox": "GPTNeoXTokenizer",
    }
    neox = family_tokenizer("gpt-neox")
    assert neox.bos_token_id == neox.eos_token_id == 0
