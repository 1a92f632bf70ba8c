"""Stage `exported_phrases`: top-activating windows of a layer's features from Neuronpedia (paper A, app. A.2.2)."""

import logging
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from isogloss.config.measures import Phrases
from isogloss.errors import IsoglossError
from isogloss.models.loading import load_tokenizer
from isogloss.phrases.search import PHRASES
from isogloss.sources.neuronpedia import UNKNOWN, Malformed, Record, Vocabulary, at, read_records
from isogloss.tables import TableWriter, write_table

logger = logging.getLogger(__name__)

RECORDS = pa.schema(
    {
        "layer": pa.int32(),
        "feature": pa.int32(),
        "ids": pa.list_(pa.int32()),  # the whole record; BOS only if it is in the record
        "values": pa.list_(pa.float32()),  # recorded activation at each of ids
        "peak": pa.int32(),  # position in ids
    }
)

_TOLERATED = 0.01  # share of records that may be malformed, and that may have unknown tokens
_PHRASES = 8192  # phrases of a row group
_TORN_OR_BLANK = re.compile(r"^[\s\ufffd]+|[\s\ufffd]+$")  # U+FFFD: a character of which the window has not all bytes

_COUNTED = (
    "records",  # of sampled features
    "records_malformed",
    "unknown_tokens_dropped",  # records with a token that the vocabulary lacks
    "bos_peaks_dropped",  # records whose strongest token is BOS or another special token
    "windows",  # records that reach the threshold
    "empty_dropped",  # windows without text
    "duplicates_dropped",  # windows that their feature already has
    "surplus_dropped",  # windows beyond per_feature
)


class Window(NamedTuple):
    """The tokens round a peak, in few bytes: there are some hundred thousand a layer."""

    activation: float
    ids: bytes  # int32


class Whole(NamedTuple):
    """A whole record, in few bytes."""

    ids: bytes  # int32
    values: bytes  # float32
    peak: int


def export_phrases(
    *,
    exports: str,
    lm: str,
    phrases: str,
    records: str,
    counts: str,
    layer: int,
    features: int,
    settings: Phrases,
    checked_records: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write the phrases of every `feature_stride`-th of `features` features of `layer` from the folder `exports`.

    A record's strongest token with `window` tokens on each side, cut at special tokens (`own_window`), is a window if
    its activation is at least `threshold` times the feature's maximum, the largest over its usable records. A window
    whose text is blank and one that the feature already has, token for token, are dropped; of the others the
    `per_feature` strongest become phrases, of equal ones the first in the export. Tokens become ids by the
    vocabulary of the tokenizer in `lm` and are never tokenised again; `text` is these ids decoded, without white
    space and torn characters at its ends.

    `records`: the strongest usable records of `checked_records` features, evenly spaced over those that have phrases,
    whole. `counts`: one row, what was read, dropped and kept.

    Memory holds a layer's windows and one record a feature. Raises `IsoglossError` as `read_records` does, if more
    than 1 % of the sampled features' records are malformed or have tokens that the vocabulary lacks (exports of
    another tokenizer), and if there is no phrase.
    """
    tokenizer, window, stride = load_tokenizer(lm), settings.window, settings.feature_stride
    collected = _collect(exports, tokenizer, layer, features, stride, window, settings.threshold)
    tally = collected.tally
    rows: list[tuple[Any, ...]] = []
    for feature, windows in sorted(collected.windows.items()):
        rows += _phrases(feature, windows, tokenizer, settings.per_feature, tally)
    if not rows:
        raise _nothing(exports, tally, stride)
    frame = pl.DataFrame(rows, schema=["feature", "rank", "text", "ids", "activation", "feature_max"], orient="row")
    frame = frame.with_columns(
        phrase=layer * 2**32 + pl.int_range(pl.len(), dtype=pl.Int64),
        layer=pl.lit(layer),
        segments=pl.lit([], pl.List(pl.String)),
    )
    with TableWriter(phrases, PHRASES, metadata) as writer:
        for part in frame.iter_slices(_PHRASES):
            writer.write(part)
    with TableWriter(records, RECORDS, metadata) as writer:
        with_phrases = frame["feature"].unique().sort().to_list()
        writer.write(_evenly_spaced(layer, with_phrases, collected.strongest, checked_records))
    lengths = frame["ids"].list.len()
    summary = {
        "layer": layer,
        "features_sampled": len(range(0, features, stride)),
        "features_recorded": len(collected.strongest),
        "features_with_phrases": len(with_phrases),
        **{name: tally[name] for name in _COUNTED},
        "n_phrases": len(frame),
        "mean_tokens": lengths.mean(),
        "cut_short": int((lengths < 2 * window + 1).sum()),
    }
    write_table(counts, pl.DataFrame([summary], schema_overrides={"layer": pl.Int32}), metadata)


class Found(NamedTuple):
    """What one pass over a layer's export leaves, by feature."""

    windows: dict[int, list[Window]]  # those that reach the threshold, in the order of the export
    strongest: dict[int, Whole]
    tally: Counter[str]


def _collect(
    exports: str,
    tokenizer: PreTrainedTokenizerBase,
    layer: int,
    features: int,
    stride: int,
    window: int,
    threshold: float,
) -> Found:
    vocabulary = Vocabulary(tokenizer)
    special = frozenset(tokenizer.all_special_ids) | {
        number for number, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    windows: dict[int, list[Window]] = {}
    strongest: dict[int, Whole] = {}
    maxima: dict[int, float] = {}
    tally: Counter[str] = Counter()
    malformed: Malformed | None = None
    unknown: Record | None = None
    recorded = read_records(exports, layer=layer, features=features, stride=stride)
    for record in tqdm(recorded, unit="record", mininterval=1):
        tally["records"] += 1
        if isinstance(record, Malformed):
            tally["records_malformed"] += 1
            malformed = malformed or record
            continue
        ids = [vocabulary[token] for token in record.tokens]
        if UNKNOWN in ids:
            tally["unknown_tokens_dropped"] += 1
            unknown = unknown or record
            continue
        if ids[record.peak] in special:
            tally["bos_peaks_dropped"] += 1
            continue
        if min(record.maximum, record.values[record.peak]) <= 0:  # does not fire, or only below the third decimal
            tally["silent"] += 1
            continue
        maximum = maxima.get(record.feature, 0.0)
        if record.maximum > maximum:
            maximum = maxima[record.feature] = record.maximum
            strongest[record.feature] = Whole(_packed("i", ids), _packed("f", record.values), record.peak)
            kept = [one for one in windows.get(record.feature, ()) if one.activation >= threshold * maximum]
            windows[record.feature] = kept
        if record.maximum >= threshold * maximum:
            own = own_window(ids, record.peak, window, special)
            windows[record.feature].append(Window(record.maximum, _packed("i", own)))
    if tally["records"] == 0:
        raise IsoglossError(f"{exports}: no record of a sampled feature; {_other_features(stride, exports)}")
    _check_dropped(malformed, unknown, vocabulary, tally)
    return Found(windows, strongest, tally)


def _other_features(stride: int, exports: str) -> str:
    """What to do about exports that have nothing of the sampled features."""
    again = f"delete {exports} and fetch the exports again"
    return again if stride == 1 else f"lower phrases.feature_stride ({stride}) to sample others, or {again}"


def _nothing(exports: str, tally: Counter[str], stride: int) -> IsoglossError:
    """The error for exports without a phrase: what became of their records, most often first, and advice for that."""
    advice = {
        "silent": ("do not fire", "are these exports of activations? Check neuronpedia.source"),
        "bos_peaks_dropped": (
            "are strongest at BOS or another special token",
            "take exports of SAEs that leave BOS out (neuronpedia.source), or search phrases in text: leave neuronpedia"
            " out",
        ),
        "unknown_tokens_dropped": (
            "have tokens that the model's vocabulary lacks",
            "check neuronpedia.model and source",
        ),
        "records_malformed": ("are malformed", "fetch the exports again"),
        "empty_dropped": ("have a blank window", "raise phrases.window, or check neuronpedia.source"),
    }
    counted = sorted((name for name in advice if tally[name]), key=lambda name: -tally[name])
    said = ", ".join(f"{tally[name]} {advice[name][0]}" for name in counted)
    more = "" if stride == 1 else f", or lower phrases.feature_stride ({stride}) to sample other features"
    return IsoglossError(
        f"{exports}: none of the {tally['records']} records of sampled features gives a phrase: {said};"
        f" {advice[counted[0]][1]}{more}"
    )


def own_window(ids: Sequence[int], peak: int, size: int, special: frozenset[int]) -> Sequence[int]:
    """The tokens up to `size` away from `peak`, on each side as far as the first special token (a document's edge)."""
    start, stop = peak, peak + 1
    while start > max(0, peak - size) and ids[start - 1] not in special:
        start -= 1
    while stop < min(len(ids), peak + size + 1) and ids[stop] not in special:
        stop += 1
    return ids[start:stop]


def _check_dropped(
    malformed: Malformed | None, unknown: Record | None, vocabulary: Vocabulary, tally: Counter[str]
) -> None:
    allowed = _TOLERATED * tally["records"]
    if malformed:
        line = f"{at(malformed.origin)}: malformed record ({malformed.reason})"
        logger.warning("%s, the first of %d", line, tally["records_malformed"])
        if tally["records_malformed"] > allowed:
            raise IsoglossError(
                f"{line}, the first of {tally['records_malformed']} of {tally['records']}; are these Neuronpedia's"
                " exports of activations? Fetch them again"
            )
    if unknown:
        token = next(token for token in unknown.tokens if vocabulary[token] == UNKNOWN)
        line = f"{at(unknown.origin)}: token {token!r} is not in the model's vocabulary"
        logger.warning("%s, the first of %d such records", line, tally["unknown_tokens_dropped"])
        if tally["unknown_tokens_dropped"] > allowed:
            raise IsoglossError(
                f"{line}, the first of {tally['unknown_tokens_dropped']} such records of {tally['records']}: exports"
                " of another tokenizer; check neuronpedia.model and source"
            )


def _phrases(
    feature: int, windows: Sequence[Window], tokenizer: PreTrainedTokenizerBase, per_feature: int, tally: Counter[str]
) -> list[tuple[Any, ...]]:
    """The rows of a feature's phrases, strongest first."""
    rows: list[tuple[Any, ...]] = []
    seen: set[bytes] = set()
    ranked = sorted(windows, key=lambda one: -one.activation)  # stable: equal ones stay in the export's order
    tally["windows"] += len(ranked)
    for activation, packed in ranked:
        if packed in seen:
            tally["duplicates_dropped"] += 1
        elif len(rows) == per_feature:
            tally["surplus_dropped"] += 1
        else:
            seen.add(packed)
            ids = array("i", packed).tolist()
            decoded = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
            assert isinstance(decoded, str)
            if text := _TORN_OR_BLANK.sub("", decoded):
                rows.append((feature, len(rows), text, ids, activation, ranked[0].activation))
            else:
                tally["empty_dropped"] += 1
    return rows


def _evenly_spaced(
    layer: int, features: Sequence[int], strongest: Mapping[int, Whole], count: int
) -> dict[str, pa.Array]:
    """Columns of `RECORDS` for at most `count` of `features`, the first and the last among them."""
    positions = np.linspace(0, len(features) - 1, min(count, len(features))).round().astype(int)
    chosen = [features[position] for position in positions]
    wholes = [strongest[feature] for feature in chosen]
    return {
        "layer": pa.array([layer] * len(chosen), pa.int32()),
        "feature": pa.array(chosen, pa.int32()),
        "ids": pa.array([array("i", one.ids) for one in wholes], pa.list_(pa.int32())),
        "values": pa.array([array("f", one.values) for one in wholes], pa.list_(pa.float32())),
        "peak": pa.array([one.peak for one in wholes], pa.int32()),
    }


def _packed(kind: str, numbers: Iterable[int | float]) -> bytes:
    return array(kind, numbers).tobytes()
