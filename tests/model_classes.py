"""Every causal language model class of transformers as a tiny model, and what comes of it: config/model_classes.md.

`PYTHONPATH=workflow/scripts python tests/model_classes.py` tries all of them, a minute or three, and writes that table;
the tests of the same name hold each class against its line. Settings follow from their names by one rule; `EXCEPTIONS`
has what needs more.
"""

import sys
import tempfile
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from isogloss.config.model import Shape
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of, hidden_of
from isogloss.models.batching import collate
from isogloss.models.decoding import caches, decode_greedily, first_steps
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import check_loads, load_base_model, load_causal_model
from isogloss.scoring.lens import lens_of
from isogloss.scoring.sweep import steers
from isogloss.sources.model import read_shape

TABLE = Path(__file__).parents[1] / "config" / "model_classes.md"
CLASSES: dict[str, str] = dict(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
LAYERS, WIDTH, WORDS = 4, 32, 320
IDS = [2, *range(10, 34)]  # beyond a window of 16 tokens

# The rule: what a setting of this name is, in every configuration that has it.
NAMES: dict[int, str] = {
    WORDS: "vocab_size vocab_size_per_layer_input unpadded_vocab_size",
    512: "max_position_embeddings n_positions max_seq_len n_ctx context_length original_max_position_embeddings"
    " max_target_positions",
    WIDTH: "hidden_size d_model n_embd dim embedding_size input_embedding_size output_embedding_size mamba_d_ssm"
    " cross_attention_hidden_size word_embed_proj_dim kv_channels emb_dim",
    64: "intermediate_size ffn_dim decoder_ffn_dim encoder_ffn_dim ffn_hidden_size n_inner dff dim_ff d_inner"
    " intermediate_size_mlp shared_intermediate_size feed_forward_size shared_expert_intermediate_size"
    " shared_experts_intermediate_size moe_shared_expert_intermediate_size dense_intermediate_size",
    LAYERS: "num_hidden_layers n_layer n_layers num_layers num_blocks decoder_layers num_decoder_layers"
    " num_attention_heads n_head n_heads num_heads decoder_attention_heads num_decoder_attention_heads"
    " attention_heads linear_num_value_heads mamba_n_heads mamba_num_heads linear_num_heads num_experts"
    " n_routed_experts num_local_experts moe_num_experts index_n_heads n_mamba_heads max_window_layers"
    " swa_num_attention_heads index_topk",
    2: "num_key_value_heads linear_num_key_heads num_experts_per_tok num_experts_per_token moe_topk moe_k"
    " encoder_layers num_encoder_layers encoder_attention_heads num_encoder_attention_heads n_group topk_group"
    " first_k_dense_replace num_dense_layers swa_num_key_value_heads global_attn_every_n_layers hc_mult hc_count"
    " sliding_window_pattern altup_num_inputs num_kv_shared_layers o_groups",
    1: "n_shared_experts num_shared_experts moe_num_shared_experts mamba_n_groups mamba_ngroups n_groups",
    8: "head_dim v_head_dim qk_rope_head_dim qk_nope_head_dim global_head_dim swa_head_dim linear_key_head_dim"
    " linear_value_head_dim index_head_dim mamba_d_head mamba_head_dim mamba_d_state ssm_state_size state_size"
    " rotary_dim linear_head_dim dim_head laurel_rank hidden_size_per_layer_input query_pre_attn_scalar adapter_rank"
    " mamba_chunk_size chunk_size attention_head_size",
    16: "moe_intermediate_size sliding_window sliding_window_size attention_chunk_size window_size"
    " expert_ffn_hidden_size kv_lora_rank q_lora_rank o_lora_rank local_attention attention_window_size"
    " router_hidden_size hc_lowrank",
}
RULE = {name: value for value, names in NAMES.items() for name in names.split()}
TOKENS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
SPREAD = {"initializer_range": 0.2, "init_std": 0.2}
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION |= {"image_size": 28, "patch_size": 7}
ALTERNATING = {"layer_types": ["sliding_attention", "full_attention"] * (LAYERS // 2)}
HYBRID = {"layers_block_type": ["linear_attention", "hybrid"] * (LAYERS // 2)}
INDEXED = {"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 8}
NGRAMS = {"ple_layer_ids": [2], "ngram_vocab_size_base": 50, "split_ngram_parts": 1, "heads_per_ngram": 2}
PRONOUNCED = {"pronunciation_vocab_size": 10, "pronunciation_embed_dim": 8}
WINDOWED = {"swa_num_attention_heads": LAYERS, "swa_num_key_value_heads": LAYERS, "swa_q_lora_rank": 16}
WINDOWED |= {"swa_kv_lora_rank": 16, "swa_head_dim": 16, "swa_qk_nope_head_dim": 8, "swa_v_head_dim": 8}
# What a model type needs beside the rule, or a part of that type.
EXCEPTIONS: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_d_head": 16},
    "blt": {"encoder_hash_byte_group_vocab": 100},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": None, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8},
        "ffn_config": {"hidden_size": WIDTH, "ffn_hidden_size": 64},
    },
    "dots3_note": {
        "vision_config": {"adapter_in_dim": WIDTH, "adapter_out_dim": WIDTH, "pyramid_num_routed": [-1] * LAYERS},
        "audio_config": {"adapter_input_size": WIDTH, "adapter_output_size": WIDTH},
    },
    "dots3_note_text": {"num_key_value_heads": LAYERS} | WINDOWED,
    "fuyu": {"text_config": {"model_type": "persimmon"}},
    "gemma3": {"vision_config": VISION},
    "gemma3n_text": {"activation_sparsity_pattern": None} | ALTERNATING,
    "gemma4": {"vision_config": None, "audio_config": None},
    "gemma4_text": ALTERNATING,
    "gemma4_unified": {"vision_config": None, "audio_config": None},
    "gemma4_unified_text": ALTERNATING,
    "got_ocr2": {"text_config": {"model_type": "qwen2"}},
    "gpt_neo": {"attention_types": [[["global", "local"], LAYERS // 2]]},
    "granitemoehybrid": {"mamba_d_head": 16},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * (LAYERS // 2)},
    "mamba2": {"head_dim": 16},
    "moss_transcribe_diarize": {"text_config": {"model_type": "qwen2"}},
    "qwen4_exp_text": NGRAMS | INDEXED | {"indexer_compress_ratio": 2},
    "reformer": {"is_decoder": True, "axial_pos_shape": (4, 8), "axial_pos_embds_dim": (16, 16)},
    "roc_bert": {"shape_vocab_size": 10, "shape_embed_dim": 8} | PRONOUNCED,
    "zamba": HYBRID,
    "zamba2": HYBRID,
    "zaya": {"num_experts_per_tok": 1},
}
NO_EMBEDDING = {"mamba", "mamba2", "falcon_mamba", "rwkv"}  # not among the hidden states that they give out
# Classes of which no tiny model is made, and why; that it cannot be made is tried too.
NOT_MADE = {
    "gemma3n": "its vision tower needs a package of its own; the text decoder is that of gemma3n_text",
    "gemma4_assistant": "a draft head on another model's keys and values",
    "gemma4_unified_assistant": "a draft head on another model's keys and values",
    "moshi": "a decoder of audio codes",
    "musicgen": "a decoder of audio codes",
    "musicgen_melody": "a decoder of audio codes",
}


def known(config_class: Any) -> set[str]:
    """The settings that a configuration class has."""
    return {field.name for field in fields(config_class)}


def sized(config_class: Any) -> dict[str, Any]:
    """Settings by their names, then by the model type's."""
    names = known(config_class)
    wanted = RULE | TOKENS | SPREAD
    if {"kv_lora_rank", "qk_rope_head_dim"} & names:  # all heads have keys and values of their own
        wanted |= {"num_key_value_heads": LAYERS}
    own = EXCEPTIONS.get(config_class.model_type, {})
    return {name: wanted[name] for name in wanted if name in names} | own


def config_of(model_type: str) -> PreTrainedConfig:
    """The configuration of a tiny model of this type, with all its parts."""
    config_class: Any = CONFIG_MAPPING[model_type]
    settings = sized(config_class)
    for name, part in (getattr(config_class, "sub_configs", None) or {}).items():
        given = settings.get(name, {})
        if given is not None and given.get("model_type"):
            part = CONFIG_MAPPING[given["model_type"]]
        if given is not None and is_dataclass(part) and hasattr(part, "model_type"):
            settings[name] = sized(part) | given
    return config_class(**settings)


def make(model_type: str, folder: Path) -> None:
    """A model of random weights, saved."""
    torch.manual_seed(0)
    config = config_of(model_type)
    with torch.device("meta"):  # a setting without a rule makes a large one
        size = sum(weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters())
    assert size < 10_000_000, f"{model_type}: {size} weights; add what makes it so large to EXCEPTIONS"
    model = AutoModelForCausalLM.from_config(config)
    for name, weight in model.named_parameters():  # what starts as ones and zeros could be left out unseen
        if weight.dim() == 1 and weight.is_floating_point():
            weight.data.add_(0.2 * torch.randn_like(weight) if "A_log" not in name else 0)
    model.save_pretrained(folder)


class Row(NamedTuple):
    """What comes of a class: yes or no, and why a no."""

    residuals: str
    cut: str = "no"
    decoding: str = "no"
    lens: str = "no"
    packed: str = "no"
    steering: str = "no"
    because: str = ""


@torch.no_grad()
def stream(model: nn.Module, layers: Iterable[int]) -> list[Tensor]:
    """What isogloss reads after each of `layers` [tokens, d_model]."""
    found: list[Tensor] = []
    visit_residuals(model, collate([IDS]), list(layers), lambda _, residual: found.append(residual[0]))
    return found


@torch.no_grad()
def reference(folder: Path) -> list[Tensor]:
    """The hidden states that transformers gives out itself; the last, which it gives after a norm, by a hook."""
    full: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    last: list[Any] = []
    hook = decoder_of(full).layers[-1].register_forward_hook(lambda _, __, output: last.append(output))
    states = full(input_ids=torch.tensor([IDS]), output_hidden_states=True, use_cache=False).hidden_states
    hook.remove()
    assert len(states) == LAYERS + 1
    first = 0 if full.config.model_type in NO_EMBEDDING else 1
    return [state[0] for state in (*states[first:][: LAYERS - 1], hidden_of(last[0]))]


def hold(model: nn.Module, expected: list[Tensor]) -> None:
    """Raise unless the layers of `model`, as many as in `expected`, give those states."""
    assert len(decoder_of(model).layers) == len(expected)
    for found, state in zip(stream(model, range(len(expected))), expected, strict=True):
        torch.testing.assert_close(found, state, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def hold_decoding(model: nn.Module) -> str:
    """Raise unless prompts of several lengths are continued as one forward for each token does; which way they are."""
    prompts = [IDS[:9], IDS[:3], [2, 40, 41], [2, 50]]
    nothing = torch.zeros(WORDS, dtype=torch.bool)
    for rows, start in first_steps(prompts, range(len(prompts)), models=[model]):
        found = decode_greedily(model, start, stops=nothing, new_tokens=4)
        for row, tokens in zip(rows, found, strict=True):
            text = list(prompts[row])
            for token in tokens:
                logits = model(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1]
                torch.testing.assert_close(logits[token], logits.max(), atol=1e-4, rtol=1e-4)
                text.append(token)
    return "yes" if caches(model) else "again"


def row_of(model_type: str, folder: Path) -> Row:
    """Try a class. Anything but right numbers and `IsoglossError` is raised."""
    if model_type in NOT_MADE:
        return Row("not tried", "", "", "", "", "", NOT_MADE[model_type])
    make(model_type, folder)
    try:
        shape = read_shape(folder / "config.json", "HERE")
        check_loads(folder, "HERE")
    except IsoglossError as error:
        for load in (load_base_model, load_causal_model):  # no way round it
            try:
                load(folder)
            except IsoglossError:
                continue
            raise AssertionError(f"{model_type} loads, though fetching it is refused: {error}") from None
        return Row("no", because=reason(error))
    shape = Shape(**shape)  # type: ignore[arg-type]
    assert (shape.layers, shape.d_model, shape.vocabulary) == (LAYERS, WIDTH, WORDS)
    model, expected = load_causal_model(folder), reference(folder)
    for load in (load_base_model, load_causal_model):
        hold(load(folder), expected)
        for last in (0, LAYERS - 2):
            hold(load(folder, last_layer=last), expected[: last + 1])
    decoding = hold_decoding(model)
    try:
        lens = lens_of(model)
    except IsoglossError as error:
        return Row("yes", "yes", decoding, because=reason(error))
    return Row("yes", "yes", decoding, "yes", "yes" if lens.packed else "no", "yes" if steers(lens) else "no")


def reason(error: IsoglossError) -> str:
    """What a message says, without how to mend it."""
    message = str(error).replace("HERE: ", "")
    assert "\n" not in message
    return message.split("; ")[0]


HEADER = "| model type | class | residuals | cut off | decoding | lens | packed | steering | because |"


def table(rows: dict[str, Row]) -> str:
    """The rows in Markdown, by model type."""
    tried = [row for row in rows.values() if row.residuals != "not tried"]
    counts = {name: sum(getattr(row, name) in ("yes", "again") for row in tried) for name in Row._fields[:-1]}
    lines = [
        "# Classes of models",
        "",
        "Written by `PYTHONPATH=workflow/scripts python tests/model_classes.py`: every causal language model class of",
        "transformers as a tiny model, its settings made by one rule. `make test-workflow` tries each again and holds",
        "it against its line. Residuals are those of transformers' own `output_hidden_states`, whole and cut off after",
        "a layer; decoding: texts are continued with a cache, or (again) by reading them anew at every token;",
        "the lens gives the model's own logits at the last layer; packed: a prompt and its choices are one forward;",
        "steering: ways of steering run beside each other. [families.md](families.md) has the families that every",
        "instrument is held against.",
        "",
        f"Of {len(rows)} model types {len(tried)} are tried: "
        + ", ".join(f"{name} {count}" for name, count in counts.items())
        + ".",
        "",
        HEADER,
        "|---" * 9 + "|",
    ]
    lines += [f"| {name} | {CLASSES[name]} | {' | '.join(rows[name])} |" for name in sorted(rows)]
    return "\n".join(lines) + "\n"


def rows_of_table() -> dict[str, Row]:
    """What the file says, by model type."""
    lines = TABLE.read_text(encoding="utf-8").split(HEADER)[1].splitlines()[2:]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return {name: Row(*row) for name, _, *row in cells}


if __name__ == "__main__":
    made: dict[str, Row] = {}
    for each in sys.argv[1:] or CLASSES:
        with tempfile.TemporaryDirectory() as scratch:
            made[each] = row_of(each, Path(scratch) / "lm")
        print(each, *made[each], sep=" | ", flush=True)
    if not sys.argv[1:]:
        TABLE.write_text(table(made), encoding="utf-8")
