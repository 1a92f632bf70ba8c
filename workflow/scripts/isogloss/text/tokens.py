"""Tables of tokenised documents: which are held out, whose tokenizer they are of, reading them in order."""

import hashlib
import json
import logging
from collections.abc import Iterator

from torch import nn

from isogloss.errors import IsoglossError
from isogloss.models.loading import context_length, load_tokenizer

logger = logging.getLogger(__name__)

HELD_OUT_SHARE = 0.1  # of the documents; the same ones in every language


def is_held_out(document: str, seed: int) -> bool:
    """Whether SAEs are never trained on `document`: one in ten, by a hash of its name."""
    digest = hashlib.blake2b(f"{seed}/{document}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < HELD_OUT_SHARE * 2**64


def check_documents(tokens: str, lm: str, model: nn.Module) -> None:
    """Raises `IsoglossError` if `tokens` is of another tokenizer than `lm`'s or longer than its context."""
    from isogloss.tables import table_metadata

    about = table_metadata(tokens)
    if (made := about.get("tokenizer")) and made != tokenizer_digest(lm):
        raise IsoglossError(
            f"{lm}: its tokenizer is not the one that {tokens} was made with; checkpoints of one model must share one"
        )
    if (longest := about.get("tokens_per_document", 0)) > context_length(model):
        raise IsoglossError(
            f"{lm}: the model reads {context_length(model)} tokens, but documents have up to {longest};"
            " lower bilingual.tokens_per_document"
        )


def documents_by_language(tokens: str) -> dict[str, int]:
    """How many documents of each language a table of tokenised documents holds, as its metadata tell."""
    from isogloss.tables import table_metadata

    return table_metadata(tokens).get("documents", {})


def tokenizer_digest(folder: str) -> str:
    """A digest of the vocabulary and BOS of the tokenizer in `folder`."""
    tokenizer = load_tokenizer(folder)
    parts = [sorted(tokenizer.get_vocab().items()), tokenizer.bos_token_id]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def read_documents(path: str, *, first: int = 0, again: bool = False) -> Iterator[list[int]]:
    """Token ids, BOS first, of the documents from number `first` on; endlessly, with `again`, where `first` counts on.

    One row group is in memory at a time. Raises `IsoglossError` for an empty table.
    """
    from isogloss.tables import open_table

    table = open_table(path)
    rows = table.metadata.num_rows
    if rows == 0:
        raise IsoglossError(f"{path}: no documents; give more text, or lower bilingual.minimum_tokens")
    skip = first % rows if again else first
    while True:
        for group in range(table.num_row_groups):
            height = table.metadata.row_group(group).num_rows
            if skip >= height:
                skip -= height
                continue
            yield from table.read_row_group(group, columns=["ids"])["ids"].slice(skip).to_pylist()
            skip = 0
        if not again:
            return
        logger.info("%s: all %d documents are read, now once more from the start", path, rows)
