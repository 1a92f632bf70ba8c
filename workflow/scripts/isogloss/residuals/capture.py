"""Stage `capture`: mean-pooled residuals of sampled phrases at every analysed layer (paper A, sec. 2.2)."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from jaxtyping import Int
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from isogloss.background import ahead, behind
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import beside_gpu
from isogloss.models.finite import remedy
from isogloss.models.fused.faster import compile_layers
from isogloss.models.loading import context_length, load_base_model, load_tokenizer
from isogloss.models.path import kernels_of
from isogloss.residuals.pooling import Means, each_mean
from isogloss.spill import SpillFile
from isogloss.tables import TableWriter, open_table
from isogloss.tables.layers import iter_layers
from isogloss.text.distinct import Distinct, TextGroup, distinct_texts, each_group

_PHRASES = 1024  # phrases that are read at a time to be computed and written,
_SCANNED = 16_384  # and to be counted and compared
_TOKENS = 20  # of a phrase, about
_BUDGETS = 32  # token budgets of texts that are sorted by length together;
_BUDGETS_BESIDE = 2  # beside a GPU fewer, since a group's phrases are written while it computes the next one
_OPEN = 2  # languages whose phrases are still written while the GPU computes another one's
_ROWS = 1024  # rows (a phrase at a layer) of a row group: ten languages' are open at once in the similarity


def capture(
    *,
    lm: str,
    adapter: str | None,
    translations: Mapping[str, Sequence[str]],
    outputs: Mapping[str, str],
    layers: Sequence[int],
    feature_stride: int,
    compute: Compute,
    metadata: Mapping[str, Any],
) -> None:
    """Write, by language, the float32 mean over tokens (BOS left out) of the residual after each of `layers`.

    One row a phrase and layer, in the order of the phrases in a language's `translations` (the tables of
    all blocks of layers, in order). Of each layer's features that have phrases, every `feature_stride`-th in
    ascending order is sampled, and all of its phrases are read at all layers. A phrase with `ids` is
    read as these, any other as its text's tokens; `pooled` is null for a phrase without a text (no
    usable translation). Of a language each distinct text goes through the model once, however many phrases have it;
    its means wait on disk beside the output until the phrases before them are written. Memory holds the texts of 32
    token budgets, 1,024 phrases, and of each sampled phrase and distinct text some tens of bytes
    (`isogloss.text.distinct`). Beside a GPU texts are read and tokenised in a thread ahead of it, the next language's
    too, and phrases are written in another, a language's, which may still run while the next one's are computed.

    Raises `IsoglossError` on a NaN, naming layer, language and phrase.
    """
    layers = sorted(layers)
    model = load_base_model(
        lm, last_layer=layers[-1], adapter=adapter, dtype=getattr(torch, compute.dtype), kernels=compute.kernels
    )
    total = sum(open_table(path).metadata.num_rows for paths in translations.values() for path in paths)
    compile_layers(model, _TOKENS * total // feature_stride)
    metadata = {**metadata, **kernels_of(model)}
    tokenizer = load_tokenizer(lm)
    metadata = {**metadata, **kernels_of(model)}
    beside = beside_gpu()
    token_budget = compute.token_budget
    budgets = _BUDGETS_BESIDE if beside else _BUDGETS
    read = _groups(
        translations, feature_stride, tokenizer, context=context_length(model), tokens=budgets * token_budget
    )
    open_tables: deque[ExitStack] = deque()
    with ExitStack() as stack, ahead(read, threaded=beside) as groups:
        table: _Table | None = None
        for phrases, group in groups:
            if table is None:
                open_tables.append(stack.enter_context(ExitStack()))
                table = _Table(
                    outputs[phrases.lang],
                    {**metadata, "lang": phrases.lang},
                    phrases,
                    layers,
                    decoder_of(model).d_model,
                    stack=open_tables[-1],
                    beside=beside,
                )
            if group is not None:
                token_budget = _pool(model, group, table, token_budget)
                continue
            table.write(len(phrases.texts.first))  # which is all, even where none has a text
            table = None
            if not beside or len(open_tables) > _OPEN:
                open_tables.popleft().close()
        while open_tables:
            open_tables.popleft().close()


class _Phrases(NamedTuple):
    """The sampled phrases of a language, and their texts."""

    lang: str
    paths: Sequence[str]
    sampled: pl.DataFrame  # layer and feature
    texts: Distinct

    @classmethod
    def of(cls, lang: str, paths: Sequence[str], stride: int) -> "_Phrases":
        """From the tables of all blocks of layers."""
        sampled = sampled_features(paths, stride)
        texts = distinct_texts(_sampled_rows(paths, sampled, ["text", "ids"], size=_SCANNED))
        return cls(lang, paths, sampled, texts)

    def rows(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The phrases, in order, so many at a time as are read at a time."""
        return _sampled_rows(self.paths, self.sampled, columns)


def _groups(
    translations: Mapping[str, Sequence[str]],
    stride: int,
    tokenizer: PreTrainedTokenizerBase,
    *,
    context: int,
    tokens: int,
) -> Iterator[tuple[_Phrases, TextGroup | None]]:
    """The texts of language after language, each of which ends with None."""
    for lang, paths in translations.items():
        phrases = _Phrases.of(lang, paths, stride)
        rows = phrases.rows(["phrase", "text", "ids"])
        for group in each_group(rows, phrases.texts, tokenizer, lang=lang, context=context, tokens=tokens):
            yield phrases, group
        yield phrases, None


class _RowGroup(NamedTuple):
    """Phrases that are written together."""

    phrase: Int[np.ndarray, " phrases"]
    text: Int[np.ndarray, " phrases"]  # its number; -1 where there is none


class _Table:
    """A language's table: texts' means wait on disk, phrases are written as soon as the means of theirs are there."""

    def __init__(
        self,
        path: str,
        metadata: Mapping[str, Any],
        phrases: _Phrases,
        layers: list[int],
        d_model: int,
        *,
        stack: ExitStack,
        beside: bool,
    ) -> None:
        """`stack` completes the table when it is closed; `beside` a GPU phrases are written in a thread."""
        schema = pa.schema({"phrase": pa.int64(), "layer": pa.int32(), "pooled": pa.list_(pa.float32(), d_model)})
        self.lang, self.layers, self._d_model = phrases.lang, layers, d_model
        self._writer = stack.enter_context(TableWriter(path, schema, metadata))
        row = np.dtype([("pooled", np.float32, (len(layers), d_model))])
        self._spill = SpillFile(row, stack=stack, folder=Path(path).parent)
        self._where = np.empty(total := len(phrases.texts.first), dtype=np.int64)  # each text's row there
        self._kept = 0
        self._bar = stack.enter_context(tqdm(total=total, unit="text", desc=f"capturing {self.lang}"))
        self._row_groups = _row_groups(phrases, max(1, _ROWS // len(layers)))
        self._next: _RowGroup | None = next(self._row_groups, None)
        self._call = stack.enter_context(behind(threaded=beside))

    def keep(self, first: int, means: Means) -> None:
        """Put aside the means of some texts of a group, the `first` of which has this number."""
        self._spill.append(means.vectors.numpy())
        self._where[first + np.array(means.rows)] = self._kept + np.arange(len(means.rows))
        self._kept += len(means.rows)
        self._bar.update(len(means.rows))

    def write(self, texts: int) -> None:
        """Have the phrases written whose texts, and those of all before, are among the first `texts`, all of them kept.

        A text that comes twice, as it may when memory runs out, is taken as it came last.
        """
        self._call(self._write, texts)

    def _write(self, texts: int) -> None:
        while self._next is not None and self._next.text.max() < texts:
            phrase, text = self._next
            absent = text < 0
            vectors = self._spill.take(self._where[text[~absent]].tolist())["pooled"]
            if absent.any():
                whole = np.zeros((len(text), *vectors.shape[1:]), dtype=np.float32)
                whole[~absent] = vectors
                vectors = whole
            values = pa.array(vectors.reshape(-1))
            null = pa.array(absent.repeat(len(self.layers)))
            self._writer.write(
                {
                    "phrase": pa.array(phrase.repeat(len(self.layers))),
                    "layer": pa.array(self.layers * len(text), pa.int32()),
                    "pooled": pa.FixedSizeListArray.from_arrays(values, self._d_model, mask=null),
                }
            )
            self._next = next(self._row_groups, None)


def _row_groups(phrases: _Phrases, size: int) -> Iterator[_RowGroup]:
    """The phrases, at most `size` at a time."""
    start = 0
    for rows in phrases.rows(["phrase"]):
        phrase = rows["phrase"].to_numpy()
        text = phrases.texts.number[start : start + len(rows)]
        start += len(rows)
        for first in range(0, len(rows), size):
            yield _RowGroup(phrase[first : first + size], text[first : first + size])


def _pool(model: nn.Module, group: TextGroup, table: _Table, token_budget: int) -> int:
    """Keep the means of the group's texts and write what can be; returns the token budget that fitted."""
    broken: list[tuple[int, int]] = []  # text, number of the layer

    def keep(means: Means) -> None:
        broken.extend((means.rows[row], number) for row, number in (~means.finite).nonzero().tolist())
        table.keep(group.start, means)

    token_budget = each_mean(model, group.ids, table.layers, keep, token_budget=token_budget)
    if broken:
        text, number = min(broken)
        raise IsoglossError(
            f"layer {table.layers[number]}, language {table.lang}, phrase {group.phrases[text]}: the residual is not"
            f" finite; {remedy(model)}"
        )
    table.write(group.start + len(group.ids))
    return token_budget


def sampled_features(translations: Sequence[str], stride: int) -> pl.DataFrame:
    """Layer and feature of every `stride`-th feature with phrases, ascending within each layer."""
    seen = pl.DataFrame(schema={"layer": pl.Int32, "feature": pl.Int32})
    for rows in iter_layers(translations, None, ["layer", "feature"], batch_size=_SCANNED):
        seen = pl.concat([seen, rows.unique().join(seen, on=["layer", "feature"], how="anti")])
    return seen.sort("layer", "feature").filter(pl.int_range(pl.len()).over("layer") % stride == 0)


def _sampled_rows(
    translations: Sequence[str], sampled: pl.DataFrame, columns: Sequence[str], size: int | None = None
) -> Iterator[pl.DataFrame]:
    owner = ["layer", "feature"]
    for rows in iter_layers(translations, None, [*columns, *owner], batch_size=size or _PHRASES):
        rows = rows.join(sampled, on=owner, how="semi", maintain_order="left")
        if len(rows):
            yield rows.select(columns)
