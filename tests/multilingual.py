"""Stand-ins for NLLB-200 and MADLAD-400: folders in exactly the upstream formats.

`tiny_nllb` is made, not trained, as `marian.tiny_marian`: its cross attention looks at the source position that
has the decoder's own number, and it writes the text letter by letter in the alphabet of `marian.written(text, "es")`,
whichever the languages are; since letters are swapped in pairs, the way back returns the text. `tiny_madlad` says the
same sentence to every source. With `random_weights` either means nothing, rarely ends, and minds source and target.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from transformers import (
    GenerationConfig,
    M2M100Config,
    M2M100ForConditionalGeneration,
    NllbTokenizer,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)

from marian import _WIDTH, _codes, _copy_by_position, _english, _in_letters

FLORES = ("eng_Latn", "rus_Cyrl", "spa_Latn", "zho_Hans", "zho_Hant", "hin_Deva")
MADLAD = ("en", "ru", "es", "zh", "hi", "no", "fil", "bn", "bn_Latn")
SAID = "Buenos"  # by `tiny_madlad`
_CHARACTERS = ["▁", *map(chr, range(33, 127))]
_Kind = ModelProto.SentencePiece


def tiny_nllb(
    folder: Path,
    languages: Sequence[str] = FLORES,
    *,
    pickled: bool = True,
    ends: bool = True,
    random_weights: bool = False,
    legacy: bool = False,
    seed: int = 0,
) -> Path:
    """As facebook/nllb-200-distilled-600M, which has pickled weights only. With `ends=False` it never ends."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ["<s>", "<pad>", "</s>", "<unk>", *_CHARACTERS, *languages, "<mask>"]
    vocabulary = {name: number for number, name in enumerate(names)}
    (folder / "sentencepiece.bpe.model").write_bytes(_pieces(["<unk>", "<s>", "</s>"], []).SerializeToString())
    tokenizer = NllbTokenizer(
        vocab=vocabulary,
        merges=[],
        additional_special_tokens=list(languages),
        legacy_behaviour=legacy,
    )
    tokenizer.save_pretrained(folder)
    config = M2M100Config(
        vocab_size=len(names) + 2,  # two more than there are tokens, as upstream
        d_model=_WIDTH if not random_weights else 32,
        encoder_layers=2 if random_weights else 1,
        decoder_layers=2 if random_weights else 1,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        encoder_attention_heads=2 if random_weights else 1,
        decoder_attention_heads=2 if random_weights else 1,
        max_position_embeddings=1024,
        activation_function="relu",
        scale_embedding=True,
        init_std=0.2,
        dropout=0.0,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    torch.manual_seed(seed)
    model = M2M100ForConditionalGeneration(config)
    if random_weights:
        with torch.no_grad():  # or each token repeats itself, as its embedding is the head's too
            for name, parameter in model.named_parameters():
                parameter.mul_(1 if "shared" in name else 3)
    else:
        pairs = [(name, _in_letters(name, "es")) for name in _CHARACTERS] + [(code, code) for code in languages]
        codes = _codes(vocabulary, [pair for pair in pairs if pair[0] <= pair[1]], seed)
        with torch.no_grad():
            model.model.shared.weight.zero_()
            model.model.shared.weight[: len(names)] = codes
            _copy_by_position(model, sharpness=40.0 if ends else 0.0)  # type: ignore[arg-type]
    model.generation_config = GenerationConfig(
        bos_token_id=0, decoder_start_token_id=2, eos_token_id=2, max_length=200, pad_token_id=1
    )
    model.save_pretrained(folder)
    if pickled:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    card = "---\nlanguage:\n- ace\n- acm\nlicense: cc-by-nc-4.0\ntags:\n- nllb\n---\n\n# NLLB-200\n\nlicense: no\n"
    (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


def tiny_madlad(
    folder: Path, languages: Sequence[str] = MADLAD, *, ends: bool = True, random_weights: bool = False, seed: int = 0
) -> Path:
    """As google/madlad400-3b-mt: T5 1.1, whose head is its own, with safetensors. With `ends=False` it never ends."""
    folder.mkdir(parents=True, exist_ok=True)
    proto = _pieces(["<unk>", "<s>", "</s>"], [f"<2{code}>" for code in languages])
    (folder / "spiece.model").write_bytes(proto.SerializeToString())
    names = [piece.piece for piece in proto.pieces]
    tokenizer = T5Tokenizer(
        vocab=[(piece.piece, piece.score) for piece in proto.pieces],
        extra_ids=0,
        pad_token="<s>",
        additional_special_tokens=[],
    )
    tokenizer.save_pretrained(folder)
    config = T5Config(
        vocab_size=len(names),
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        relative_attention_num_buckets=8,
        relative_attention_max_distance=32,
        tie_word_embeddings=False,
        dropout_rate=0.0,
        decoder_start_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        initializer_factor=1.0,
    )
    torch.manual_seed(seed)
    model = T5ForConditionalGeneration(config)
    model.lm_head.weight = torch.nn.Parameter(torch.randn(len(names), 32))  # its own, as upstream
    if not random_weights:
        _say(model, [0, *(names.index(letter) for letter in f"▁{SAID}")], ends)
    model.generation_config = GenerationConfig(decoder_start_token_id=0, eos_token_id=2, pad_token_id=1)
    model.save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    written.pop("scale_decoder_outputs", None)
    (folder / "config.json").write_text(json.dumps(written | {"tie_word_embeddings": False}), encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# MADLAD-400\n", encoding="utf-8")
    return folder


def _pieces(control: Sequence[str], user_defined: Sequence[str]) -> ModelProto:
    """A SentencePiece model of control tokens, tokens of the makers' own, and characters."""
    proto = ModelProto()
    proto.CopyFrom(_english())
    del proto.pieces[:]
    kinds = [_Kind.UNKNOWN, *[_Kind.CONTROL] * (len(control) - 1), *[_Kind.USER_DEFINED] * len(user_defined)]
    for name, kind in zip([*control, *user_defined], kinds, strict=True):
        proto.pieces.add(piece=name, score=0.0, type=kind)
    for number, name in enumerate(_CHARACTERS):
        proto.pieces.add(piece=name, score=-1.0 - number / 100, type=_Kind.NORMAL)
    return proto


def _say(model: T5ForConditionalGeneration, said: Sequence[int], ends: bool) -> None:
    """Every matrix zero but embedding and head, which know what follows a token; nothing looks at the source."""
    width = model.config.d_model
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layer_norm" not in name:
                parameter.zero_()
        codes = torch.eye(width)[: len(said)] * width**0.5
        model.shared.weight[list(said)] = codes
        model.lm_head.weight[[*said[1:], 2 if ends else said[-1]]] += codes
