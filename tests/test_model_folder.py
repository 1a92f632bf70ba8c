"""Folders of models that are damaged, quantised or foreign: right numbers, or one line that says what to do."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from families import EXPERTS, FAMILIES, GROUPED, HEADS, REFUSED, SIZE, WINDOW
from isogloss.config.model import Shape
from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import collate
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import context_length, load_base_model, load_causal_model, load_tokenizer
from isogloss.scoring.lens import lens_of
from isogloss.sources.model import fetch_model, shape_of
from standins import TOKENS_OF_IMAGES, family_tokenizer, tiny_model, tiny_tokenizer

VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION |= {"image_size": 28, "patch_size": 7}
QWEN_VISION = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32}
SECTIONS = {"rope_scaling": {"rope_type": "default", "mrope_section": [2, 1, 1]}}


def save(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def lm(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "lm", family="llama")


def rewrite(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def with_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def fetch(folder: Path, shape: Shape | None = None) -> None:
    shape = shape or Shape(**shape_of(hf.AutoConfig.from_pretrained(folder)))
    fetch_model(source=Source(folder=str(folder)), architecture=shape, output=str(folder.parent / "fetched"))


def refused(work: Callable[[], Any], message: str) -> None:
    with pytest.raises(IsoglossError, match=message) as error:
        work()
    assert "\n" not in str(error.value)


@torch.no_grad()
def residuals(model: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    depth = len(decoder_of(model).layers)
    visit_residuals(model, collate([[2, *range(20, 50)]]), range(depth), lambda _, residual: found.append(residual))
    return found


# --- What is refused ------------------------------------------------------------------------------


def _streams(folder: Path) -> None:
    sparse = {"activation_sparsity_pattern": None, "laurel_rank": 4, "altup_num_inputs": 2, "num_kv_shared_layers": 2}
    per_layer = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 320}
    kinds = {"layer_types": ["sliding_attention", "full_attention"] * 2}
    config = hf.Gemma3nTextConfig(**HEADS, **WINDOW, **sparse, **per_layer, **kinds)
    save(hf.Gemma3nForCausalLM(config), folder)
    residuals(load_base_model(folder, last_layer=1))


def _layout(folder: Path) -> None:
    save(hf.OpenAIGPTLMHeadModel(hf.OpenAIGPTConfig(vocab_size=320, n_embd=32, n_layer=2, n_head=4)), folder)
    fetch(folder, Shape(layers=2, d_model=32, d_mlp=128, heads=4, key_value_heads=4, d_head=8, vocabulary=320))


def _encoder(folder: Path) -> None:
    save(hf.T5ForConditionalGeneration(hf.T5Config(vocab_size=320, d_model=16, d_kv=8, d_ff=16, num_layers=2)), folder)
    fetch(folder, Shape(layers=2, d_model=16, d_mlp=16, heads=8, key_value_heads=8, d_head=8, vocabulary=320))


def _vision(folder: Path) -> None:
    vision = QWEN_VISION | {"patch_size": 7}
    config = hf.Qwen2_5_VLConfig(text_config=HEADS | SECTIONS, vision_config=vision)
    save(hf.Qwen2_5_VLForConditionalGeneration(config), folder)
    load_causal_model(folder)


def _quantised(folder: Path) -> None:
    tiny_model(folder, family="llama")
    rewrite(folder, quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 32})
    with pytest.raises(IsoglossError, match=r"quantised \(gptq\).*give the one that this was made from"):
        fetch(folder)
    load_base_model(folder)


def _code(folder: Path) -> None:
    tiny_model(folder, family="llama")
    shape = Shape(**shape_of(hf.AutoConfig.from_pretrained(folder)))
    code = {"AutoConfig": "configuration_x.XConfig", "AutoModelForCausalLM": "modeling_x.X"}
    rewrite(folder, auto_map=code, model_type="x_unknown")
    (folder / "configuration_x.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(IsoglossError, match="needs no code of its own"):
        load_base_model(folder)
    fetch(folder, shape)


def _head(folder: Path) -> None:
    class Doubled(hf.LlamaModel):
        def forward(self, *arguments: Any, **named: Any) -> Any:
            output = super().forward(*arguments, **named)
            output.last_hidden_state = 2 * output.last_hidden_state
            return output

    model: Any = load_causal_model(tiny_model(folder, family="llama"))
    model.model.__class__ = Doubled
    lens_of(model)


BUILDERS = dict(zip(REFUSED, (_layout, _encoder, _vision, _streams, _quantised, _code, _head), strict=True))


@pytest.mark.parametrize("kind", REFUSED)
def test_what_the_table_of_families_lists_as_refused_is_one_line(kind: str, tmp_path: Path):
    refused(lambda: BUILDERS[kind](tmp_path / "lm"), re.escape(REFUSED[kind]))


def test_files_that_are_damaged_or_of_two_models(lm: Path):
    rewrite(lm, intermediate_size=128)
    refused(
        lambda: load_base_model(lm), r"9 weights are not of the shape .* layers\.0\.mlp\.down_proj\.weight: \[32, 64"
    )
    rewrite(lm, intermediate_size=64, bos_token_id=[1, 2])
    refused(lambda: load_tokenizer(lm), r"config\.json describes no decoder .*bos_token_id")
    shape = Shape(layers=3, d_model=32, d_mlp=64, heads=2, key_value_heads=1, d_head=16, vocabulary=320)
    config = (lm / "config.json").read_text()
    (lm / "config.json").write_text("{")
    refused(lambda: fetch(lm, shape), r"config\.json describes no decoder .*not a valid JSON")
    refused(lambda: load_base_model(lm), r"config\.json describes no decoder .*not a valid JSON")
    (lm / "config.json").write_text(config)
    rewrite(lm, bos_token_id=0)
    (lm / "model.safetensors").rename(lm / "model.safetensors.index.json")
    for text in ("{", "[]", '{"weight_map": 3}'):
        (lm / "model.safetensors.index.json").write_text(text)
        for work in (fetch, load_base_model):
            refused(lambda work=work: work(lm), "model.safetensors.index.json is no index of shards; fetch the model")


@pytest.mark.parametrize("text", ["{", "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n", "{}"])
def test_a_tokenizer_that_cannot_be_read(lm: Path, text: str):
    (lm / "tokenizer.json").write_text(text)
    refused(lambda: load_tokenizer(lm), r"lm: its tokenizer cannot be read .* without Git LFS or a damaged file")
    refused(lambda: fetch(lm), r"lm: its tokenizer cannot be read")


def test_a_tokenizer_with_more_words_than_the_model(lm: Path):
    tokenizer = family_tokenizer("llama")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})  # Gemma 3 270M has such a one
    tokenizer.save_pretrained(lm)
    assert len(load_tokenizer(lm)) == 321
    tokenizer.add_tokens(["zzz"])
    tokenizer.save_pretrained(lm)
    for work in (load_tokenizer, fetch):
        refused(
            lambda work=work: work(lm),
            "the tokenizer has tokens up to number 321, the model knows 320; it could not read 'zzz'",
        )


@pytest.mark.parametrize("family", ["llama", "gemma3-vision", "gpt-neox"])
def test_weights_that_no_one_asked_for(family: str, tmp_path: Path):
    lm = tiny_model(tmp_path / "lm", family=family)
    layer = next(name for name in load_file(lm / "model.safetensors") if "layers.0." in name and "vision" not in name)
    layer = layer.split("layers.0.")[0] + "layers.{}."
    constants = (layer.format(0) + "attention.masked_bias", layer.format(0) + "self_attn.rotary_emb.inv_freq")
    with_weights(lm, lambda weights: weights.update({name: torch.ones(1) for name in constants}))
    assert load_base_model(lm)
    with_weights(lm, lambda weights: weights.update({layer.format(2) + "mlp.extra.weight": torch.ones(3)}))
    for load in (load_base_model, load_causal_model):
        refused(
            lambda load=load: load(lm), r"1 weights of its decoder layers have no use in a \w+, .*mlp\.extra\.weight;"
        )
        assert load(lm, last_layer=1)  # they are above


# --- What is read rightly -------------------------------------------------------------------------


def fp8(folder: Path) -> dict[str, torch.Tensor]:
    """Make the linear maps of the model in `folder` 8 bits wide, a scale for each 128 x 128; returns what they are.

    The format of DeepSeek's and Qwen's FP8 checkpoints (`weight_scale_inv`, quantization_config of config.json).
    """
    plain: dict[str, torch.Tensor] = {}

    def quantise(weights: dict[str, torch.Tensor]) -> None:
        for name in [name for name in weights if name.endswith("proj.weight")]:
            scale = weights[name].abs().max() / 448
            eight = (weights[name] / scale).to(torch.float8_e4m3fn)
            weights |= {name: eight, f"{name}_scale_inv": scale.reshape(1, 1)}
            plain[name] = eight.float() * scale

    with_weights(folder, quantise)
    block = {"activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [128, 128]}
    rewrite(folder, quantization_config={"quant_method": "fp8"} | block)
    return plain


def test_weights_of_8_bits_are_turned_back_into_numbers_or_refused(lm: Path):
    plain = fp8(lm)
    fetch(lm)
    loaded = dict(load_causal_model(lm).named_parameters())
    assert plain
    for name, weight in plain.items():
        assert loaded[name].dtype == torch.float32
        assert_close(loaded[name].detach(), weight)
    config = json.loads((lm / "config.json").read_text())
    del config["quantization_config"]
    (lm / "config.json").write_text(json.dumps(config))
    refused(lambda: load_base_model(lm), r"stored as F8_E4M3 \(.*\), but config\.json does not say how they are")


def test_weights_of_4_bits_are_turned_back_into_numbers(tmp_path: Path):
    """GPT-OSS as published (MXFP4): two numbers a byte, the lower half first, a power of two for 32 of them."""
    settings = HEADS | WINDOW | {"num_local_experts": 2, "num_experts_per_tok": 2, "num_hidden_layers": 1}
    lm, plain = save(hf.GptOssForCausalLM(hf.GptOssConfig(**settings)), tmp_path / "lm"), {}
    steps = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])

    def quantise(weights: dict[str, torch.Tensor]) -> None:
        for name in [name for name in weights if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
            experts, inputs, outputs = weights.pop(name).shape
            codes = torch.randint(0, 16, (experts, outputs, inputs // 32, 16, 2), dtype=torch.uint8)
            powers = torch.randint(120, 130, (experts, outputs, inputs // 32), dtype=torch.uint8)
            weights |= {f"{name}_blocks": codes[..., 0] + 16 * codes[..., 1], f"{name}_scales": powers}
            numbers = steps[codes.long()].flatten(-2) * 2.0 ** (powers[..., None].float() - 127)
            plain[name] = numbers.flatten(-2).transpose(1, 2)

    with_weights(lm, quantise)
    rewrite(lm, quantization_config={"quant_method": "mxfp4"})
    fetch(lm)
    loaded = dict(load_causal_model(lm).named_parameters())
    assert len(plain) == 2
    for name, weight in plain.items():
        assert torch.equal(loaded[name].detach(), weight)
    with_weights(lm, lambda weights: weights.pop("model.layers.0.mlp.experts.down_proj_scales"))
    refused(lambda: fetch(lm), r"\(mxfp4\), but .*down_proj_blocks is U8 without the scale of one")


COMPOSITES: dict[str, Callable[[], Any]] = {
    "mistral3": lambda: hf.Mistral3ForConditionalGeneration(
        hf.Mistral3Config(
            text_config=HEADS | {"model_type": "mistral"},
            vision_config={"model_type": "pixtral", **VISION, "head_dim": 8},
        )
    ),
    "qwen3_5": lambda: hf.Qwen3_5ForConditionalGeneration(
        hf.Qwen3_5Config(
            text_config=FAMILIES["qwen3_5"].settings | {"tie_word_embeddings": False},
            vision_config=QWEN_VISION | {"patch_size": 7, "num_position_embeddings": 16},
            tie_word_embeddings=True,
        )
    ),
    "gemma3": lambda: hf.Gemma3ForConditionalGeneration(
        hf.Gemma3Config(text_config=HEADS | WINDOW, vision_config=VISION, mm_tokens_per_image=4, **TOKENS_OF_IMAGES)
    ),
    "gemma4": lambda: hf.Gemma4ForConditionalGeneration(
        hf.Gemma4Config(text_config=FAMILIES["gemma4"].settings, vision_config=None)
    ),
    "llava": lambda: hf.LlavaForConditionalGeneration(
        hf.LlavaConfig(
            text_config=HEADS | {"model_type": "llama"}, vision_config={"model_type": "clip_vision_model", **VISION}
        )
    ),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_the_text_decoder_of_a_model_that_reads_images_too(name: str, tmp_path: Path):
    """Also where only the whole says that the head is the embedding."""
    torch.manual_seed(0)
    whole = COMPOSITES[name]().eval()
    lm, ids = save(whole, tmp_path / "lm"), torch.tensor([[2, *range(20, 50)]])
    with torch.no_grad():
        expected = whole(input_ids=ids, output_hidden_states=True, use_cache=False)
        model = load_causal_model(lm)
        assert_close(model(input_ids=ids, use_cache=False).logits, expected.logits)
    for found, states in zip(residuals(load_base_model(lm)), expected.hidden_states[1:-1], strict=False):
        assert_close(found, states)
    assert lens_of(model).decoder.d_model == 32


def test_models_without_a_bound_on_positions(tmp_path: Path):
    config = hf.BloomConfig(**FAMILIES["bloom"].settings)
    model = hf.BloomForCausalLM(config)
    assert context_length(model) > 1_000_000
    model.config.seq_length = 2048  # as in the checkpoints' config.json
    assert context_length(model) == 2048
    assert context_length(load_causal_model(tiny_model(tmp_path / "lm", family="llama"))) == 512


@pytest.mark.parametrize("config", ["Qwen3MoeConfig", "GptOssConfig", "MixtralConfig", "OlmoeConfig"])
def test_heads_that_ask_for_more_than_hidden_states(config: str):
    settings = GROUPED | EXPERTS | {"num_local_experts": 4, "output_router_logits": True}
    model = hf.AutoModelForCausalLM.from_config(getattr(hf, config)(**settings)).eval()
    assert lens_of(model).packed
    assert SIZE["num_hidden_layers"] == len(lens_of(model).decoder.layers)
