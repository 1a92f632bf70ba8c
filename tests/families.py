"""Families of language models, and what each instrument makes of them: tests hold it, config/families.md shows it.

`python tests/families.py` writes that table. Configurations are the families' own, made tiny; windows have 16 tokens.
"""

from pathlib import Path
from typing import Any, NamedTuple

TABLE = Path(__file__).parents[1] / "config" / "families.md"
LAYERS = 4

SIZE: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
TOKENS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
GROUPED = SIZE | TOKENS | {"num_key_value_heads": 2}
HEADS = GROUPED | {"head_dim": 8}
WINDOW = {"sliding_window": 16}
ALTERNATING = {"layer_types": ["sliding_attention", "full_attention"] * (LAYERS // 2)}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
GEMMA4 = HEADS | WINDOW | ALTERNATING | {"global_head_dim": 8, "hidden_size_per_layer_input": 0}
SHARING = {"num_kv_shared_layers": 2, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 320}
OLD = {"vocab_size": 320, "n_embd": 32, "n_layer": LAYERS, "n_head": 4, "n_positions": 512, "initializer_range": 0.2}

ALIBI = "distances in attention (ALiBi) go by columns, not by positions"
RECURRENT = "some layers are no attention, they read a sequence in its order"


class Family(NamedTuple):
    """A model type of transformers, and what comes of it."""

    models: str  # some that are of it
    config: str  # the class of its configuration; its model is the causal LM of that
    settings: dict[str, Any]
    unpacked: str = ""  # why a prompt and its choices, or ways of steering, cannot be one sequence; "": they are
    layers: str = "model.layers"
    norm: str = "model.norm"
    embedded: bool = True  # whether the hidden states that it gives out begin with the embedding


FAMILIES = {
    "gemma2": Family(
        "Gemma 2", "Gemma2Config", HEADS | WINDOW | {"query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0}
    ),
    "gemma3": Family("Gemma 3", "Gemma3TextConfig", HEADS | WINDOW | ALTERNATING | {"query_pre_attn_scalar": 8}),
    "gemma4": Family("Gemma 4", "Gemma4TextConfig", GEMMA4 | {"num_kv_shared_layers": 0}),
    "gemma4 with shared keys": Family(
        "Gemma 4 E2B, E4B",
        "Gemma4TextConfig",
        GEMMA4 | SHARING,
    ),
    "qwen2": Family("Qwen 2, 2.5", "Qwen2Config", GROUPED),
    "qwen3": Family("Qwen 3", "Qwen3Config", HEADS),
    "qwen3_moe": Family("Qwen 3 with experts", "Qwen3MoeConfig", HEADS | EXPERTS),
    "qwen3_5": Family("Qwen 3.5", "Qwen3_5TextConfig", HEADS | LINEAR, unpacked=RECURRENT),
    "llama": Family("Llama 2, 3; EuroLLM", "LlamaConfig", GROUPED),
    "mistral": Family("Mistral", "MistralConfig", HEADS | WINDOW),
    "mixtral": Family("Mixtral", "MixtralConfig", GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "ministral": Family("Ministral 8B", "MinistralConfig", HEADS | WINDOW | ALTERNATING),
    "ministral3": Family("Ministral 3", "Ministral3Config", HEADS),
    "olmo2": Family("OLMo 2", "Olmo2Config", GROUPED),
    "olmo3": Family("OLMo 3", "Olmo3Config", GROUPED | WINDOW | ALTERNATING),
    "olmoe": Family("OLMoE", "OlmoeConfig", GROUPED | EXPERTS),
    "smollm3": Family("SmolLM3", "SmolLM3Config", GROUPED | {"no_rope_layers": [1, 1, 1, 0]}),
    "apertus": Family("Apertus", "ApertusConfig", GROUPED),
    "cohere": Family("Command R; Aya 23", "CohereConfig", GROUPED | {"logit_scale": 0.5}),
    "cohere2": Family("Command R7B; Aya Expanse", "Cohere2Config", GROUPED | WINDOW | ALTERNATING),
    "granite": Family(
        "Granite 3",
        "GraniteConfig",
        GROUPED | {"logits_scaling": 0.25, "residual_multiplier": 0.5, "embedding_multiplier": 3.0},
    ),
    "phi": Family("Phi 1, 2", "PhiConfig", GROUPED, norm="model.final_layernorm"),
    "phi3": Family("Phi 3, 4", "Phi3Config", GROUPED),
    "gpt_oss": Family(
        "GPT-OSS", "GptOssConfig", HEADS | WINDOW | ALTERNATING | {"num_local_experts": 4, "num_experts_per_tok": 2}
    ),
    "gpt_neox": Family(
        "GPT-NeoX; Pythia", "GPTNeoXConfig", SIZE, layers="gpt_neox.layers", norm="gpt_neox.final_layer_norm"
    ),
    "gpt2": Family("GPT-2", "GPT2Config", OLD | TOKENS, layers="transformer.h", norm="transformer.ln_f"),
    "bloom": Family(
        "BLOOM",
        "BloomConfig",
        OLD | {"hidden_size": 32},
        unpacked=ALIBI,
        layers="transformer.h",
        norm="transformer.ln_f",
    ),
    "falcon": Family("Falcon 7B, 40B", "FalconConfig", SIZE | TOKENS, layers="transformer.h", norm="transformer.ln_f"),
    "opt": Family(
        "OPT",
        "OPTConfig",
        SIZE | {"ffn_dim": 64, "word_embed_proj_dim": 32},
        layers="model.decoder.layers",
        norm="model.decoder.final_layer_norm",
    ),
    "xglm": Family(
        "XGLM",
        "XGLMConfig",
        {"vocab_size": 320, "d_model": 32, "num_layers": LAYERS, "attention_heads": 4, "ffn_dim": 64, "init_std": 0.2},
        norm="model.layer_norm",
    ),
    "lfm2": Family(
        "LFM2",
        "Lfm2Config",
        GROUPED | {"layer_types": ["conv", "full_attention"] * (LAYERS // 2)},
        unpacked=RECURRENT,
        norm="model.embedding_norm",
    ),
    "mpt": Family(
        "MPT",
        "MptConfig",
        {"vocab_size": 320, "d_model": 32, "n_layers": LAYERS, "n_heads": 4, "initializer_range": 0.2} | TOKENS,
        unpacked=ALIBI,
        layers="transformer.blocks",
        norm="transformer.norm_f",
    ),
    "mamba": Family(
        "Mamba",
        "MambaConfig",
        {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": LAYERS, "state_size": 8, "initializer_range": 0.2}
        | TOKENS,
        unpacked=RECURRENT,
        layers="backbone.layers",
        norm="backbone.norm_f",
        embedded=False,
    ),
}
REFUSED = {  # and what the message says
    "GPT 1, XLNet": "decoder layers, final norm and embedding not found where a known architecture keeps them",
    "T5, BART": "an encoder-decoder, and so no causal language model",
    "Qwen 2.5-VL, Qwen 3-VL": "no causal language model that transformers knows",
    "Gemma 3n, DeepSeek V4": "layers give several streams for each token",
    "GPTQ, AWQ, bitsandbytes": "the weights are quantised",
    "code of the model's own": "give a causal language model that needs no code of its own",
    "a head that reads more, under the lens": "its logits are not those of its final norm and head on the last layer's",
}
INSTRUMENTS = {
    "residuals": "transformers' hidden states and hooks, a text at a time; whole, cut off, in any batch",
    "SAE codes": "SAELens on those",
    "lens": "the logits of transformers; at hidden layers with the state put before its final norm",
    "choices": "a forward of transformers for each choice",
    "steering": "a forward with a hook for each choice and way",
    "LoRA": "PEFT's own loading, unmerged",
    "injection": "a whole forward with a hook that changes the stream",
    "decoding": "a forward of transformers for each token, prompts of several lengths together",
}


def table() -> str:
    """The families × instruments in Markdown."""
    lines = [
        "# Families of models",
        "",
        "Written by `make schema` from `tests/families.py`, which the tests go through: each family as a tiny model,",
        "each instrument held against what the second table names. Whether a model packs and steers is tried on the",
        "model itself when it is loaded, so a family that is not here may do as well: of every class of transformers",
        "[model_classes.md](model_classes.md) says what works. A family whose decoder layers, final norm and embedding",
        "have other names needs a line in `LAYOUTS` (`isogloss/models/architecture.py`) and one in",
        "`tests/families.py`.",
        "",
        "| model type | models | residuals, SAE codes, lens, LoRA, injection, decoding | prompt, choices | steering |",
        "|---|---|---|---|---|",
    ]
    for name, family in FAMILIES.items():
        packed = f"a forward for each choice: {family.unpacked}" if family.unpacked else "one forward"
        steered = "refused" if family.unpacked else "beside each other"
        lines.append(f"| {name} | {family.models} | yes | {packed} | {steered} |")
    lines += ["", "| instrument | held against |", "|---|---|"]
    lines += [f"| {name} | {against} |" for name, against in INSTRUMENTS.items()]
    lines += ["", "| refused in one line | because |", "|---|---|"]
    lines += [f"| {name} | {reason} |" for name, reason in REFUSED.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
