"""Where each feature of an SAE fires strongly, from one pass over the evaluation tokens (paper C, sec. 3.2)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from tqdm import tqdm

from isogloss.bilingual.spans import runs_of
from isogloss.errors import IsoglossError
from isogloss.models.batching import Batch, each_batch
from isogloss.models.finite import remedy
from isogloss.models.hooks import visit_residuals
from isogloss.models.path import reads_padding
from isogloss.sae.autoencoder import Encoder, activations, pre_activations
from isogloss.spill import SpillFile

ENTRY = np.dtype(
    [
        ("feature", np.int32),
        ("token", np.int32),  # its id
        ("language", np.int32),  # of the document, by position among the study's languages
        ("document", np.int32),  # row of the table of tokens
        ("position", np.int32),  # in the document's ids: BOS, at 0, is never counted
        ("value", np.float32),
    ]
)
_DOCUMENTS = 1024  # documents that are batched together
_LARGEST = 2**24  # numbers of a full-width encoding held at once
_ENTRIES = 2**20  # entries that are read back at a time
_RANGE = 2**22  # entries of the features that are counted together


class Documents(NamedTuple):
    """Consecutive rows of a table of tokens."""

    first: int  # row of the first of them
    names: list[str]
    languages: Int[np.ndarray, " documents"]  # by position among the study's languages
    ids: list[list[int]]  # BOS first


class Strong(NamedTuple):
    """Features that fire above a part of their maximum, in the order of the tokens."""

    row: Int[Tensor, " entries"]  # which of the vectors
    feature: Int[Tensor, " entries"]
    value: Float[Tensor, " entries"]
    finite: Bool[Tensor, " tokens"]  # False where the vector or an activation is not
    firings: Int[Tensor, "features languages"]  # tokens of each language on which each feature is active at all


def strong_activations(
    encoder: Encoder,
    vectors: Float[Tensor, "tokens d_model"],
    maximum: Float[Tensor, " features"],
    part: float,
    language: Int[Tensor, " tokens"],
    languages: int,
) -> Strong:
    """The activations above `part` x `maximum` (strictly, in float32), which is first raised in place to theirs.

    A TopK encoder's are the k of `torch.topk` that are positive; it sees the whole width in chunks of tokens.
    `language` numbers that of each vector, out of `languages`.
    """
    parts: list[tuple[Tensor, ...]] = []
    width = len(encoder.b_enc)
    firings = torch.zeros(width * languages, dtype=torch.int64, device=vectors.device)
    step = max(1, _LARGEST // width)
    for start in range(0, len(vectors), step):
        chunk = vectors[start : start + step]
        of_chunk = language[start : start + step]
        if encoder.k is not None:
            values, features = pre_activations(encoder, chunk).topk(encoder.k, dim=-1, sorted=False)
            finite = values.isfinite().all(dim=-1)
            maximum.scatter_reduce_(0, features.flatten(), values.flatten(), "amax")
            active = values > 0
            keys = (features * languages + of_chunk[:, None])[active]
            firings += torch.bincount(keys, minlength=len(firings))
            rows, ranks = (active & (values > part * maximum[features])).nonzero(as_tuple=True)
            parts.append((rows + start, features[rows, ranks], values[rows, ranks], finite))
        else:
            dense = activations(encoder, chunk)
            finite = chunk.isfinite().all(dim=-1) & dense.amax(dim=-1).isfinite()
            torch.maximum(maximum, dense.amax(dim=0), out=maximum)
            active = dense > 0
            for number in range(languages):
                firings[number::languages] += active[of_chunk == number].sum(dim=0)
            rows, features = (active & (dense > part * maximum)).nonzero(as_tuple=True)
            parts.append((rows + start, features, dense[rows, features], finite))
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    return Strong(*columns, firings=firings.reshape(width, languages))


class Patterns:
    """The entries of one layer's features, on disk.

    What is written exceeds a part of the maximum *so far*, so it holds everything that exceeds that
    part of the final one, which `chunks` selects.
    """

    def __init__(
        self, features: int, languages: int, part: float, *, stack: ExitStack, folder: Path, device: torch.device
    ) -> None:
        self.part = part
        self.firings = np.zeros((features, languages), dtype=np.int64)  # however weak, on tokens of each language
        self.running = torch.zeros(features, device=device)  # maximum of each feature so far
        self.written = np.zeros(features, dtype=np.int64)  # entries of each feature, an upper bound of those counted
        self._file = SpillFile(ENTRY, stack=stack, folder=folder)

    @property
    def maximum(self) -> Float[np.ndarray, " features"]:
        """The largest activation of each feature, 0 where it never fires."""
        return self.running.cpu().numpy()

    def write(self, entries: np.ndarray) -> None:
        """Append the entries (`ENTRY`) of whole documents."""
        self._file.append(entries)
        self.written += np.bincount(entries["feature"], minlength=len(self.written))

    def chunks(self, first: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """The counted entries of the features from `first` to below `stop`, all of a document's in one chunk.

        Counted is an activation strictly above the part of its feature's final maximum.
        """
        limit = np.float32(self.part) * self.maximum
        stop = len(limit) if stop is None else stop
        for entries in self._file.chunks(_ENTRIES):
            feature = entries["feature"]
            counted = entries["value"] > limit[feature]
            if first > 0 or stop < len(limit):
                counted &= (feature >= first) & (feature < stop)
            yield entries[counted]


@torch.no_grad()
def collect_patterns(
    model: nn.Module,
    encoders: Mapping[int, Encoder],
    documents: Iterator[Documents],
    *,
    languages: int,
    part: float,
    token_budget: int,
    stack: ExitStack,
    folder: Path,
) -> dict[int, Patterns]:
    """Where the features of each layer exceed `part` x their maximum, from one forward for all layers.

    BOS and padding are left out. Memory holds the maxima, `_DOCUMENTS` documents and one batch's
    entries; the rest waits in files in `folder`, which `stack` closes. Neither the groups nor the
    batches change what is counted. Raises `IsoglossError` on an activation that is not finite, naming
    layer and document.
    """
    device = next(model.parameters()).device
    patterns = {
        layer: Patterns(len(encoder.b_enc), languages, part, stack=stack, folder=folder, device=device)
        for layer, encoder in encoders.items()
    }
    with tqdm(unit="token", desc="patterns", mininterval=1) as bar:
        for group in documents:

            def work(batch: Batch, group: Documents = group) -> None:
                rows, positions = batch.content.numpy().nonzero()
                if not len(rows):
                    return
                document = np.array(batch.rows)[rows]
                token = batch.input_ids.numpy()[rows, positions]
                content = batch.content.to(device)
                language = torch.from_numpy(group.languages[document]).to(device)
                of_layer: dict[int, tuple[np.ndarray, np.ndarray]] = {}

                def visit(layer: int, residual: Tensor) -> None:
                    strong = strong_activations(
                        encoders[layer], residual[content], patterns[layer].running, part, language, languages
                    )
                    if not bool(strong.finite.all()):
                        name = group.names[document[int((~strong.finite).nonzero()[0])]]
                        mend = remedy(model, read="the SAE")
                        raise IsoglossError(f"layer {layer}, document {name}: the activation is not finite; {mend}")
                    entries = _entries(strong, token, group, document, positions)
                    of_layer[layer] = entries, strong.firings.cpu().numpy()

                visit_residuals(model, batch, list(encoders), visit)
                # Only now: a batch that ran out of memory half way comes again in pieces.
                for layer, (entries, firings) in of_layer.items():
                    patterns[layer].write(entries)
                    patterns[layer].firings += firings
                bar.update(len(rows))

            token_budget = each_batch(group.ids, work, token_budget=token_budget, padded=reads_padding(model))
    return patterns


def _entries(
    strong: Strong,
    token: Int[np.ndarray, " tokens"],
    group: Documents,
    document: Int[np.ndarray, " tokens"],
    position: Int[np.ndarray, " tokens"],
) -> np.ndarray:
    """What is written of a batch's strong activations."""
    row = strong.row.cpu().numpy()
    entries = np.empty(len(row), ENTRY)
    entries["feature"] = strong.feature.cpu().numpy()
    entries["token"] = token[row]
    entries["language"] = group.languages[document[row]]
    entries["document"] = document[row] + group.first
    entries["position"] = position[row]
    entries["value"] = strong.value.cpu().numpy()
    return entries


def read_documents(path: str, languages: Sequence[str]) -> Iterator[Documents]:
    """The documents of a table of tokens, in file order, `_DOCUMENTS` at a time.

    Raises `IsoglossError` for a language that is not among `languages`, and at the end for one of
    these that had no document.
    """
    from isogloss.tables import iter_table

    number_of = {lang: number for number, lang in enumerate(languages)}
    seen: set[str] = set()
    first = 0
    for rows in iter_table(path, ["document", "lang", "ids"], batch_size=_DOCUMENTS):
        langs = rows["lang"].to_list()
        if unknown := sorted(set(langs) - set(number_of)):
            raise IsoglossError(
                f"{path}: documents in {', '.join(unknown)}, but bilingual.languages has only {', '.join(languages)};"
                " make the tokens again"
            )
        seen.update(langs)
        codes = np.array([number_of[lang] for lang in langs], dtype=np.int64)
        yield Documents(first, rows["document"].to_list(), codes, rows["ids"].to_list())
        first += len(rows)
    if absent := [lang for lang in languages if lang not in seen]:
        raise IsoglossError(
            f"{path}: no document in {', '.join(absent)}; give documents of that language or lower"
            " bilingual.minimum_tokens"
        )


class Tally(NamedTuple):
    """What was counted of the features from `first` on, as many as `by_language` has rows."""

    first: int
    by_language: Int[np.ndarray, "features languages"]
    runs: Int[np.ndarray, " features"]  # of consecutive positions in a document
    feature: Int[np.ndarray, " pairs"]  # minus `first`; ascending, tokens ascending within
    token: Int[np.ndarray, " pairs"]
    count: Int[np.ndarray, " pairs"]


def tallies(patterns: Patterns, *, languages: int, vocabulary: int) -> Iterator[Tally]:
    """Counts of all features of a layer, by ranges of features that bound what is held.

    A range reads the file once; it has at most `_RANGE` entries, or one feature, of which no more is
    held than a count for each token that it fires on.
    """
    for first, stop in _ranges(patterns.written):
        features = stop - first
        by_language = np.zeros(features * languages, dtype=np.int64)
        runs = np.zeros(features, dtype=np.int64)
        keys, counts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        for entries in patterns.chunks(first, stop):
            feature = entries["feature"].astype(np.int64) - first
            by_language += np.bincount(feature * languages + entries["language"], minlength=len(by_language))
            runs += runs_of(feature, entries["document"], entries["position"], features)
            new_keys, new_counts = np.unique(feature * vocabulary + entries["token"], return_counts=True)
            keys, counts = _merged(np.concatenate([keys, new_keys]), np.concatenate([counts, new_counts]))
        yield Tally(first, by_language.reshape(features, languages), runs, *np.divmod(keys, vocabulary), counts)


def _merged(
    keys: Int[np.ndarray, " pairs"], counts: Int[np.ndarray, " pairs"]
) -> tuple[Int[np.ndarray, " merged"], Int[np.ndarray, " merged"]]:
    """Ascending distinct keys and the sums of their counts."""
    if not len(keys):
        return keys, counts
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.add.reduceat(counts, starts)


def _ranges(sizes: Int[np.ndarray, " features"]) -> Iterator[tuple[int, int]]:
    """Ranges that cover all features, with at most `_RANGE` entries each, or one feature."""
    total = np.concatenate([[0], np.cumsum(sizes)])
    first = 0
    while first < len(sizes):
        stop = int(np.searchsorted(total, total[first] + _RANGE, side="right")) - 1
        stop = min(max(stop, first + 1), len(sizes))
        yield first, stop
        first = stop
