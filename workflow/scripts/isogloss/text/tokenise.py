"""Stage `tokenise`: the first tokens of documents in several languages, shuffled, in equal shares (paper C, sec. 4)."""

import logging
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from isogloss.config.bilingual import Bilingual
from isogloss.errors import IsoglossError
from isogloss.models.loading import load_tokenizer
from isogloss.models.tokenization import token_ids
from isogloss.text.tokens import is_held_out, tokenizer_digest

logger = logging.getLogger(__name__)

READERS = 8  # places of a table that are read in turn, so that its beginning and end mix
POOL = 8192  # documents of a language that are shuffled together
_ROWS = 256  # documents that are read and tokenised at once
_GROUP = 4096  # documents of a row group that is written
_CHARACTERS = 32  # of a long document, so many for each wanted token are tokenised first


class Document(NamedTuple):
    """The beginning of a document as the model reads it."""

    name: str
    ids: list[int]  # BOS first


def tokenise(
    *,
    documents: Mapping[str, str],
    lm: str,
    train: str,
    evaluation: str,
    settings: Bilingual,
    training_tokens: int,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write the tables `train` and `evaluation`: document, lang, ids (BOS first), in random order.

    `documents` are tables by language with columns document and text. Of each text the first
    `tokens_per_document` tokens are kept, BOS counted; one of fewer than `minimum_tokens` is dropped and
    counted. All language versions of a document are in one of the two tables only. The languages have
    equal shares of the tokens; a table ends at its number of tokens, BOS not counted, or with the language
    that runs out first, which is logged. With no `training_tokens` nothing is trained here, so `train` is empty and
    all documents are there to be evaluated on.

    The metadata of both tables count `documents`, `tokens` (BOS not counted) and `dropped` by language and
    name the `tokenizer` by a digest. Memory does not grow with the documents: `READERS` places of a table
    are read in turn, and each language's documents are shuffled in a pool of `POOL`.

    Raises `IsoglossError` naming the language if one has no document for a table.
    """
    tokenizer, length = load_tokenizer(lm), settings.tokens_per_document
    about = {**metadata, "tokenizer": tokenizer_digest(lm), "tokens_per_document": length}
    parts = (train, training_tokens, False), (evaluation, settings.evaluation_tokens, True if training_tokens else None)
    for output, tokens, held_out in parts:
        dropped = Counter(dict.fromkeys(documents, 0))
        streams = {
            lang: _long_enough(
                shuffled(_beginnings(path, tokenizer, length, held_out, seed), seed),
                settings.minimum_tokens,
                lang,
                dropped,
            )
            for lang, path in documents.items()
        }
        _write(output, streams, documents, tokens, dropped, about)


def _write(
    output: str,
    streams: Mapping[str, Iterator[Document]],
    origins: Mapping[str, str],
    tokens: int,
    dropped: Counter[str],
    about: Mapping[str, Any],
) -> None:
    """Write documents of all `streams` in turn until there are `tokens` tokens or one stream ends."""
    import pyarrow as pa

    from isogloss.tables import TableWriter

    schema = pa.schema({"document": pa.string(), "lang": pa.string(), "ids": pa.list_(pa.int32())})
    counted = dict.fromkeys(streams, 0)
    written = dict.fromkeys(streams, 0)
    rows: dict[str, list[Any]] = {name: [] for name in schema.names}
    with TableWriter(output, schema, about) as writer:
        while sum(counted.values()) < tokens:
            lang = min(streams, key=lambda code: counted[code])
            document = next(streams[lang], None)
            if document is None:
                _say_what_lacks(output, lang, origins[lang], sum(counted.values()), tokens)
                break
            written[lang] += 1
            counted[lang] += len(document.ids) - 1
            for name, value in zip(schema.names, (document.name, lang, document.ids), strict=True):
                rows[name].append(value)
            if len(rows["ids"]) == _GROUP:
                writer.write(rows)
                rows = {name: [] for name in schema.names}
        if rows["ids"]:
            writer.write(rows)
        for lang, count in written.items():
            if count == 0 and tokens:
                raise IsoglossError(
                    f"language {lang}: {origins[lang]} has no document for {output} ({dropped[lang]} were too short);"
                    " give more documents, or lower bilingual.minimum_tokens"
                )
        writer.annotate({"documents": written, "tokens": counted, "dropped": dict(dropped)})


def _say_what_lacks(output: str, lang: str, origin: str, read: int, tokens: int) -> None:
    logger.info(
        "%s: %s has no more documents in %s; the table ends at %d of %d tokens", output, lang, origin, read, tokens
    )


def _long_enough(documents: Iterator[Document], minimum: int, lang: str, dropped: Counter[str]) -> Iterator[Document]:
    """Those of `documents` with at least `minimum` tokens, BOS counted; `dropped` counts the others for `lang`."""
    for document in documents:
        if len(document.ids) >= minimum:
            yield document
        else:
            dropped[lang] += 1


def shuffled(items: Iterator[Document], seed: int) -> Iterator[Document]:
    """`items` in random order, as far as a pool of `POOL` of them mixes."""
    rng = random.Random(f"{seed}/documents")
    pool: list[Document] = []
    for item in items:
        if len(pool) < POOL:
            pool.append(item)
            continue
        position = rng.randrange(POOL)
        yield pool[position]
        pool[position] = item
    rng.shuffle(pool)
    yield from pool


def _beginnings(
    path: str, tokenizer: PreTrainedTokenizerBase, tokens: int, held_out: bool | None, seed: int
) -> Iterator[Document]:
    """The first `tokens` tokens of the documents of a table that are held out, of the others, or (None) of all."""
    for names, texts in read_in_turn(path, seed):
        kept = [row for row, name in enumerate(names) if held_out is None or is_held_out(name, seed) == held_out]
        ids = first_tokens(tokenizer, [texts[row] for row in kept], tokens)
        yield from (Document(names[row], beginning) for row, beginning in zip(kept, ids, strict=True))


def read_in_turn(path: str, seed: int) -> Iterator[tuple[list[str], list[str]]]:
    """Names and texts of all rows of a table, some rows at a time, from `READERS` row groups in turn."""
    from isogloss.tables import open_table

    def rows(group: int) -> Iterator[tuple[list[str], list[str]]]:
        # A file of its own: batches of several row groups of one are not read independently.
        batches = open_table(path).iter_batches(_ROWS, row_groups=[group], columns=["document", "text"])
        return ((batch["document"].to_pylist(), batch["text"].to_pylist()) for batch in batches)

    waiting = list(range(open_table(path).num_row_groups))
    random.Random(f"{seed}/row groups").shuffle(waiting)
    running: list[Iterator[tuple[list[str], list[str]]]] = []
    while waiting or running:
        while waiting and len(running) < READERS:
            running.append(rows(waiting.pop()))
        for reader in list(running):
            batch = next(reader, None)
            if batch is None:
                running.remove(reader)
            else:
                yield batch


def first_tokens(tokenizer: PreTrainedTokenizerBase, texts: list[str], tokens: int) -> list[list[int]]:
    """The first `tokens` tokens of each text, BOS first and counted.

    Of a long text only the beginning is tokenised, unless it has not well over the wanted tokens: a cut
    changes no token but those next to it. An empty text is BOS alone.
    """
    bos = tokenizer.bos_token_id
    assert isinstance(bos, int)
    if not texts:
        return []
    cut = [text[: _CHARACTERS * tokens] for text in texts]
    encoded = token_ids(tokenizer, cut)
    for row, (text, beginning) in enumerate(zip(texts, cut, strict=True)):
        if len(beginning) < len(text) and len(encoded[row]) < 2 * tokens:
            encoded[row] = token_ids(tokenizer, [text])[0]
    return [[bos, *ids[: tokens - 1]] for ids in encoded]
