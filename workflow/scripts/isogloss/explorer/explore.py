"""Stage `explore`: chosen features in their texts, token by token, for the report's feature explorer."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float

from isogloss.config.explorer import Explorer
from isogloss.config.measures import Compute, Statistics
from isogloss.disparity.parallel import by_language, parallel_layers
from isogloss.errors import IsoglossError
from isogloss.explorer import bilingual
from isogloss.explorer.choice import Candidates, choose
from isogloss.explorer.measured import Peaks, fired_texts, fires_anywhere, histograms, means, read_peaks
from isogloss.explorer.spans import CONTEXT, PHRASE, Span, measured_spans
from isogloss.sae.pool import Kind, Pool, Text
from isogloss.sources.saes.release import neuronpedia_of
from isogloss.stats import group_means, percent_below
from isogloss.tables import write_table
from isogloss.tables.contract import Contract
from isogloss.tables.explorer import EXPLORER, EXPLORER_FEATURES
from isogloss.tables.layers import iter_layers, layers_in

_POLARS: dict[str, Any] = {
    "string": pl.String, "int32": pl.Int32, "double": pl.Float64,
    "list<item: string>": pl.List(pl.String), "list<item: float>": pl.List(pl.Float32),
    "list<item: int32>": pl.List(pl.Int32),
}  # fmt: skip


class _Layer(NamedTuple):
    """What was measured at a layer before: all that features are chosen by."""

    number: int
    langs: list[str]
    phrases: dict[int, list[int]]  # by feature, the strongest first
    activation: dict[int, Float[np.ndarray, "languages phrases"]]  # of those with a translation in every language
    codes: dict[str, str]  # the table of codes that has the layer, by language
    sampled: int  # codes are of every so manieth feature
    candidates: Candidates


def explore(
    *,
    lm: str,
    sae: str,
    activations: Mapping[str, str],
    codes: Mapping[str, str],
    translations: Mapping[str, str],
    pool_tables: Mapping[str, Sequence[str]],
    kind: Kind,
    features: str | None,
    examples: str | None,
    own_saes: bool,
    neuronpedia: str | None,
    explorer: str,
    explorer_features: str,
    reference: str,
    layers: Sequence[int],
    texts: int,
    feature_stride: int,
    minimum_phrases: int,
    settings: Explorer,
    statistics: Statistics,
    compute: Compute,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write the features that the report shows at `layers` (explorer_features) and their texts (explorer).

    `activations`, `codes` and `translations` are tables with the language of each, of the blocks that hold the layers;
    `pool_tables`, `kind`, `texts` and `feature_stride` are those that the codes were taken with. `features` and
    `examples` are paper C's tables, where it ran, `own_saes` if they are of other SAEs than those of the phrases.

    - explorer_features, a row a feature and language: the lists that the feature is in (`explorer.choice`), its class,
      its gap (eq. A3 of one feature: its phrases' mean in the reference, and the mean over all other languages),
      `mean_activation` over its phrases with interval, or, without phrases, over the texts that fire it in some
      language (`measured`); `share` of its firings, `n_fired` of `n_texts` texts (null where the codes have not
      sampled it), and of these the `histogram` of their strongest activation;
    - explorer, a row a text: `kind` phrase, the feature's strongest phrases, or texts where it has none, in every
      language, `origin` the language in which the text was chosen; `kind` context, the strongest texts in each
      language. `tokens` and `activations` are those shown, at most 64, `first` the number before them.

    With own SAEs paper C's features are a `sae` of their own, "bilingual", with its examples as contexts and neither
    phrases nor gap. Raises `IsoglossError` as the readers of these tables do, and as `measured_spans`.
    """
    pool = Pool.sample(pool_tables, kind, reference=reference, most=texts, seed=seed)
    known = bilingual.described(features, layers)
    of_phrases = known.clear() if own_saes else known
    spans: list[Span] = []
    rows: list[dict[str, Any]] = []
    for layer in sorted(layers):
        of_layer = of_phrases.filter(layer=layer)
        state = _layer(layer, activations, codes, reference, minimum_phrases, feature_stride, of_layer)
        chosen = choose(state.candidates, settings.features)
        peaks = read_peaks(state.codes, layer, list(chosen))
        if len(peaks.texts) and peaks.texts.max() >= len(pool.names):
            raise IsoglossError(f"{next(iter(state.codes.values()))}: codes of other texts; delete it and run again")
        page = neuronpedia.format(layer=layer) if neuronpedia else neuronpedia_of(f"{sae}/layer_{layer}")
        spans += _spans(state, peaks, chosen, pool, pool_tables, by_table(translations), reference, settings)
        for column, (feature, lists) in enumerate(chosen.items()):
            shared = {"sae": "phrases", "layer": layer, "feature": feature, "lists": lists}
            shared |= {"neuronpedia": page and f"{page}/{feature}"} | bilingual.measured(of_layer, feature)
            rows += _feature_rows(state, feature, peaks.values[:, :, column], shared, statistics, seed)

    texts_shown, kernels = measured_spans(spans, lm=lm, sae=sae, compute=compute)
    metadata = {**metadata, **kernels}
    if own_saes and examples is not None:
        found = list(bilingual.example_spans(examples, layers))
        texts_shown += found
        rows += bilingual.example_features(known, {(row["layer"], row["feature"]) for row in found})
    write_table(explorer, _frame(texts_shown, EXPLORER), metadata, EXPLORER)
    write_table(explorer_features, _frame(rows, EXPLORER_FEATURES), metadata, EXPLORER_FEATURES)


def by_table(tables: Mapping[str, str]) -> dict[str, list[str]]:
    """Tables by language, from the language of each."""
    return by_language(list(tables), list(tables.values()))


def _layer(
    layer: int,
    activations: Mapping[str, str],
    codes: Mapping[str, str],
    reference: str,
    minimum_phrases: int,
    feature_stride: int,
    described: pl.DataFrame,
) -> _Layer:
    """Read what was measured at a layer; languages are in the order of the activations."""
    paths = by_table(activations)
    langs, own = list(paths), [next(p for p in of if layer in layers_in(p)) for of in paths.values()]
    part = next(parallel_layers([[path] for path in own], langs, ["activation"], minimum_phrases, only=layer))
    features = np.unique(part.features)
    means_ = group_means(part.values[0], part.features)  # [languages, features]
    origin = langs.index(reference)
    others = np.delete(means_, origin, axis=0)
    gap = percent_below(means_[origin], others.mean(axis=0)) if len(others) else np.full(len(features), np.nan)
    of_codes = by_table(codes)
    coded = {lang: next(path for path in of_codes[lang] if layer in layers_in(path)) for lang in langs}
    fired = fired_texts(coded, layer)
    every = np.union1d(features, np.flatnonzero(fired.any(axis=0)))
    gaps, counts = np.full(len(every), np.nan), np.zeros((len(every), len(langs)), dtype=np.int64)
    gaps[np.searchsorted(every, features)] = gap
    within = every < fired.shape[1]
    counts[within] = fired.T[every[within]]
    return _Layer(
        layer,
        langs,
        _ranked(own[origin], layer),
        {int(feature): part.values[0][:, part.features == feature] for feature in features},
        coded,
        feature_stride,
        Candidates(every, gaps, counts, bilingual.excess(described, every)),
    )


def _ranked(path: str, layer: int) -> dict[int, list[int]]:
    """The phrases of each feature, those that the reference fires most strongly first; `path` is of the reference."""
    read = pl.concat(list(iter_layers([path], [layer], ["phrase", "feature", "activation"])))
    ranked = read.sort("feature", "activation", "phrase", descending=[False, True, False], nulls_last=True)
    return {int(key[0]): rows["phrase"].to_list() for key, rows in ranked.group_by("feature")}  # type: ignore[arg-type]


def _spans(
    state: _Layer,
    peaks: Peaks,
    chosen: Mapping[int, Sequence[str]],
    pool: Pool,
    pool_tables: Mapping[str, Sequence[str]],
    translations: Mapping[str, Sequence[str]],
    reference: str,
    settings: Explorer,
) -> Iterator[Span]:
    """The texts to show of a layer's chosen features, language by language."""
    own = {feature: state.phrases.get(feature, [])[: settings.phrases] for feature in chosen}
    wanted = sorted({phrase for phrases in own.values() for phrase in phrases})
    contexts: dict[str, list[tuple[int, int, int]]] = {lang: [] for lang in state.langs}  # feature, item, text
    stand_ins: list[tuple[int, int, int, str]] = []  # of features without phrases: feature, item, text, origin
    for column, feature in enumerate(chosen):
        values = peaks.values[:, :, column]
        for lang, row in zip(state.langs, values, strict=True):
            strongest = np.argsort(-row, kind="stable")[: settings.contexts]
            contexts[lang] += [(feature, item, int(t)) for item, t in enumerate(strongest) if row[t] > 0]
        if not own[feature]:
            order = np.argsort(-values.max(axis=0), kind="stable")[: settings.phrases]
            best = [(int(t), state.langs[int(values[:, t].argmax())]) for t in order if values[:, t].max() > 0]
            stand_ins += [(feature, item, t, lang) for item, (t, lang) in enumerate(best)]
    for lang in state.langs:
        span = partial(Span, state.number, lang=lang)
        phrases = _phrases(translations[lang], state.number, wanted)
        for feature, numbers in own.items():
            for item, phrase in enumerate(numbers):
                text, ids = phrases[phrase]
                yield span(feature, PHRASE, item, origin=reference, name=str(phrase), text=text, ids=ids)
        numbers = sorted({t for _, _, t, _ in stand_ins} | {t for _, _, t in contexts[lang]})
        names = [pool.names[int(peaks.texts[t])] for t in numbers]
        read = dict(zip(numbers, zip(names, pool.read(pool_tables[lang], names), strict=True), strict=True))
        shown = [(PHRASE, *one) for one in stand_ins] + [(CONTEXT, *one, lang) for one in contexts[lang]]
        for kind, feature, item, t, origin in shown:
            name, text = read[t]
            yield span(feature, kind, item, origin=origin, name=str(name), text=text.text, ids=_given(text))


def _given(text: Text) -> tuple[int, ...] | None:
    return None if text.ids is None else tuple(text.ids)


def _phrases(
    paths: Sequence[str], layer: int, wanted: Sequence[int]
) -> dict[int, tuple[str | None, tuple[int, ...] | None]]:
    """Text and ids of some phrases of a layer in a language."""
    rows = [
        part.filter(pl.col("phrase").is_in(list(wanted)))
        for part in iter_layers(paths, [layer], ["phrase", "text", "ids"])
    ]
    return {
        phrase: (text, None if ids is None else tuple(ids)) for part in rows for phrase, text, ids in part.iter_rows()
    }


def _feature_rows(
    state: _Layer,
    feature: int,
    values: np.ndarray,
    shared: Mapping[str, Any],
    statistics: Statistics,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """A chosen feature's rows, one a language; `values` are its peaks [languages, texts]."""
    row = int(np.searchsorted(state.candidates.features, feature))
    gap, share = state.candidates.gap[row], state.candidates.shares[row]
    measured = "phrases" if feature in state.activation else "texts"
    of = state.activation.get(feature, values[:, fires_anywhere(values)].astype(np.float64))
    by_lang = means(
        of, bootstrap=statistics.bootstrap, confidence=statistics.confidence, seed=(seed, state.number, feature)
    )
    counts, largest = histograms(values)
    sampled = feature % state.sampled == 0
    known = dict(shared) | {
        "class": state.candidates.class_of(row, state.langs),
        "largest_share": None if np.isnan(share).any() else float(share.max()),
        "gap_pct": None if np.isnan(gap) else float(gap),
        "measured": measured,
        "n_texts": values.shape[1] if sampled else None,
        "histogram_max": largest if sampled else None,
    }
    for number, lang in enumerate(state.langs):
        yield (
            known
            | by_lang[number]
            | {
                "lang": lang,
                "share": None if np.isnan(share).any() else float(share[number]),
                "n_fired": int(state.candidates.fired[row, number]) if sampled else None,
                "histogram": counts[number] if sampled else None,
            }
        )


def _frame(rows: Sequence[Mapping[str, Any]], contract: Contract) -> pl.DataFrame:
    """Rows as a frame of the contract's columns; what a row lacks is null."""
    schema = {column: _POLARS[str(kind)] for column, kind in contract.items()}
    return pl.DataFrame([{column: row.get(column) for column in contract} for row in rows], schema=schema)
