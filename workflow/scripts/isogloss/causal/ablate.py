"""Stage `ablate`: do the features that fire for one language carry that language, and only it?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Int
from transformers import PreTrainedTokenizerBase

from isogloss.causal.ablation import ablated_losses
from isogloss.causal.choice import Chosen, choose_features, matched_features, traits_of
from isogloss.causal.effects import Ablation, Losses, ablation_rows, resampled_changes, summary_rows
from isogloss.causal.firings import Firings, count_firings
from isogloss.config.causal import Causal
from isogloss.config.measures import Compute, Statistics
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import encode_texts
from isogloss.models.finite import remedy
from isogloss.models.loading import context_length, load_causal_model, load_tokenizer
from isogloss.models.path import kernels_of
from isogloss.sae.autoencoder import load_encoders
from isogloss.sae.decoder import read_decoder
from isogloss.sae.pool import Pool
from isogloss.tables import write_table
from isogloss.tables.causal import ABLATION, ABLATION_SUMMARY, LANGUAGE_FEATURES


def ablate(
    *,
    lm: str,
    sae: str,
    tables: Mapping[str, str],
    language_features: str,
    ablation: str,
    ablation_summary: str,
    reference: str,
    layer: int,
    settings: Causal,
    statistics: Statistics,
    compute: Compute,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write which features after `layer` are of each language of `tables`, and what their ablation does to each.

    Texts are those of `isogloss.sae.pool` in the `tables` of parallel segments, at most `texts`, split by the seed.
    On one half features are chosen (`choose_features`), on at most `measured` of the other the loss is taken
    (`ablated_losses`): as it is, with the features of a language off, and with `repeats` draws of as many random ones
    that fire as often (`frequency`: on all text, mean over languages, or on the language's), none of them the
    language's by any method.

    `language_features` has a row for each feature chosen, or one with the reason where there is none; `ablation` and
    `ablation_summary` are those of `effects`. The metadata count the texts of both halves (`n_choosing`, `n_texts`)
    and those left out (`n_lacking` by language, `n_alike`).

    Raises `IsoglossError` for a missing or unfitting SAE (`sae`/layer_{l}), fewer than two texts that every language
    has, a text that is longer than the model reads, and a value that is not finite, naming layer and language.
    """
    languages = list(tables)
    pool = Pool.sample(
        {lang: [path] for lang, path in tables.items()}, "segments", reference=reference, most=settings.texts, seed=seed
    )
    if len(pool.names) < 2:
        raise IsoglossError(f"{tables[reference]}: a single text that every language has; ablation needs two or more")
    order = np.random.default_rng([seed, len(pool.names)]).permutation(len(pool.names))
    half = len(order) // 2
    model = load_causal_model(lm, dtype=getattr(torch, compute.dtype), kernels=compute.kernels)
    metadata = {**metadata, **kernels_of(model)}
    tokenizer, context = load_tokenizer(lm), context_length(model)
    folder = Path(sae) / f"layer_{layer}"
    device = next(model.parameters()).device
    encoder = load_encoders({layer: folder}, d_model=decoder_of(model).d_model, device=device)[layer]

    def read(part: Int[np.ndarray, " texts"]) -> dict[str, list[list[int]]]:
        names = [pool.names[number] for number in np.sort(part)]
        return {lang: _tokens(tokenizer, pool, path, names, lang, context) for lang, path in tables.items()}

    firings = count_firings(model, layer, encoder, read(order[:half]), token_budget=compute.token_budget)
    chosen = list(choose_features(firings, languages, settings))
    ablations = list(_ablations(chosen, firings, languages, settings, seed))
    measured = read(order[half:][: settings.measured])
    sets = [torch.from_numpy(one.features.astype(np.int64)) for one in ablations]
    parts = [
        ablated_losses(
            model,
            layer,
            encoder,
            read_decoder(folder)[0],
            texts,
            sets=sets,
            token_budget=compute.token_budget,
            name=lang,
        )
        for lang, texts in measured.items()
    ]
    tokens = np.array([[len(text) - 1 for text in texts] for texts in measured.values()])
    losses = Losses(
        tokens * np.stack([part.plain.numpy() for part in parts]),
        tokens * np.stack([part.losses.numpy() for part in parts], axis=1),
        tokens * np.stack([part.removed.numpy() for part in parts], axis=1),
        tokens,
    )
    _check(losses, languages, layer, remedy(model, read="the SAE"))
    changes = resampled_changes(losses, replicates=statistics.bootstrap, seed=[seed, layer])
    notes = {
        **metadata,
        "n_choosing": half,
        "n_texts": tokens.shape[1],
        "n_lacking": pool.lacking,
        "n_alike": pool.alike,
        "tokens_choosing": dict(zip(languages, firings.tokens.tolist(), strict=True)),
    }
    common: dict[str, Any] = {"layer": layer, "confidence": statistics.confidence}
    write_table(language_features, _features(chosen, firings, languages, layer), notes, LANGUAGE_FEATURES)
    write_table(ablation, ablation_rows(ablations, languages, losses, changes, **common), notes, ABLATION)
    summary = summary_rows(ablations, languages, changes, n_texts=tokens.shape[1], **common)
    write_table(ablation_summary, summary, notes, ABLATION_SUMMARY)


def _tokens(
    tokenizer: PreTrainedTokenizerBase, pool: Pool, path: str, names: Sequence[Any], lang: str, context: int
) -> list[list[int]]:
    """The token ids, BOS first, of the texts of a language."""
    texts = [text.text for text in pool.read([path], names)]
    ids = encode_texts(tokenizer, texts, name=lambda row: f"{path}: {lang}, {names[row]!r}")
    for name, tokens in zip(names, ids, strict=True):
        if len(tokens) > context:
            raise IsoglossError(
                f"{path}: {lang}, {name!r} has {len(tokens)} tokens, but the model reads {context}; shorten it, or"
                " leave it out"
            )
    return ids


def _ablations(
    chosen: Sequence[Chosen], firings: Firings, languages: Sequence[str], settings: Causal, seed: int
) -> list[Ablation]:
    """The sets of features that are ablated: those chosen, each followed by its draws of random ones."""
    ablations: list[Ablation] = []
    for one in chosen:
        ablations.append(Ablation(one.lang, one.method, None, one.features, one.reason))
        own = np.concatenate([other.features for other in chosen if other.lang == one.lang])
        rates = firings.rates[:, languages.index(one.lang)]
        if settings.frequency == "all":
            rates = firings.rates.mean(axis=1)
        for draw in range(settings.repeats if len(one.features) else 0):
            key = [seed, draw, *f"{one.lang}/{one.method}".encode()]
            random = matched_features(rates, one.features, own, key)
            reason = None if len(random) else "no other feature fires"
            ablations.append(Ablation(one.lang, one.method, draw, random, reason))
    return ablations


def _check(losses: Losses, languages: Sequence[str], layer: int, mend: str) -> None:
    for number, lang in enumerate(languages):
        if not np.isfinite([losses.plain[number].sum(), losses.ablated[:, number].sum()]).all():
            raise IsoglossError(f"layer {layer}, language {lang}: a loss is not finite; {mend}")


def _features(chosen: Sequence[Chosen], firings: Firings, languages: Sequence[str], layer: int) -> pl.DataFrame:
    """The table `language_features`."""
    traits, everywhere = traits_of(firings), firings.rates.mean(axis=1)
    rows: list[dict[str, Any]] = []
    for one in chosen:
        at, row = languages.index(one.lang), dict.fromkeys(LANGUAGE_FEATURES)
        row |= {"layer": layer, "lang": one.lang, "method": one.method, "reason": one.reason}
        if not len(one.features):
            rows.append(row)
        for rank, feature in enumerate(one.features.tolist()):
            rows.append(
                row
                | {
                    "rank": rank,
                    "feature": feature,
                    "share": float(traits.share[feature, at]),
                    "entropy": float(traits.entropy[feature]),
                    "monolinguality": float(traits.monolinguality[feature, at]),
                    "rate": float(traits.rate[feature, at]),
                    "rate_all": float(everywhere[feature]),
                    "n_firings": int(firings.fired[feature, at]),
                    "n_firings_all": int(firings.fired[feature].sum()),
                }
            )
    return pl.DataFrame(rows, schema={**dict.fromkeys(LANGUAGE_FEATURES, pl.Float64), **_WHOLE})


_TEXT = dict.fromkeys(("lang", "method", "reason"), pl.String)
_WHOLE = {**dict.fromkeys(("layer", "rank", "feature", "n_firings", "n_firings_all"), pl.Int64), **_TEXT}
