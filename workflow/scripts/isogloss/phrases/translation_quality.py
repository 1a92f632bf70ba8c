"""Stage `translation_quality`: how much of the translations is usable, and what comes back of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from isogloss.config.measures import Statistics
from isogloss.errors import IsoglossError
from isogloss.phrases.translation import STATUSES
from isogloss.stats import UNDEFINED, hierarchical_bootstrap, percentile_interval
from isogloss.tables import iter_tables, table_metadata, write_table

_COLUMNS = ["phrase", "layer", "feature", "text", "status", "chrf"]
_SCHEMA = {
    "lang": pl.String,
    "n": pl.Int32,
    **dict.fromkeys(STATUSES, pl.Int32),
    "kept_pct": pl.Float64,
    "chrf": pl.Float64,
    "ci_low": pl.Float64,
    "ci_high": pl.Float64,
    "n_chrf": pl.Int32,
    "characters_ratio": pl.Float64,
}


class _Language(NamedTuple):
    """What is needed of a language's translations, phrases in order."""

    phrase: Int[np.ndarray, " phrases"]
    feature: Int[np.ndarray, " phrases"]  # one number for each feature of each layer
    status: Int[np.ndarray, " phrases"]  # number in STATUSES
    chrf: Float[np.ndarray, " phrases"]  # NaN: not translated back
    characters: Int[np.ndarray, " phrases"]  # 0 without text


def measure_quality(
    *,
    translations: Sequence[str],
    langs: Sequence[str],
    translation_quality: str,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write the table `translation_quality`, one row a language, in the order in which `langs` names them.

    `langs` says of which language each of the tables `translations` is; the tables of a language's
    blocks are taken together. `n` phrases, by status (`isogloss.phrases.translation.STATUSES`); `kept_pct`
    is the share of `ok`. `chrf` is the mean over the `n_chrf` phrases that were translated back, those
    dropped for a low score too, with the percentile interval of `isogloss.stats.hierarchical_bootstrap`,
    which draws features and then phrases (null without a back model). `characters_ratio` is the mean
    number of characters of the usable translations over that of the same phrases in their own
    language (null if its tables are not given).

    A text is read in batches and let go; a few numbers a phrase are held for one language at a time,
    and the originals' lengths. Raises `IsoglossError` where tables of two languages differ in their
    phrases.
    """
    paths: dict[str, list[str]] = {}
    for lang, path in zip(langs, translations, strict=True):
        paths.setdefault(lang, []).append(path)
    source_lang = table_metadata(translations[0]).get("source_lang")
    original = _read(paths[source_lang]) if source_lang in paths else None
    rows = []
    for lang, tables in paths.items():
        language = _read(tables)
        if original is not None and not np.array_equal(language.phrase, original.phrase):
            raise IsoglossError(
                f"{tables[0]}: the phrases are not those of {paths[str(source_lang)][0]}; translate both again"
            )
        measured = _measured(language, original, statistics.confidence, statistics.bootstrap, (seed, *lang.encode()))
        rows.append({"lang": lang, **measured})
    write_table(translation_quality, pl.DataFrame(rows, schema=_SCHEMA), metadata)


def _measured(
    language: _Language, original: _Language | None, confidence: float, bootstrap: int, seed: Sequence[int]
) -> dict[str, Any]:
    counts = dict(zip(STATUSES, np.bincount(language.status, minlength=len(STATUSES)).tolist(), strict=True))
    kept = language.characters > 0
    scored = np.isfinite(language.chrf)
    interval = UNDEFINED
    if scored.any():
        replicates = hierarchical_bootstrap(
            language.chrf[None, scored], language.feature[scored], replicates=bootstrap, seed=seed, equal="values"
        )
        interval = percentile_interval(replicates[:, 0], confidence)
    n = len(language.phrase)
    ratio = None
    if original is not None and kept.any():
        ratio = float(language.characters[kept].sum() / original.characters[kept].sum())
    return {
        "n": n,
        **counts,
        "kept_pct": 100 * counts["ok"] / n if n else None,
        "chrf": float(language.chrf[scored].mean()) if scored.any() else None,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "n_chrf": int(scored.sum()),
        "characters_ratio": ratio,
    }


def _read(paths: Sequence[str]) -> _Language:
    parts = list(_parts(paths))
    return _Language(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _parts(paths: Sequence[str]) -> Iterator[_Language]:
    numbers = {status: number for number, status in enumerate(STATUSES)}
    for rows in iter_tables(paths, columns=_COLUMNS):
        yield _Language(
            rows["phrase"].to_numpy(),
            (rows["layer"].cast(pl.Int64) * 2**32 + rows["feature"]).to_numpy(),
            rows["status"].replace_strict(numbers, return_dtype=pl.Int64).to_numpy(),
            rows["chrf"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
            rows["text"].str.len_chars().fill_null(0).cast(pl.Int64).to_numpy(),
        )
