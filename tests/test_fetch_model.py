import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    Gemma4TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    Qwen3Config,
)

import hub as server
from isogloss.config.model import Shape
from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.models.loading import load_causal_model, load_tokenizer
from isogloss.sources.model import fetch_model, shape_of
from standins import tiny_gemma2, tiny_tokenizer

SHAPE = {
    "layers": 3,
    "d_model": 32,
    "d_mlp": 64,
    "heads": 2,
    "key_value_heads": 1,
    "d_head": 16,
    "vocabulary": 320,
}


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    return tiny_gemma2(tmp_path / "upstream")


def fetch(tmp_path: Path, folder: Path, **shape: int) -> Path:
    output = tmp_path / "results" / "lm"
    source = Source(folder=str(folder))
    fetch_model(source=source, architecture=Shape(**(SHAPE | shape)), output=str(output))
    return output


def in_shards(folder: Path) -> None:
    """The model in `folder` again, in several files."""
    model = load_causal_model(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="50KB")  # type: ignore[operator]
    assert len(list(folder.glob("model-*.safetensors"))) > 2


def test_a_local_model_is_linked_and_loads_as_it_is(upstream: Path, tmp_path: Path):
    (upstream / "pytorch_model.bin").write_bytes(b"pickled")
    (upstream / "consolidated.safetensors").write_bytes(b"the weights a second time")
    output = fetch(tmp_path, upstream)
    names = {path.name for path in output.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "fetched.json"} <= names
    assert not {"pytorch_model.bin", "consolidated.safetensors"} & names
    assert all(path.is_symlink() for path in output.iterdir() if path.name != "fetched.json")
    ids = torch.tensor([load_tokenizer(output)("The currency of Austria")["input_ids"]])
    assert torch.equal(load_causal_model(output)(ids).logits, load_causal_model(upstream)(ids).logits)


@pytest.mark.parametrize("sharded", [False, True])
def test_a_model_of_the_hub_comes_with_its_commit_and_the_hash_of_its_weights(tmp_path: Path, sharded: bool):
    folder = tiny_gemma2(tmp_path / "upstream")
    if sharded:
        in_shards(folder)
    with server.serving() as hub:
        commit = hub.add("someone/gemma", folder)
        arguments: Mapping[str, Any] = {
            "source": Source(id="someone/gemma", revision=commit),
            "architecture": Shape(**SHAPE),
            "output": str(tmp_path / "lm"),
        }
        wrong = {**arguments, "architecture": Shape(**(SHAPE | {"layers": 24})), "output": str(tmp_path / "wrong")}
        first, second = server.call("isogloss.sources.model:fetch_model", hub.url, tmp_path / "cache", wrong, arguments)
        assert first.startswith(
            f"someone/gemma at revision {commit}: config.json has 3 layers, architecture.layers says 24"
        )
        assert second == ""
        position = [index for index, (_, path, _) in enumerate(hub.asked) if path.endswith(".safetensors")]
        config = [index for index, (_, path, _) in enumerate(hub.asked) if path.endswith("/config.json")]
        assert max(config) < min(position)  # no weights before the configuration is known to be right
    record = json.loads((tmp_path / "lm/fetched.json").read_text())
    assert record["revision"] == commit
    for path in folder.glob("*.safetensors"):
        assert record["files"][path.name]["bytes"] == path.stat().st_size
        # the Hub's name for a large file is its hash, under which the cache has it
        assert (tmp_path / "lm" / path.name).resolve().name == record["files"][path.name]["sha256"]
    ids = torch.tensor([[2, 10, 20, 30]])
    assert torch.equal(load_causal_model(tmp_path / "lm")(ids).logits, load_causal_model(folder)(ids).logits)


def test_every_difference_in_shape_is_told_in_one_line(upstream: Path, tmp_path: Path):
    with pytest.raises(IsoglossError) as caught:
        fetch(tmp_path, upstream, layers=24, d_mlp=9216, vocabulary=256_000)
    assert str(caught.value) == (
        f"{upstream}: config.json has 3 layers, architecture.layers says 24;"
        " config.json has an MLP of width 64, architecture.d_mlp says 9216;"
        " config.json has 320 tokens in the vocabulary, architecture.vocabulary says 256000;"
        " correct `architecture`, or the source if it is another model"
    )
    assert not (tmp_path / "results" / "lm").exists()


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (GPT2Config(n_layer=4, n_embd=48, n_head=3, vocab_size=99), (4, 48, 192, 3, 3, 16, 99)),
        (GPT2Config(n_layer=4, n_embd=48, n_head=3, n_inner=100, vocab_size=99), (4, 48, 100, 3, 3, 16, 99)),
        (
            GPTNeoXConfig(
                num_hidden_layers=6, hidden_size=64, intermediate_size=256, num_attention_heads=8, vocab_size=50
            ),
            (6, 64, 256, 8, 8, 8, 50),
        ),
        (
            LlamaConfig(
                num_hidden_layers=2,
                hidden_size=64,
                intermediate_size=128,
                num_attention_heads=8,
                num_key_value_heads=2,
                vocab_size=50,
            ),
            (2, 64, 128, 8, 2, 8, 50),
        ),
        (
            Qwen3Config(
                num_hidden_layers=2,
                hidden_size=64,
                intermediate_size=128,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=32,
                vocab_size=50,
            ),
            (2, 64, 128, 4, 2, 32, 50),
        ),
        (
            Gemma4TextConfig(
                num_hidden_layers=2,
                hidden_size=64,
                intermediate_size=128,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=32,
                global_head_dim=48,
                layer_types=["sliding_attention", "full_attention"],
                vocab_size=50,
            ),
            (2, 64, 128, 4, 2, 32, 50),
        ),
    ],
    ids=["gpt2", "gpt2-inner", "gpt-neox", "llama", "qwen3", "layers that differ"],
)
def test_the_shape_is_found_whatever_the_family_calls_it(config: Any, shape: tuple[int, ...], tmp_path: Path):
    config.save_pretrained(tmp_path)
    assert tuple(shape_of(AutoConfig.from_pretrained(tmp_path)).values()) == shape


def test_the_shapes_are_those_of_the_weights(tmp_path: Path):
    gpt2 = GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=48, n_head=3, vocab_size=99))
    assert gpt2.transformer.h[0].mlp.c_fc.nf == shape_of(gpt2.config)["d_mlp"]
    neox = GPTNeoXForCausalLM(
        GPTNeoXConfig(num_hidden_layers=2, hidden_size=64, intermediate_size=96, num_attention_heads=4, vocab_size=50)
    )
    assert neox.gpt_neox.layers[0].attention.head_size == shape_of(neox.config)["d_head"]
    assert neox.gpt_neox.layers[0].mlp.dense_h_to_4h.out_features == shape_of(neox.config)["d_mlp"]


@pytest.mark.parametrize("family", ["gpt2", "gpt-neox"])
def test_gpt2_and_gpt_neox_are_fetched_like_any_model(tmp_path: Path, family: str):
    folder = tmp_path / "upstream"
    if family == "gpt2":
        GPT2LMHeadModel(GPT2Config(n_layer=3, n_embd=32, n_head=2, n_inner=64, vocab_size=320)).save_pretrained(folder)
    else:
        config = GPTNeoXConfig(
            num_hidden_layers=3, hidden_size=32, intermediate_size=64, num_attention_heads=2, vocab_size=320
        )
        GPTNeoXForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    output = fetch(tmp_path, folder, key_value_heads=2)
    ids = torch.tensor([[2, 10, 20, 30]])
    assert torch.equal(load_causal_model(output)(ids).logits, load_causal_model(folder)(ids).logits)


def test_what_is_missing_or_cut_off_is_one_clear_line(upstream: Path, tmp_path: Path):
    in_shards(upstream)
    shards = sorted(upstream.glob("model-*.safetensors"))
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IsoglossError, match=rf"{shards[1].name}: not a whole safetensors file .* fetch the file again"):
        fetch(tmp_path, upstream)
    shards[1].unlink()
    with pytest.raises(IsoglossError, match=rf"{shards[1].name} not there, of {len(shards)} shards"):
        fetch(tmp_path, upstream)
    (upstream / "model.safetensors.index.json").unlink()
    with pytest.raises(IsoglossError, match=r"neither model\.safetensors nor .* isogloss loads nothing pickled"):
        fetch(tmp_path, upstream)
    (upstream / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(IsoglossError, match=r"not a whole safetensors file .* without Git LFS"):
        fetch(tmp_path, upstream)
    (upstream / "tokenizer.json").unlink()
    with pytest.raises(IsoglossError, match=r"no tokenizer \(tokenizer\.json, "):
        fetch(tmp_path, upstream)
    (upstream / "config.json").write_text('{"model_type": "unheard-of"}')
    with pytest.raises(IsoglossError, match=r"config\.json describes no decoder that transformers knows"):
        fetch(tmp_path, upstream)
    (upstream / "config.json").unlink()
    with pytest.raises(IsoglossError, match=r"no config\.json, so no transformers model"):
        fetch(tmp_path, upstream)
    assert not (tmp_path / "results" / "lm").exists()
