"""Tiny real stand-ins: models, tokenizers and SAEs in exactly the upstream formats."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GPTNeoXTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    SiglipVisionConfig,
)

from isogloss.models.architecture import decoder_of
from isogloss.residuals.pooling import each_mean

TOKENS_OF_IMAGES = {"boi_token_index": 316, "eoi_token_index": 317, "image_token_index": 318}
FAMILIES = ("gemma2", "gemma3", "gemma3-vision", "qwen2", "llama", "gpt-neox")

TEXTS = [
    "The currency of Austria is Euro",
    "La moneda de Austria es euro",
    "The official language of India is Hindi",
    "भारत की राजभाषा हिन्दी है",
    "奥地利的货币是 欧元",
    "Official language: Russian. Continent: Europe",
]


def _byte_level(vocabulary: int, special_tokens: Sequence[str]) -> Tokenizer:
    """A byte-level BPE whose first ids are the special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def tiny_tokenizer(vocabulary: int = 320) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with Gemma's special tokens, BOS first as Gemma's puts it."""
    tokenizer = _byte_level(vocabulary, ["<pad>", "<eos>", "<bos>", "<unk>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )


def tiny_gemma2(folder: Path, *, layers: int = 3, d_model: int = 32, seed: int = 0, vocabulary: int = 320) -> Path:
    """A random Gemma-2 with tokenizer, saved as transformers saves it."""
    torch.manual_seed(seed)
    config = Gemma2Config(
        vocab_size=vocabulary,
        hidden_size=d_model,
        intermediate_size=2 * d_model,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=d_model // 2,
        max_position_embeddings=512,
        sliding_window=16,
        query_pre_attn_scalar=d_model // 2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        initializer_range=0.2,
        attn_implementation="eager",
    )
    Gemma2ForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer(vocabulary).save_pretrained(folder)
    return folder


def family_tokenizer(family: str, vocabulary: int = 320) -> PreTrainedTokenizerBase:
    """A tokenizer with the family's class, special tokens and habit regarding BOS.

    Gemma's and Llama's put BOS first by template; Qwen's has none; GPT-NeoX's has <|endoftext|> for BOS and
    EOS and adds neither.
    """
    if family.startswith("gemma"):
        return tiny_tokenizer(vocabulary)
    if family == "llama":
        special = ["<|begin_of_text|>", "<|end_of_text|>"]
        tokenizer = _byte_level(vocabulary, special)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{special[0]} $A", pair=f"{special[0]} $A {special[0]} $B", special_tokens=[(special[0], 0)]
        )
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[1])
    special = {
        "qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "gpt-neox": ["<|endoftext|>", "<|padding|>"],
    }[family]
    tokenizer = _byte_level(vocabulary, special)
    factory = {"qwen2": Qwen2Tokenizer, "gpt-neox": GPTNeoXTokenizer}[family]
    merges = [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
    return factory(vocab=tokenizer.get_vocab(), merges=merges)


def tiny_model(folder: Path, *, family: str, layers: int = 3, d_model: int = 32, seed: int = 0) -> Path:
    """A random model of one of `FAMILIES` with its tokenizer, saved as transformers saves it.

    Sliding windows are of 16 tokens, where the family has any; a `gemma3-vision` folder is that of the
    larger Gemma 3 checkpoints, whose text decoder stands beside a vision tower.
    """
    torch.manual_seed(seed)
    if family == "gemma2":
        return tiny_gemma2(folder, layers=layers, d_model=d_model, seed=seed)
    tokenizer = family_tokenizer(family)
    common = {
        "vocab_size": 320,
        "hidden_size": d_model,
        "intermediate_size": 2 * d_model,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
    }
    gemma = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "num_key_value_heads": 1}
    gemma |= {"head_dim": d_model // 2, "sliding_window": 16, "query_pre_attn_scalar": d_model // 2}
    # The fifth of six layers attends to everything in Gemma 3; here the second, so that few layers have both kinds.
    kinds = ["full_attention" if layer % 2 else "sliding_attention" for layer in range(layers)]
    if family == "gemma3":
        model = Gemma3ForCausalLM(Gemma3TextConfig(**common, **gemma, layer_types=kinds))
    elif family == "gemma3-vision":
        vision = SiglipVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=28,
            patch_size=7,
        )
        text = {**common, **gemma, "layer_types": kinds}
        model = Gemma3ForConditionalGeneration(
            Gemma3Config(text_config=text, vision_config=vision.to_dict(), mm_tokens_per_image=4, **TOKENS_OF_IMAGES)
        )
    elif family == "qwen2":
        bos = {"bos_token_id": 0, "eos_token_id": 0}
        model = Qwen2ForCausalLM(Qwen2Config(**common, **bos, num_key_value_heads=1, tie_word_embeddings=True))
    elif family == "llama":
        bos = {"bos_token_id": 0, "eos_token_id": 1}
        model = LlamaForCausalLM(LlamaConfig(**common, **bos, num_key_value_heads=1))
    else:
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**common, bos_token_id=0, eos_token_id=0))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_sae(folder: Path, *, kind: str = "topk", d_model: int = 32, features: int = 64, seed: int = 0) -> Path:
    """A random SAE saved by SAELens itself; kind: topk, jumprelu or standard."""
    from sae_lens import JumpReLUSAE, JumpReLUSAEConfig, StandardSAE, StandardSAEConfig, TopKSAE, TopKSAEConfig

    torch.manual_seed(seed)
    common = {"d_in": d_model, "d_sae": features, "dtype": "float32", "device": "cpu"}
    if kind == "topk":
        sae = TopKSAE(TopKSAEConfig(**common, k=8, rescale_acts_by_decoder_norm=False))
    elif kind == "jumprelu":
        sae = JumpReLUSAE(JumpReLUSAEConfig(**common, apply_b_dec_to_input=False))
        sae.threshold.data.uniform_(0.1, 0.5)
    else:
        sae = StandardSAE(StandardSAEConfig(**common))
    with torch.no_grad():
        sae.W_enc.normal_(std=0.3)
        sae.b_enc.normal_(std=0.1)
        sae.b_dec.normal_(std=0.1)
        sae.W_dec.copy_(torch.nn.functional.normalize(sae.W_enc.T, dim=-1))
    sae.cfg.metadata.hook_name = "blocks.0.hook_resid_post"
    sae.save_model(folder)
    return folder


def mean_residuals(
    model: torch.nn.Module, ids: Sequence[Sequence[int]], layers: Sequence[int], *, token_budget: int
) -> torch.Tensor:
    """What `each_mean` gives of all texts together."""
    means = torch.full((len(ids), len(layers), decoder_of(model).d_model), torch.nan)
    each_mean(model, ids, layers, lambda found: means.__setitem__(found.rows, found.vectors), token_budget=token_budget)
    return means
