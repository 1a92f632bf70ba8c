"""Token ids of texts: a text is text, whatever it spells ("<bos>", "<|im_end|>"), and gives no special token."""

import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from transformers import PreTrainedTokenizerBase

from isogloss.errors import IsoglossError, shown

Offsets = Int[np.ndarray, "tokens two"]


def check_tokenizer_file(path: Path) -> None:
    """Raises `ValueError` for what makes the parser of tokenizer.json (tokenizers 0.23) end the process.

    That is a BPE whose merges lack the prefix of pieces within a word: it cuts the prefix off, amid a character too.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not re.search(r'"continuing_subword_prefix"\s*:\s*"[^"]', text):
        return  # which is quick: the files of large vocabularies have 30 MB
    model = json.loads(text)["model"]
    prefix = model["continuing_subword_prefix"]
    for merge in model.get("merges") or ():
        second = (merge.split(" ") if isinstance(merge, str) else merge)[-1]
        if not second.startswith(prefix):
            raise ValueError(f"merge {shown(merge)} lacks continuing_subword_prefix {shown(prefix)}")


def give_bos(tokenizer: PreTrainedTokenizerBase, number: Any, where: str) -> None:
    """Where `tokenizer` names no BOS token, or an empty one, it is the model's: that of `number`.

    Raises `IsoglossError`, which says that the model is `where`, if that is no token.
    """
    if tokenizer.bos_token:
        return
    there = isinstance(number, int) and 0 <= number < len(tokenizer)
    token: Any = tokenizer.convert_ids_to_tokens(number) if there else None
    if not token:
        raise IsoglossError(
            f"{where}: neither the tokenizer nor config.json (bos_token_id: {number}) has a BOS token, which isogloss"
            " puts before every text; name one in tokenizer_config.json"
        )
    tokenizer.bos_token = token


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, read: Iterable[int], size: int, where: str) -> None:
    """Raises `IsoglossError`, which says that the model is `where`, for words that are beyond the `size` that it knows.

    Special tokens may be, which no text gives (Gemma's for images): but not BOS, nor what came as a text was `read`.
    """
    known: Any = tokenizer  # of whose attributes the annotations are too wide
    special = {number for number, token in known.added_tokens_decoder.items() if token.special}.union(
        known.all_special_ids
    )
    numbers = {known.bos_token_id, *read} | ({*known.get_vocab().values()} - special)
    if beyond := sorted(number for number in numbers if number >= size):
        token = known.convert_ids_to_tokens(beyond[0])
        raise IsoglossError(
            f"{where}: the tokenizer has tokens up to number {beyond[-1]}, the model knows {size}; it could not read"
            f" {shown(token)}: give model and tokenizer of one repository"
        )


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text's tokens, without BOS.

    What looks like a special token is split like any other text; added tokens that are not special (runs of spaces,
    say) stay whole in fast tokenizers, since the model was trained on them as text. Raises `IsoglossError` for half a
    surrogate pair.
    """
    rows: Any = _encoded(tokenizer, list(texts))["input_ids"] if texts else []
    control = control_ids(tokenizer)
    return [
        ids if control.isdisjoint(ids) else [part for number in ids for part in _spelt(tokenizer, number, text)]
        for text, ids in zip(texts, rows, strict=True)
    ]


def token_spans(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], Offsets]:
    """Ids of one text as `token_ids`, and the characters that each token begins and ends at; fast tokenizers only."""
    encoded = _encoded(tokenizer, text, return_offsets_mapping=True)
    ids, spans = encoded["input_ids"], encoded["offset_mapping"]
    control = control_ids(tokenizer)
    if not control.isdisjoint(ids):
        ids, spans = _parted(tokenizer, text, ids, spans)
    return ids, np.array(spans).reshape(-1, 2)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, text: str, *, add_special_tokens: bool = True) -> list[int]:
    """Ids of a text, with `add_special_tokens` also those that the tokenizer itself puts round it (BOS, for Gemma)."""
    return _encoded(tokenizer, text, add_special_tokens=add_special_tokens)["input_ids"]


@lru_cache(maxsize=4)
def control_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The special tokens of a tokenizer but the one for what is unknown."""
    known: Any = tokenizer  # of whose attributes the annotations are too wide
    added = {number for number, token in known.added_tokens_decoder.items() if token.special}
    return frozenset(added.union(known.all_special_ids) - {known.unk_token_id})


def _encoded(tokenizer: PreTrainedTokenizerBase, texts: str | list[str], **more: Any) -> Any:
    try:
        ways = {"add_special_tokens": False, "split_special_tokens": True, "return_attention_mask": False}
        return tokenizer(texts, **{**ways, **more})
    except TypeError:  # what tokenizers raises for text that UTF-8 cannot hold
        for text in [texts] if isinstance(texts, str) else texts:
            if (half := next((mark for mark in text if "\ud800" <= mark <= "\udfff"), None)) is not None:
                where = f"in {text[:40]!r}"
                raise IsoglossError(
                    f"U+{ord(half):04X} is half a surrogate pair and no character, {where}; mend the text"
                ) from None
        raise


def _parted(
    tokenizer: PreTrainedTokenizerBase, text: str, ids: Sequence[int], spans: Sequence[tuple[int, int]]
) -> tuple[list[int], list[tuple[int, int]]]:
    """`ids` and `spans` with the control tokens spelt out."""
    rows: list[tuple[int, tuple[int, int]]] = []
    for number, (start, stop) in zip(ids, spans, strict=True):
        parts = _spelt(tokenizer, number, text)
        one = len(parts) == 1
        rows += [(part, (start, stop) if one else (start + at, start + at + 1)) for at, part in enumerate(parts)]
    return [row[0] for row in rows], [row[1] for row in rows]


def _spelt(tokenizer: PreTrainedTokenizerBase, number: int, text: str) -> list[int]:
    """A control token that stands in the text, character by character; any other token as it is.

    Unigram models (XGLM) have control tokens among the pieces that they cut text into, where splitting does not help.
    Bytes of characters that a vocabulary lacks may be flagged as special too; what these are called is not in the text.
    """
    if number not in control_ids(tokenizer):
        return [number]
    written: Any = tokenizer.convert_ids_to_tokens(number)
    return tokenizer.convert_tokens_to_ids(list(written)) if written in text else [number]  # type: ignore[return-value]
