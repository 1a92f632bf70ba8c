"""The pairs of phrase and translation that an alignment run trains on, and the order it takes them in."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

from isogloss.disparity.alignment import Inactive, Pair
from isogloss.disparity.holdout import HoldOut, held_out_features
from isogloss.errors import IsoglossError
from isogloss.models.batching import encode_texts
from isogloss.models.loading import load_tokenizer
from isogloss.tables.layers import iter_layers

logger = logging.getLogger(__name__)


class TrainingPair(NamedTuple):
    """A phrase with its translation into one language, drawn for training."""

    phrase: int
    lang: str
    feature: int
    recorded: float
    reference: str
    reference_ids: list[int] | None  # what the model reads of an exported phrase, without BOS; None: its text
    translation: str

    @property
    def name(self) -> str:
        """How an error message calls the pair."""
        return f"language {self.lang}, phrase {self.phrase}"


class Drawn(NamedTuple):
    """What a run trains on, and what it was kept from."""

    pairs: list[TrainingPair]
    phrases_dropped: int  # of features that are trained on, but with text of a held-out feature's phrase
    pairs_untranslated: int  # of the other phrases, those with a language that they have no translation in


def draw_pairs(
    *,
    phrases: Sequence[str],
    translations: Mapping[str, str],
    layer: int,
    hold_out: HoldOut,
    samples: int,
    seed: int,
    recorded: Mapping[int, float] | None,
) -> Drawn:
    """`samples` pairs (phrase, language) of the layer's features that are not held out, drawn with `seed`.

    Phrases of different features overlap in the corpus. A phrase that has a segment, or its whole text,
    in common with a phrase of a held-out feature is dropped, so that the held-out features are
    measured on text that was not trained on either. A pair whose translation is null is not drawn.

    `phrases` are the tables that hold the layer, `translations` the table of each language.
    `recorded` gives A^{en,orig} by phrase; without it the phrases' own `activation` in the corpus is
    taken. Memory holds three numbers a phrase of this layer and one a pair, and the texts of its held-out
    phrases and of the drawn pairs only.

    Raises `IsoglossError` if no phrase is left to train on, and for lacking or empty texts.
    """
    eligible, dropped = _eligible_phrases(phrases, layer, hold_out)
    chosen, untranslated = _draw(eligible, translations, layer, samples, seed)
    wanted = {phrase for (phrase, *_), _ in chosen}
    reference = _texts(phrases, layer, wanted, "the reference")
    texts = {
        lang: _texts([path], layer, {phrase for (phrase, *_), code in chosen if code == lang}, f"language {lang}")
        for lang, path in translations.items()
    }
    if recorded is not None and (lacking := wanted - recorded.keys()):
        raise IsoglossError(
            f"{', '.join(phrases)}: the base model's activations lack {len(lacking)} phrases of layer {layer}, the"
            f" first is {min(lacking)}; run the rule that encodes the base model again"
        )
    pairs = [
        TrainingPair(
            phrase=phrase,
            lang=lang,
            feature=feature,
            recorded=activation if recorded is None else recorded[phrase],
            reference=reference[phrase].text,
            reference_ids=reference[phrase].ids,
            translation=texts[lang][phrase].text,
        )
        for (phrase, feature, activation), lang in chosen
    ]
    return Drawn(pairs, dropped, untranslated)


def _eligible_phrases(phrases: Sequence[str], layer: int, hold_out: HoldOut) -> tuple[pl.DataFrame, int]:
    """As `_trained_phrases`. Raises `IsoglossError` if there is none."""
    where = ", ".join(phrases)
    eligible, dropped = _trained_phrases(phrases, layer, hold_out)
    if eligible.is_empty() and dropped:
        raise IsoglossError(
            f"{where}: all {dropped} phrases of layer {layer} whose feature is not held out have a segment in common"
            " with a held-out phrase; lower alignment.held_out and alignment.held_out_features"
        )
    if eligible.is_empty():
        raise IsoglossError(
            f"{where}: layer {layer} has no phrase of a feature that is not held out; lower alignment.held_out"
            " and alignment.held_out_features, or phrases.feature_stride"
        )
    logger.info(
        "layer %d: %d phrases to train on; %d more dropped, which have text in common with held-out phrases",
        layer,
        len(eligible),
        dropped,
    )
    return eligible, dropped


def _draw(
    eligible: pl.DataFrame, translations: Mapping[str, str], layer: int, samples: int, seed: int
) -> tuple[list[tuple[tuple[Any, ...], str]], int]:
    """Rows of `eligible`, each with a language that it has a translation in, and how many pairs have none."""
    codes = list(translations)
    rng = np.random.default_rng([seed, 0])
    numbers = rng.permutation(len(eligible) * len(codes))
    translated = np.stack(
        [_translated(path, layer, eligible["phrase"].to_numpy()) for path in translations.values()], axis=1
    ).ravel()
    untranslated = int((~translated).sum())
    if untranslated == len(translated):
        raise IsoglossError(
            f"layer {layer}: none of {len(eligible)} phrases to train on has a translation into {', '.join(codes)};"
            " mend the translation or lower translation.minimum_chrf"
        )
    if untranslated:
        logger.info("%d of %d pairs have no translation and are not drawn", untranslated, len(translated))
    numbers = numbers[translated[numbers]][:samples]
    return [
        (eligible.row(number // len(codes)), codes[number % len(codes)]) for number in numbers.tolist()
    ], untranslated


def _trained_phrases(phrases: Sequence[str], layer: int, hold_out: HoldOut) -> tuple[pl.DataFrame, int]:
    """Columns phrase, feature, activation of the phrases to train on, and how many were dropped for their text."""
    features = [rows["feature"].unique().to_numpy() for rows in iter_layers(phrases, [layer], ["feature"])]
    apart = held_out_features(layer, np.concatenate([np.empty(0, dtype=np.int64), *features]), hold_out)

    def rows_of(*columns: str, unseen: bool) -> Iterator[pl.DataFrame]:
        for rows in iter_layers(phrases, [layer], ["feature", "segments", "text", *columns]):
            yield rows.filter(np.isin(rows["feature"].to_numpy(), apart) == unseen)

    held_out: set[str] = set()
    for rows in rows_of(unseen=True):
        held_out.update(rows["text"], rows["segments"].explode(empty_as_null=False))
    parts = [pl.DataFrame(schema={"phrase": pl.Int64, "feature": pl.Int64, "activation": pl.Float64})]
    dropped = 0
    for rows in rows_of("phrase", "activation", unseen=False):
        texts = rows.select("text", "segments").iter_rows()
        fresh = rows.filter([held_out.isdisjoint([text, *segments]) for text, segments in texts])
        dropped += len(rows) - len(fresh)
        parts.append(fresh.select(pl.col(name).cast(kind) for name, kind in parts[0].schema.items()))
    return pl.concat(parts), dropped


def _translated(path: str, layer: int, phrases: Int[np.ndarray, " phrases"]) -> Bool[np.ndarray, " phrases"]:
    """Which of `phrases` do not stand in the table as untranslated."""
    absent = [
        rows.filter(pl.col("text").is_null())["phrase"].to_numpy()
        for rows in iter_layers([path], [layer], ["phrase", "text"])
    ]
    return ~np.isin(phrases, np.concatenate([np.empty(0, dtype=np.int64), *absent]))


class _Text(NamedTuple):
    text: str
    ids: list[int] | None


def _texts(paths: Sequence[str], layer: int, wanted: set[int], owner: str) -> dict[int, _Text]:
    where = ", ".join(paths)
    texts: dict[int, _Text] = {}
    for rows in iter_layers(paths, [layer], ["phrase", "text", "ids"]):
        for phrase, *fields in rows.filter(pl.col("phrase").is_in(list(wanted))).iter_rows():
            texts[phrase] = _Text(*fields)
    if lacking := wanted - texts.keys():
        raise IsoglossError(
            f"{where}: {owner} lacks {len(lacking)} phrases, the first is {min(lacking)}; delete the table and run"
            " again"
        )
    if empty := [phrase for phrase, text in texts.items() if not (text.ids or text.text)]:
        raise IsoglossError(
            f"{where}: the text of phrase {min(empty)} in {owner} is empty; delete the table and run again"
        )
    return texts


def recorded_on_phrases(path: str, layer: int, inactive: Inactive) -> dict[int, float]:
    """A^{en,orig} by phrase as the base model has it on the phrase alone.

    With the same stand-in for inactive features as in the loss, so that retention starts at 0.
    """
    recorded: dict[int, float] = {}
    for rows in iter_layers([path], [layer], ["phrase", "activation", "pre_activation"]):
        for phrase, activation, below in rows.iter_rows():
            recorded[phrase] = activation if activation > 0 or inactive != "pre_activation" else below
    return recorded


def tokenized(drawn: Sequence[TrainingPair], lm: str) -> list[Pair]:
    """The drawn pairs as token ids of the model in folder `lm`; exported phrases are not tokenised again."""
    tokenizer = load_tokenizer(lm)
    reference = encode_texts(
        tokenizer,
        [pair.reference for pair in drawn],
        given=[pair.reference_ids for pair in drawn],
        name=lambda row: f"phrase {drawn[row].phrase}",
    )
    translation = encode_texts(tokenizer, [pair.translation for pair in drawn], name=lambda row: drawn[row].name)
    return [
        Pair(ids, translated, pair.feature, pair.recorded)
        for pair, ids, translated in zip(drawn, reference, translation, strict=True)
    ]


def batch_rows(n: int, step: int, batch_size: int, seed: int) -> list[int]:
    """Which of `n` pairs step `step` takes: every pair once an epoch, each epoch in an order of its own.

    A function of its arguments alone, so that a resumed run need not replay the steps before.
    """
    positions = range(step * batch_size, (step + 1) * batch_size)
    order = {
        epoch: np.random.default_rng([seed, 1, epoch]).permutation(n).tolist()
        for epoch in range(positions[0] // n, positions[-1] // n + 1)
    }
    return [order[position // n][position % n] for position in positions]
