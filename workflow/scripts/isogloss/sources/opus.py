"""OPUS-MT (Marian): models of one direction, with a SentencePiece model for each side."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from transformers import MarianTokenizer

from isogloss.errors import IsoglossError, several, shown
from isogloss.jsonl import read_json
from isogloss.sources.translation_engine import ENGINES
from isogloss.sources.translation_model import TranslationModel

# What transformers raises for files that it did not write.
_DAMAGED = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, AssertionError)


class OpusPieces:
    """The pieces of the model in a folder.

    `target` is the language code that a multi-target model puts first as >>CODE<<. Raises
    `IsoglossError` for a folder without model, an unknown code, and a multi-target model without one.
    """

    first: int | None = None

    def __init__(self, folder: str | Path, target: str | None) -> None:
        self._folder = Path(folder)
        if not (self._folder / "config.json").is_file():
            raise IsoglossError(f"{folder}: no config.json there, so no translation model; fetch it again")
        positions = read_json(self._folder / "config.json").get("max_position_embeddings", 512)
        if type(positions) is not int or positions < 1:
            raise IsoglossError(
                f"{self._folder / 'config.json'}: 'max_position_embeddings' is {shown(positions)}; fetch it again"
            )
        self.context: int = positions
        self.longest = self.context
        self._tokenizer = _load_tokenizer(self._folder)
        self._code = self._known(target)

    def encode(self, text: str) -> list[int]:
        """As `Pieces.encode`: the language code first, </s> last."""
        pieces = self._tokenizer.spm_source.encode(text, out_type=str)
        ids = self._tokenizer.convert_tokens_to_ids([*self._code, *pieces])
        assert isinstance(ids, list)
        return [*ids, int(self._tokenizer.eos_token_id)]  # type: ignore[arg-type]

    def decode(self, ids: list[int]) -> str:
        """As `Pieces.decode`."""
        text = self._tokenizer.decode(ids, skip_special_tokens=True, use_source_tokenizer=False)
        assert isinstance(text, str)
        return text

    def _known(self, target: str | None) -> list[str]:
        known = self._tokenizer.supported_language_codes
        if target is None and len(known) > 1:
            raise IsoglossError(
                f"{self._folder}: the model has several target languages; set target to one of {_listed(known)}"
            )
        if target is not None and f">>{target}<<" not in known:
            has = f"has {_listed(known)}" if known else "has one target language: leave target out"
            raise IsoglossError(f"{self._folder}: the model knows no target {target!r}; it {has}")
        return [] if target is None else [f">>{target}<<"]


def load_opus(
    folder: str | Path, *, target: str | None, engine: str, compute_type: str, beam_size: int
) -> TranslationModel:
    """The model in a folder, as `isogloss.sources.translator` leaves it.

    Raises `IsoglossError` as `OpusPieces`, and for a `compute_type` that the engine does not have here.
    """
    return TranslationModel(OpusPieces(folder, target), ENGINES[engine](Path(folder), compute_type, beam_size))


def _load_tokenizer(folder: Path) -> MarianTokenizer:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
        try:
            tokenizer = MarianTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        except _DAMAGED as error:
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise IsoglossError(f"{folder}: its tokenizer cannot be read ({reason}); fetch it again") from None
    assert isinstance(tokenizer, MarianTokenizer)
    sides: list[dict[str, int]] = [getattr(tokenizer, side, {}) for side in ("encoder", "target_encoder")]
    for name, number in (token for side in sides for token in side.items()):
        if type(number) is not int or number < 0:
            raise IsoglossError(f"{folder}: the token {shown(name)} has the id {shown(number)}; fetch it again")
    return tokenizer


def _listed(codes: Sequence[str]) -> str:
    return several(code.removeprefix(">>").removesuffix("<<") for code in codes)
