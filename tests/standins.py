"""Tiny real stand-ins: models, tokenizers and SAEs in exactly the upstream formats."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerFast

TEXTS = [
    "The currency of Austria is Euro",
    "La moneda de Austria es euro",
    "The official language of India is Hindi",
    "भारत की राजभाषा हिन्दी है",
    "奥地利的货币是 欧元",
    "Official language: Russian. Continent: Europe",
]


def tiny_tokenizer(vocabulary: int = 320) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with Gemma's special tokens, BOS first as Gemma's puts it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<pad>", "<eos>", "<bos>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
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
