"""NLLB-200 and MADLAD-400: one model of all languages, with tokens that name them.

NLLB (arXiv 2207.04672; M2M-100's architecture) has a token for each code of FLORES-200: the source's
stands before its text, the target's is what an output begins with. MADLAD (arXiv 2309.04662; T5) has a
token `<2xx>`, xx much like BCP 47, which stands before the source and names the target.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from sentencepiece import SentencePieceProcessor
from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]

from isogloss.errors import IsoglossError, shown
from isogloss.jsonl import read_json as read_json_file
from isogloss.sources.translation_engine import ENGINES
from isogloss.sources.translation_model import Pieces, TranslationModel

NLLB_PIECES, MADLAD_PIECES = "sentencepiece.bpe.model", "spiece.model"
_FLORES_CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
_MADLAD_TOKEN = re.compile(r"<2([A-Za-z_]+)>")
_SURROGATE = re.compile("[\ud800-\udfff]")
_READS = 512  # tokens; NLLB's model card: trained on no longer inputs; T5's n_positions


class NllbPieces:
    """NLLB's pieces from one language into another, by their codes in FLORES-200.

    The vocabulary is tokenizer.json's: that of the SentencePiece model, fairseq's four control tokens
    first, the languages after it. A model whose tokenizer has `legacy_behaviour` reads the source's code
    after the text.
    """

    def __init__(self, folder: Path, source: str, target: str) -> None:
        config, settings = read_json(folder, "config.json"), read_json(folder, "tokenizer_config.json")
        vocabulary, path = nllb_vocabulary(folder), folder / "config.json"
        self._pieces = _sentencepiece(folder / NLLB_PIECES, model_file=str(folder / NLLB_PIECES))
        names = [self._pieces.id_to_piece(number) for number in range(len(self._pieces))]
        self._unknown = _token(vocabulary, "<unk>", folder)
        self._ids = [vocabulary.get(name, self._unknown) for name in names]
        self._back = {number: own for own, number in enumerate(self._ids) if not self._pieces.is_control(own)}
        self._back.pop(self._unknown, None)
        code, end = _token(vocabulary, source, folder), _number(config, "eos_token_id", path)
        self._before, self._after = ([], [end, code]) if settings.get("legacy_behaviour") else ([code], [end])
        self.first: int | None = _token(vocabulary, target, folder)
        positions = _number(config, "max_position_embeddings", path, 1024)
        self.context = min(_READS, positions)
        self.longest = positions - 2  # where decoding starts, and the language

    def encode(self, text: str) -> list[int]:
        """As `Pieces.encode`: the source's code, the text, </s>."""
        return [*self._before, *(self._ids[own] for own in self._pieces.encode(text)), *self._after]

    def decode(self, ids: list[int]) -> str:
        """As `Pieces.decode`."""
        return self._pieces.decode([self._back[number] for number in ids if number in self._back])


class MadladPieces:
    """MADLAD's pieces into a language, by its code between `<2` and `>`."""

    first: int | None = None

    def __init__(self, folder: Path, target: str) -> None:
        config = read_json(folder, "config.json")
        proto, path = madlad_pieces(folder), folder / MADLAD_PIECES
        whole, token = _sentencepiece(path, model_proto=proto.SerializeToString()), f"<2{target}>"
        before = whole.encode(token)
        self._before = before if whole.piece_to_id(token) in before else [whole.piece_to_id(token)]
        for piece in proto.pieces:
            if _MADLAD_TOKEN.fullmatch(piece.piece):
                piece.type = ModelProto.SentencePiece.CONTROL  # which text has no way to write
        self._pieces = _sentencepiece(path, model_proto=proto.SerializeToString())
        self._end = _number(config, "eos_token_id", folder / "config.json")
        self.context: int = _number(config, "n_positions", folder / "config.json", _READS)
        self.longest = 4 * self.context  # relative positions have no end; 3 times the source and 20 is less

    def encode(self, text: str) -> list[int]:
        """As `Pieces.encode`: the target's token, the text, </s>."""
        return [*self._before, *self._pieces.encode(text), self._end]

    def decode(self, ids: list[int]) -> str:
        """As `Pieces.decode`."""
        known = (number for number in ids if number < len(self._pieces) and not self._pieces.is_unknown(number))
        return self._pieces.decode(list(known))


def load_multilingual(
    folder: str | Path, *, backend: str, source: str, target: str, engine: str, compute_type: str, beam_size: int
) -> tuple[TranslationModel, TranslationModel]:
    """The model in a folder from one language into another, and back; both are the same weights, loaded once.

    `source` and `target` are the model's own codes (`isogloss.sources.language_codes`). Raises
    `IsoglossError` for a folder without model, a code that the model lacks, and a `compute_type` that the
    engine does not have here.
    """
    root = Path(folder)
    known = language_tokens(root, backend)
    if lacking := [code for code in (source, target) if code not in known]:
        raise IsoglossError(f"{folder}: the model has no language {', '.join(lacking)}; fetch it again")
    there: Pieces = NllbPieces(root, source, target) if backend == "nllb" else MadladPieces(root, target)
    back: Pieces = NllbPieces(root, target, source) if backend == "nllb" else MadladPieces(root, source)
    runs = ENGINES[engine](root, compute_type, beam_size)
    return TranslationModel(there, runs), TranslationModel(back, runs)


def language_tokens(folder: Path, backend: str) -> dict[str, int]:
    """The ids of a model's language tokens by its own codes; empty for a model of another kind."""
    if backend == "nllb":
        tokens = nllb_vocabulary(folder)
        return {token: number for token, number in tokens.items() if _FLORES_CODE.fullmatch(token)}
    named = (_MADLAD_TOKEN.fullmatch(piece.piece) for piece in madlad_pieces(folder).pieces)
    return {match[1]: number for number, match in enumerate(named) if match}


def vocabulary_of(folder: Path, backend: str) -> dict[str, int]:
    """All tokens of a model with their ids."""
    if backend == "nllb":
        return nllb_vocabulary(folder)
    return {piece.piece: number for number, piece in enumerate(madlad_pieces(folder).pieces)}


def nllb_vocabulary(folder: Path) -> dict[str, int]:
    """What tokenizer.json (Hugging Face tokenizers, of BPE or Unigram kind) has: pieces, control tokens, languages.

    Raises `IsoglossError` for a file without such.
    """
    data = read_json(folder, "tokenizer.json")
    try:
        pieces: Any = data["model"]["vocab"]
        if isinstance(pieces, list):
            pieces = {piece: number for number, (piece, _) in enumerate(pieces)}
        tokens = {**pieces, **{token["content"]: token["id"] for token in data.get("added_tokens", [])}}
    except (KeyError, TypeError, ValueError, IndexError):
        tokens = {}
    if not tokens or not all(
        isinstance(name, str) and type(number) is int and not _SURROGATE.search(name) for name, number in tokens.items()
    ):
        raise IsoglossError(
            f"{folder / 'tokenizer.json'}: no vocabulary of tokens with ids under 'model' and 'added_tokens'; fetch it"
            " again"
        )
    return tokens


def tokens_of_texts(folder: Path, backend: str) -> dict[str, int]:
    """The tokens with their ids that texts are read as; others, which fine-tuned models add, are in none."""
    tokens = vocabulary_of(folder, backend)
    if backend == "madlad":
        return tokens
    pieces = _sentencepiece(folder / NLLB_PIECES, model_file=str(folder / NLLB_PIECES))
    names = {pieces.id_to_piece(number) for number in range(len(pieces))} | language_tokens(folder, backend).keys()
    return {name: number for name, number in tokens.items() if name in names}


def madlad_pieces(folder: Path) -> ModelProto:
    """The SentencePiece model in a folder; raises `IsoglossError` for a file that is none."""
    proto, path = ModelProto(), folder / MADLAD_PIECES
    try:
        proto.ParseFromString(path.read_bytes())
    except (DecodeError, OSError):
        proto.Clear()
    if not proto.pieces or not all(isinstance(piece.piece, str) for piece in proto.pieces):  # bytes if not UTF-8
        raise IsoglossError(f"{path}: no SentencePiece model; fetch it again")
    return proto


def _sentencepiece(path: Path, **model: Any) -> SentencePieceProcessor:
    try:
        return SentencePieceProcessor(**model)
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or ["empty"])[0]
        raise IsoglossError(f"{path}: no SentencePiece model ({reason}); fetch it again") from None


def _number(config: Mapping[str, Any], key: str, path: Path, default: int | None = None) -> int:
    """A whole number of a configuration, 0 or more; raises `IsoglossError` for anything else."""
    value = config.get(key, default)
    if type(value) is not int or not 0 <= value < 2**31:
        raise IsoglossError(f"{path}: {key!r} is {shown(value)}, not a whole number; fetch it again")
    return value


def _token(vocabulary: Mapping[str, int], name: str, path: Path) -> int:
    if name not in vocabulary:
        raise IsoglossError(f"{path}: no token {name!r} in its vocabulary; fetch it again")
    return vocabulary[name]


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object; raises `IsoglossError` for what is none."""
    return read_json_file(folder / name)
