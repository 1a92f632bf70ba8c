"""Folders as people have them: damaged, quantised, of another model. Fetching them is refused in one line."""

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from isogloss.config.model import Shape
from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.models.folder import UNFIT, read_config
from isogloss.models.loading import check_loads, load_base_model, load_causal_model
from isogloss.models.weights import check_finite
from isogloss.sources.model import fetch_model, shape_of
from standins import family_tokenizer, tiny_model

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123456\n"
DOWN = "model.layers.0.mlp.down_proj"


SIZES = {"vocab_size": 320, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "layer_types": ["full_attention"]}
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "depth": 1, "out_hidden_size": 32}
VISION |= {"patch_size": 7, "num_position_embeddings": 16}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("sound") / "lm", family="llama", layers=2)


@pytest.fixture(scope="module")
def shape(sound: Path) -> Shape:
    return Shape(**shape_of(hf.AutoConfig.from_pretrained(sound)))


@pytest.fixture
def lm(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "lm"))


def fetch(folder: Path, shape: Shape, output: Path) -> None:
    fetch_model(source=Source(folder=str(folder)), architecture=shape, output=str(output))


def rewrite(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def store(folder: Path, **changes: torch.Tensor | None) -> None:
    """Other tensors in the place of those of these names; None leaves one out."""
    weights = load_file(folder / WEIGHTS) | {name.replace("__", "."): value for name, value in changes.items()}
    save_file({name: value for name, value in weights.items() if value is not None}, folder / WEIGHTS)


def shards(folder: Path) -> list[Path]:
    model = hf.AutoModelForCausalLM.from_pretrained(folder)
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="50kB")
    return sorted(folder.glob("model-*.safetensors"))


def one_in_two_shards(folder: Path) -> None:
    first, second, *_ = shards(folder)
    name, value = next(iter(load_file(first).items()))
    save_file(load_file(second) | {name: 2 * value}, second, metadata={"format": "pt"})


def index(folder: Path, shard: str) -> None:
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(json.dumps({"weight_map": {"lm_head.weight": shard}}))


def cut_off(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def gguf(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "model-q4_k_m.gguf").write_bytes(b"GGUF" + bytes(100))


def larger_tokenizer(folder: Path) -> None:
    tokenizer = family_tokenizer("llama")
    tokenizer.add_tokens([f"word{number}" for number in range(9)])
    tokenizer.save_pretrained(folder)


def foreign_bos(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"bos_token": "<new>"}))


def vocabulary_with_a_hole(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    known = content["model"]["vocab"]
    known[max(known, key=known.get)] = 9999
    path.write_text(json.dumps(content), encoding="utf-8")


def words(rows: int, columns: int) -> torch.Tensor:
    return torch.ones((rows, columns), dtype=torch.int32)


def gptq(folder: Path) -> None:
    stored = {
        f"{DOWN}.qweight": words(8, 32),
        f"{DOWN}.qzeros": words(1, 4),
        f"{DOWN}.scales": torch.ones(1, 32).half(),
    }
    store(folder, **{f"{DOWN}.weight": None}, **stored)


def integers(folder: Path) -> None:
    store(
        folder, **{f"{DOWN}.weight": torch.ones((32, 64), dtype=torch.int8), f"{DOWN}.weight_scale": torch.ones(32, 1)}
    )


def four_bits(folder: Path) -> None:
    store(
        folder, **{f"{DOWN}.weight": torch.ones((1024, 1), dtype=torch.uint8), f"{DOWN}.weight.absmax": torch.ones(32)}
    )


def eight_bits(folder: Path) -> None:
    store(folder, **{f"{DOWN}.weight": torch.ones((32, 64)).to(torch.float8_e4m3fn)})


def eight_bits_of_another_scale(folder: Path) -> None:
    eight_bits(folder)
    store(folder, **{f"{DOWN}.weight_scale": torch.ones(1)})
    rewrite(folder, quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]})


def named_quantised(method: str) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder, quantization_config={"quant_method": method, "bits": 4})


def unnamed_quantised(folder: Path) -> None:
    rewrite(folder, quantization_config={"load_in_4bit": True})


def prefixed_merges(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["model"]["type"] == "BPE"
    assert content["model"]["merges"]
    content["model"]["continuing_subword_prefix"] = ","
    path.write_text(json.dumps(content), encoding="utf-8")


TOO_LOW = [("sliding_window", 0), ("sliding_window", -1), ("max_position_embeddings", -5), ("rms_norm_eps", -1e-06)]
TOO_LOW += [("rope_theta", 0), ("rope_theta", -10000.0), ("attention_dropout", float("nan"))]
FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "config: cut off": (
        lambda lm: cut_off(lm / "config.json", 50),
        "config.json describes no decoder .*not a valid JSON",
    ),
    "config: a pointer": (lambda lm: (lm / "config.json").write_text(POINTER), "config.json describes no decoder"),
    "config: a list": (lambda lm: (lm / "config.json").write_text("[1]"), "config.json describes no decoder"),
    "config: bytes": (lambda lm: (lm / "config.json").write_bytes(b"\xff\xfe\x00"), "config.json describes no decoder"),
    "config: empty": (lambda lm: (lm / "config.json").write_text("{}"), "config.json describes no decoder"),
    "config: none": (lambda lm: (lm / "config.json").unlink(), "no config.json"),
    "config: impossible": (lambda lm: rewrite(lm, num_attention_heads=3), "config.json"),
    "config: another activation": (lambda lm: rewrite(lm, hidden_act="no_such"), "config.json"),
    "config: of another width": (lambda lm: rewrite(lm, intermediate_size=96), "architecture.d_mlp says 64"),
    "config: layers": (
        lambda lm: rewrite(lm, num_hidden_layers=2**32),
        "num_hidden_layers: 4294967296, and no model so",
    ),
    **{
        f"config: nested {depth} deep": (
            lambda lm, depth=depth: (lm / "config.json").write_text('{"a":' * depth + "1" + "}" * depth),
            "config.json describes no decoder",
        )
        for depth in (500, 900, 100_000)  # within, near and beyond what Python reads
    },
    "config: fewer layers": (
        lambda lm: rewrite(lm, num_hidden_layers=1),
        r"gives it 1 layers, but there are weights of more, the first is model\.layers\.1\.",
    ),
    "config: no layers": (lambda lm: rewrite(lm, num_hidden_layers=0), "config.json gives it no layers"),
    **{
        f"config: {name} {value}": (
            lambda lm, name=name, value=value: rewrite(lm, **{name: value}),
            f"config.json has {name}: {value}, with which no model computes",
        )
        for name, value in TOO_LOW
    },
    **{
        f"generation: {content}": (
            lambda lm, content=content: (lm / "generation_config.json").write_text(content),
            "generation_config.json has no settings of transformers",
        )
        for content in ("[]", "3", '{"cache_implementation": "no_such"}', '{"watermarking_config": 3}')
    },
    "config: heads": (lambda lm: rewrite(lm, num_attention_heads=-1), "num_attention_heads: -1, and no model so many"),
    "config: labels": (lambda lm: rewrite(lm, num_labels=2**32), "num_labels: 4294967296, and no model so many"),
    "index: cut off": (lambda lm: (shards(lm), cut_off(lm / INDEX, 40)), "is no index of shards"),
    "index: a list": (lambda lm: (shards(lm), (lm / INDEX).write_text("[]")), "is no index of shards"),
    "index: numbers": (lambda lm: (shards(lm), (lm / INDEX).write_text('{"weight_map": {"a": 3}}')), "is no index"),
    "index: bytes": (lambda lm: (shards(lm), (lm / INDEX).write_bytes(b"\xff\xfe")), "is no index of shards"),
    "index: out of the folder": (
        lambda lm: index(lm, "../elsewhere.safetensors"),
        "names ../elsewhere.safetensors, where",
    ),
    "index: pickled": (lambda lm: index(lm, "pytorch_model.bin"), "names pytorch_model.bin, where isogloss reads"),
    "index: empty": (lambda lm: (shards(lm), (lm / INDEX).write_text('{"weight_map": {}}')), "names no file"),
    "shard: missing": (lambda lm: shards(lm)[1].unlink(), "model-00002.* not there"),
    "shard: cut off": (lambda lm: cut_off(shards(lm)[1], 3000), "not a whole safetensors file"),
    "shard: a pointer": (lambda lm: shards(lm)[0].write_text(POINTER), "not a whole safetensors file"),
    "shard: a tensor of another": (one_in_two_shards, r"weight is both in model-00001.* and in model-00002.*"),
    "weights: cut off": (lambda lm: cut_off(lm / WEIGHTS, 5000), "not a whole safetensors file"),
    "weights: empty": (lambda lm: (lm / WEIGHTS).write_bytes(b""), "not a whole safetensors file"),
    "weights: a pointer": (lambda lm: (lm / WEIGHTS).write_text(POINTER), "not a whole safetensors file"),
    "weights: pickled": (pickled, "loads nothing pickled"),
    "weights: gguf": (gguf, "neither model.safetensors nor"),
    "weights: one missing": (lambda lm: store(lm, **{f"{DOWN}.weight": None}), "1 weights are not in its safetensors"),
    "weights: one too many": (lambda lm: store(lm, **{f"{DOWN}.bias": torch.ones(32)}), "have no use in a Llama"),
    "weights: of another shape": (lambda lm: store(lm, **{f"{DOWN}.weight": torch.ones(32, 32)}), "not of the shape"),
    **{
        f"weights: {value}": (
            lambda lm, value=value: store(lm, **{f"{DOWN}.weight": torch.full((32, 64), value)}),
            f"model.safetensors: {DOWN}.weight holds what is no number",
        )
        for value in (math.nan, -math.inf)
    },
    "tokenizer: none": (lambda lm: (lm / "tokenizer.json").unlink(), "no tokenizer"),
    "tokenizer: cut off": (lambda lm: cut_off(lm / "tokenizer.json", 900), "its tokenizer cannot be read"),
    "tokenizer: a pointer": (lambda lm: (lm / "tokenizer.json").write_text(POINTER), "its tokenizer cannot be read"),
    "tokenizer: bytes": (lambda lm: (lm / "tokenizer.json").write_bytes(b"\xff\xfe"), "its tokenizer cannot be read"),
    "tokenizer: merges": (
        prefixed_merges,
        r"its tokenizer cannot be read \(merge .* lacks continuing_subword_prefix ','",
    ),
    "tokenizer: settings": (lambda lm: (lm / "tokenizer_config.json").write_text("["), "its tokenizer cannot be read"),
    "tokenizer: larger": (larger_tokenizer, "the tokenizer has tokens up to number 328, the model knows 320"),
    "tokenizer: another BOS": (foreign_bos, "tokens up to number 320, the model knows 320; it could not read '<new>'"),
    "tokenizer: a hole": (vocabulary_with_a_hole, "tokens up to number 9999, the model knows 320"),
    "quantised: gptq": (named_quantised("gptq"), r"quantised \(gptq\).*it reads FP8 and MXFP4"),
    "quantised: awq": (named_quantised("awq"), r"quantised \(awq\)"),
    "quantised: bitsandbytes": (named_quantised("bitsandbytes"), r"quantised \(bitsandbytes\)"),
    "quantised: compressed": (named_quantised("compressed-tensors"), r"quantised \(compressed-tensors\)"),
    "quantised: unknown": (named_quantised("of_tomorrow"), r"quantised \(of_tomorrow\)"),
    "quantised: by no name": (unnamed_quantised, "the weights are quantised"),
    "quantised: gptq, unsaid": (gptq, f"stored as I32 .{DOWN}.qweight., but config.json does not say"),
    "quantised: integers, unsaid": (integers, f"stored as I8 .{DOWN}.weight., but config.json does not say"),
    "quantised: 4 bits, unsaid": (four_bits, f"stored as U8 .{DOWN}.weight., but config.json does not say"),
    "quantised: 8 bits, unsaid": (eight_bits, f"stored as F8_E4M3 .{DOWN}.weight., but config.json does not say"),
    "quantised: another scale": (eight_bits_of_another_scale, f"fp8.*but {DOWN}.weight is F8_E4M3 without the scale"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_is_refused_while_it_is_fetched(fault: str, lm: Path, shape: Shape, tmp_path: Path):
    spoil, message = FAULTS[fault]
    spoil(lm)
    if fault == "config: fewer layers":
        shape = shape.model_copy(update={"layers": 1})  # as a study says that was described from this folder
    with pytest.raises(IsoglossError, match=message) as error:
        fetch(lm, shape, tmp_path / "fetched")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(lm))
    assert not (tmp_path / "fetched").exists()


def test_what_is_no_folder_of_a_model(lm: Path, shape: Shape, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    refusals = {"empty": "no config.json", "lm/config.json": "no such folder", "nowhere": "no such folder"}
    for folder, message in refusals.items():
        with pytest.raises(IsoglossError, match=message):
            fetch(tmp_path / folder, shape, tmp_path / "fetched")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["", "config.json", WEIGHTS, "tokenizer.json"])
def test_what_may_not_be_read(lm: Path, shape: Shape, name: str, tmp_path: Path):
    (lm / name).chmod(0)
    with pytest.raises(IsoglossError, match=f"this user may not read (the folder|{name}); change its permissions"):
        fetch(lm, shape, tmp_path / "fetched")
    (lm / name).chmod(0o700)


# What the whole and its text decoder say of a tied head, whether a head is stored, and what comes of it.
HEADS = [
    (True, None, False, "tied"),
    (True, False, False, "tied"),
    (None, True, False, "tied"),
    (True, True, True, "stored"),
    (False, None, True, "stored"),
    (None, None, False, "neither"),
    (False, False, False, "neither"),
]


@pytest.mark.parametrize(("whole", "text", "stored", "head"), HEADS)
def test_a_head_of_a_model_with_a_vision_tower(
    whole: bool | None, text: bool | None, stored: bool, head: str, tmp_path: Path
):
    """Of a stored head the logits are its own; of one tied by either configuration the embedding's; else a sentence."""
    torch.manual_seed(0)
    config = hf.Qwen3_5Config(text_config=SIZES, vision_config=VISION, tie_word_embeddings=not stored)
    model = hf.Qwen3_5ForConditionalGeneration(config).eval()
    model.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    for part, value in ((settings, whole), (settings["text_config"], text)):
        part.pop("tie_word_embeddings", None)
        part.update({} if value is None else {"tie_word_embeddings": value})
    (tmp_path / "config.json").write_text(json.dumps(settings))
    if head == "neither":
        with pytest.raises(IsoglossError, match=r"lm_head\.weight; set tie_word_embeddings in config\.json"):
            check_loads(tmp_path, str(tmp_path))
        return
    ids = torch.arange(5)[None]
    with torch.no_grad():
        assert torch.equal(load_causal_model(tmp_path)(ids).logits, model(input_ids=ids).logits)


MADE_WITH_EXPERTS: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "moe_intermediate_size": 16,
}
MADE_WITH_EXPERTS |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "kv_lora_rank": 8}
MADE_WITH_EXPERTS |= {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "q_lora_rank": 8}
MADE_WITH_EXPERTS |= {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "first_k_dense_replace": 1}
UPPER = {f"model.layers.{number}.input_layernorm.weight": torch.ones(32) for number in (2, 61)}
JOINS = {"model.layers.2.eh_proj.weight": torch.ones(32, 64)}
LAYER_2, LAYER_61 = ({name: UPPER[name]} for name in UPPER)


@pytest.mark.parametrize("more", [LAYER_61, LAYER_2 | JOINS, LAYER_2], ids=["named", "joins", "plain"])
def test_a_layer_above_the_last_is_one_that_predicts_further_tokens(more: dict[str, torch.Tensor], tmp_path: Path):
    hf.DeepseekV3ForCausalLM(hf.DeepseekV3Config(**MADE_WITH_EXPERTS)).save_pretrained(tmp_path)
    store(tmp_path, **more)
    wholes = [check_loads, lambda folder, _: load_causal_model(folder), lambda folder, _: load_base_model(folder)]
    for load in wholes:
        if more is LAYER_2:
            with pytest.raises(
                IsoglossError, match=r"gives it 2 layers, but there are weights of more.*model\.layers\.2"
            ):
                load(tmp_path, str(tmp_path))
        else:
            load(tmp_path, str(tmp_path))
    load_base_model(tmp_path, last_layer=0)


def test_a_text_decoder_beside_a_vision_tower_has_the_layers_of_its_weights(tmp_path: Path):
    sizes = SIZES | {"num_hidden_layers": 2, "layer_types": ["full_attention"] * 2}
    config = hf.Qwen3_5Config(text_config=sizes, vision_config=VISION | {"depth": 3})
    hf.Qwen3_5ForConditionalGeneration(config).save_pretrained(tmp_path)
    check_loads(tmp_path, str(tmp_path))
    text = json.loads((tmp_path / "config.json").read_text())["text_config"]
    rewrite(tmp_path, text_config=text | {"num_hidden_layers": 1, "layer_types": ["full_attention"]})
    with pytest.raises(IsoglossError, match=r"gives it 1 layers, but there are weights of more"):
        check_loads(tmp_path, str(tmp_path))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.bfloat16, torch.float64, torch.int32])
def test_weights_of_every_kind_are_looked_at(dtype: torch.dtype, tmp_path: Path):
    weights = torch.ones(4, 4).to(dtype)
    save_file({"weight": weights, "attn.masked_bias": torch.tensor(-math.inf)}, tmp_path / WEIGHTS)
    check_finite(tmp_path / WEIGHTS, "here")
    if dtype.is_floating_point:
        weights[1, 1] = math.nan
        save_file({"weight": weights}, tmp_path / WEIGHTS)
        with pytest.raises(IsoglossError, match="here: weight holds what is no number"):
            check_finite(tmp_path / WEIGHTS, "here")


def test_numbers_that_are_left_out_or_count_from_the_end_stay(lm: Path, shape: Shape, tmp_path: Path):
    rewrite(lm, sliding_window=None, rope_theta=None, num_experts=0, num_nextn_predict_layers=0)
    rewrite(lm, vision_feature_layer=-2, rms_norm_eps=0.0)
    (lm / "generation_config.json").write_text("[")  # which transformers leaves out itself
    fetch(lm, shape, tmp_path / "fetched")


def test_a_window_that_is_not_used_may_be_none(tmp_path: Path):
    hf.Qwen2MoeConfig().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["sliding_window"] == 0
    read_config(tmp_path)
    rewrite(tmp_path, use_sliding_window=True)
    with pytest.raises(IsoglossError, match="has sliding_window: 0, with which no model computes"):
        read_config(tmp_path)


def test_the_numbers_of_no_published_architecture_are_refused(tmp_path: Path):
    """What each class of transformers has by itself, as it is written and read again; Doge has 16384 experts."""
    refused: dict[str, str] = {}
    for number, kind in enumerate(hf.MODEL_FOR_CAUSAL_LM_MAPPING):
        folder = tmp_path / str(number)
        try:
            kind().save_pretrained(folder)
        except UNFIT:  # one that is of parts has no settings by itself
            continue
        try:
            read_config(folder)
        except IsoglossError as error:
            refused[kind.__name__] = str(error)
    assert all("an encoder-decoder" in reason for reason in refused.values())
    assert len(list(tmp_path.iterdir())) > 100
