"""Stand-ins for OPUS-MT: Marian folders in exactly the upstream format, whose output is known.

`tiny_marian` is made, not trained: its cross attention looks at the source position that has the decoder's
own number, and its value matrix turns the code of a source piece into the code of the target piece. So it
writes the source piece by piece in the other language's letters, ends where the source ends, whatever the
source is, and a model back returns what it was given. `random_marian` has random weights of any size.
"""

import io
import json
import random
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import sentencepiece
import torch
from sentencepiece import sentencepiece_model_pb2
from transformers import GenerationConfig, MarianConfig, MarianMTModel

TEXTS = [
    "The currency of Austria is Euro",
    "The official language of India is Hindi",
    "Official language: Russian. Continent: Europe",
    "A phrase is a window of tokens round the strongest one; it need not be a sentence.",
    "In the year 1999 they said that we could go home, but nobody knew which way it was (2 or 3 miles).",
    "What is the capital of Japan? Its people speak Japanese and pay in yen.",
]
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SCRIPTS = {"ru": 0x0410, "zh": 0x4E00, "ja": 0x30A2, "hi": 0x0905, "mr": 0x0905, "ml": 0x0D05, "ar": 0x0621}
_WIDTH, _WAVES = 128, 24  # d_model, and the fastest waves of the positions, which attention reads
_STILL = _WIDTH // 2 - 1  # the slowest wave, next to zero at all positions


def tiny_marian(
    folder: Path,
    *,
    target_lang: str,
    source_lang: str = "en",
    targets: Sequence[str] = (),
    pickled: bool = False,
    ends: bool = True,
    seed: int = 0,
) -> Path:
    """A Marian from `source_lang` to `target_lang` that writes every letter as `written` does.

    Made in a fraction of a second, so each language gets its own. With `targets` it is multi-target:
    `>>CODE<<` becomes the word CODE at the head of the output. `pickled` saves pytorch_model.bin in
    place of model.safetensors. With `ends=False` it says the same piece for ever.
    """
    if "en" not in (source_lang, target_lang):
        raise ValueError("one of the languages must be English")
    folder.mkdir(parents=True, exist_ok=True)
    pieces = _pieces()
    _save_pieces(folder / "source.spm", source_lang)
    _save_pieces(folder / "target.spm", target_lang)
    pairs = [(_in_letters(piece, source_lang), _in_letters(piece, target_lang)) for piece in pieces]
    pairs += [(f">>{code}<<", f"▁{code}") for code in targets]
    names = dict.fromkeys(["</s>", "<unk>", *(name for pair in pairs for name in pair), "<pad>"])
    names["<pad>"] = names.pop("<pad>")
    vocabulary = {name: number for number, name in enumerate(names)}
    model = MarianMTModel(_config(len(vocabulary), d_model=_WIDTH, layers=1, d_ff=32, heads=1))
    with torch.no_grad():
        model.model.shared.weight.copy_(_codes(vocabulary, pairs, seed))
        _copy_by_position(model, sharpness=40.0 if ends else 0.0)
    _save(folder, model, vocabulary, source_lang, target_lang, pickled)
    return folder


def written(text: str, target_lang: str, source_lang: str = "en") -> str:
    """What `tiny_marian` makes of `text`, if it knows all of its characters and its blanks are single."""
    back = str.maketrans({letter: english for english, letter in zip(_LETTERS, _alphabet(source_lang), strict=True)})
    return _in_letters(text.translate(back), target_lang)


def random_marian(
    folder: Path,
    *,
    vocabulary: int | None = None,
    d_model: int = 32,
    layers: int = 2,
    d_ff: int = 64,
    heads: int = 2,
    seed: int = 0,
) -> Path:
    """A Marian with random weights: its outputs mean nothing and rarely end. `vocabulary` pads with unused pieces."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    pieces = ["</s>", "<unk>", *_pieces()]
    pieces += [f"▁unused{number}" for number in range((vocabulary or 0) - len(pieces) - 1)]
    names = {name: number for number, name in enumerate([*pieces, "<pad>"])}
    _save_pieces(folder / "source.spm", "en")
    _save_pieces(folder / "target.spm", "en")
    config = _config(len(names), d_model=d_model, layers=layers, d_ff=d_ff, heads=heads)
    config.init_std = 0.2 if d_model < 128 else 0.02
    _save(folder, MarianMTModel(config), names, "en", "en", False)
    return folder


def _in_letters(piece: str, lang: str) -> str:
    return piece.translate(str.maketrans(_LETTERS, _alphabet(lang)))


@cache
def _alphabet(lang: str) -> str:
    """52 letters: Latin ones swapped in pairs, unless the language has a script of its own."""
    if lang == "en":
        return _LETTERS
    turn = 7 * ord(lang[0]) + ord(lang[-1])
    letters = "".join(_LETTERS[case + (turn - number) % 26] for case in (0, 26) for number in range(26))
    if lang not in _SCRIPTS:
        return letters
    block = [chr(number) for number in range(_SCRIPTS[lang], _SCRIPTS[lang] + 200)]
    own = [c for c in block if unicodedata.category(c)[0] == "L" and unicodedata.normalize("NFKC", c) == c]
    return "".join(own[_LETTERS.index(letter)] for letter in letters)


@cache
def _english() -> sentencepiece_model_pb2.ModelProto:
    """A SentencePiece model of a few words and all of ASCII."""
    words = [word for text in TEXTS for word in text.split()]
    generator = random.Random(0)
    lines = [" ".join(generator.choices(words, k=12)) for _ in range(300)]
    ascii_ = "".join(map(chr, range(33, 127)))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*TEXTS, *lines]),
        model_writer=model,
        vocab_size=400,
        hard_vocab_limit=False,
        character_coverage=1.0,
        required_chars=ascii_,
        minloglevel=2,
    )
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    return proto


@cache
def _pieces() -> tuple[str, ...]:
    return tuple(piece.piece for piece in _english().pieces if piece.type == piece.NORMAL)


def _save_pieces(path: Path, lang: str) -> None:
    proto = sentencepiece_model_pb2.ModelProto()
    proto.CopyFrom(_english())
    for piece in proto.pieces:
        if piece.type == piece.NORMAL:
            piece.piece = _in_letters(piece.piece, lang)
    path.write_bytes(proto.SerializeToString())


def _codes(vocabulary: dict[str, int], pairs: Sequence[tuple[str, str]], seed: int) -> torch.Tensor:
    """Embeddings [vocabulary, d_model]: two halves of signs, and zero where positions are read.

    The target piece of a pair has the source piece's halves swapped; what is its own translation, </s>
    too, has two equal halves. <pad> is zero, as upstream: decoding starts from there.
    """
    generator = torch.Generator().manual_seed(seed)
    half = _STILL - _WAVES

    def signs() -> torch.Tensor:
        return (torch.randperm(half, generator=generator) * 2 - (half - 1)).sign()

    codes = torch.zeros(len(vocabulary), 2, _WIDTH // 2)
    done: set[str] = set()
    for source, target in [("</s>", "</s>"), ("<unk>", "<unk>"), *pairs]:
        if source in done and target in done:
            continue
        assert not done & {source, target}, (source, target)
        first = signs()
        second = first if source == target else signs()
        codes[vocabulary[source], :, _WAVES:_STILL] = torch.stack([first, second])
        codes[vocabulary[target], :, _WAVES:_STILL] = torch.stack([second, first])
        done |= {source, target}
    return codes.flatten(1) * 4 / _WIDTH**0.5


def _copy_by_position(model: MarianMTModel, sharpness: float) -> None:
    """Every matrix zero, but for cross attention: queries and keys read positions, values swap halves."""
    for name, parameter in model.named_parameters():
        if "shared" not in name and "embed" not in name and "layer_norm" not in name:
            parameter.zero_()
    attention = model.model.decoder.layers[0].encoder_attn
    waves = torch.arange(_WIDTH // 2) < _WAVES
    positions = torch.cat([waves, waves])
    read = torch.diag(positions.float())
    read[positions, _STILL] = -1  # layer norm took the mean off; where nothing is, it shows
    attention.q_proj.weight.copy_(read * sharpness)
    attention.k_proj.weight.copy_(read * sharpness)
    attention.v_proj.weight.copy_(torch.diag((~positions).float()).roll(_WIDTH // 2, dims=0))
    attention.out_proj.weight.copy_(torch.eye(_WIDTH) * 30)


def _config(vocabulary: int, *, d_model: int, layers: int, d_ff: int, heads: int) -> MarianConfig:
    return MarianConfig(
        vocab_size=vocabulary,
        d_model=d_model,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_ffn_dim=d_ff,
        decoder_ffn_dim=d_ff,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        max_position_embeddings=512,
        activation_function="swish",
        scale_embedding=True,
        static_position_embeddings=True,
        share_encoder_decoder_embeddings=True,
        pad_token_id=vocabulary - 1,
        decoder_start_token_id=vocabulary - 1,
        bos_token_id=0,
        eos_token_id=0,
        forced_eos_token_id=0,
        dropout=0.0,
    )


def _save(
    folder: Path, model: MarianMTModel, vocabulary: dict[str, int], source: str, target: str, pickled: bool
) -> None:
    pad = len(vocabulary) - 1
    with torch.no_grad():
        model.model.shared.weight[pad] = 0
    generation = {"bad_words_ids": [[pad]], "bos_token_id": 0, "decoder_start_token_id": pad, "eos_token_id": 0}
    generation |= {"forced_eos_token_id": 0, "max_length": 512, "num_beams": 4, "pad_token_id": pad}
    model.generation_config = GenerationConfig(**generation, renormalize_logits=True)
    model.save_pretrained(folder)
    if pickled:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"source_lang": source, "target_lang": target}))
