"""Which features are of one language, by three definitions, and random ones that fire as often."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from isogloss.causal.firings import Firings
from isogloss.config.causal import Causal

_NEAREST = 10  # a random feature is drawn from so many that fire most nearly as often


class Traits(NamedTuple):
    """What the firings tell of each feature; NaN where it is silent in all languages."""

    rate: Float[np.ndarray, "features languages"]
    share: Float[np.ndarray, "features languages"]
    entropy: Float[np.ndarray, " features"]
    monolinguality: Float[np.ndarray, "features languages"]


class Chosen(NamedTuple):
    """The features of a language by a method, and why there are none."""

    lang: str
    method: str
    features: Int[np.ndarray, " features"]  # in the method's order
    reason: str | None = None


def traits_of(firings: Firings) -> Traits:
    """Each feature's rate, share, entropy and monolinguality.

    `share` is the share that a language has in all firings, had every language as many tokens: its rate over the sum of
    rates. `entropy` is that of the shares over languages, in nats, from 0 to the log of their number (LAPE: Tang et al.
    2024, arXiv 2402.16438, eq. 3, of neurons; SAE-LAPE: arXiv 2507.11230, of features). `monolinguality` is the mean
    activation on a language's tokens less the mean of those means over the other languages (ν of arXiv 2505.05111,
    ACL 2025, sec. 3.1), in units of the activation; all tokens count, those on which the feature is off with 0.
    """
    rate = firings.rates
    with np.errstate(invalid="ignore"):
        share = rate / rate.sum(axis=1, keepdims=True)
    logs = np.log(share, where=share > 0, out=np.zeros_like(share))
    mean = firings.total / firings.tokens
    others = (mean.sum(axis=1, keepdims=True) - mean) / (mean.shape[1] - 1)
    silent = rate.sum(axis=1) == 0
    entropy = np.where(silent, np.nan, np.abs(np.nansum(-share * logs, axis=1)))
    return Traits(rate, share, entropy, np.where(silent[:, None], np.nan, mean - others))


def choose_features(firings: Firings, languages: Sequence[str], settings: Causal) -> Iterator[Chosen]:
    """The features of each language by each of the methods: at most `n_features`, of those with `minimum_firings`.

    - `share`: all whose share is above `share`, those first that fire on most of the language's tokens. It is the
      reading of "a feature of a language" that an ablation acts on, which takes away all firings, not the peaks.
    - `entropy`: those that fire on more than `entropy_rate` of some language's tokens, and in one language only at
      least `entropy_part` as often as where they do most, by ascending entropy. So does the published code of SAE-LAPE
      (thresholds .1 and .8), which ranks the features of all layers together and asks besides that a feature fire in
      98 % of a language's examples; here it is one layer, and how long an example is means nothing.
    - `monolinguality`: those with the highest that is above 0. The paper leaves open from where on a feature is a
      language's.

    The methods' numbers of features are the same so that doses compare; where there are fewer, all are taken.
    """
    traits = traits_of(firings)
    counted = firings.fired.sum(axis=1) >= settings.minimum_firings
    most = traits.rate.max(axis=1, keepdims=True)
    alone = (traits.rate >= settings.entropy_part * most).sum(axis=1) == 1
    frequent = counted & alone & (most[:, 0] > settings.entropy_rate)
    for number, lang in enumerate(languages):
        rate, share = traits.rate[:, number], traits.share[:, number]
        own = {
            "share": (counted & (share > settings.share), -rate),
            "entropy": (frequent & (rate == most[:, 0]), traits.entropy),
            "monolinguality": (counted & (traits.monolinguality[:, number] > 0), -traits.monolinguality[:, number]),
        }
        largest = 100 * share[counted].max(initial=0)
        reasons = {
            "share": f"no feature has more than {100 * settings.share:g} % of its firings in {lang}; the largest share"
            f" is {largest:.0f} %",
            "entropy": f"no feature that fires on more than {100 * settings.entropy_rate:g} % of the tokens does so in"
            f" {lang} alone",
            "monolinguality": f"no feature fires more strongly in {lang} than in the others",
        }
        for method in settings.methods:
            features = _first(*own[method], settings.n_features)
            yield Chosen(lang, method, features, None if len(features) else reasons[method])


def _first(
    eligible: Bool[np.ndarray, " features"], key: Float[np.ndarray, " features"], most: int
) -> Int[np.ndarray, " chosen"]:
    """The eligible features by ascending key, the lower number first where keys are equal."""
    features = np.flatnonzero(eligible)
    return features[np.argsort(key[features], kind="stable")][:most]


def matched_features(
    rates: Float[np.ndarray, " features"],
    chosen: Int[np.ndarray, " chosen"],
    excluded: Int[np.ndarray, " excluded"],
    seed: Sequence[int],
) -> Int[np.ndarray, " drawn"]:
    """Random features that fire as often as `chosen` do on all text, one for each, none of them `excluded` nor chosen.

    Each is drawn evenly from the ten whose rate is nearest, of those that fire and are not drawn yet. Fewer come back
    where features run out.
    """
    generator = np.random.default_rng(list(seed))
    left = np.setdiff1d(np.flatnonzero(rates > 0), np.concatenate([chosen, excluded]))
    drawn: list[int] = []
    for feature in chosen[: len(left)]:
        near = np.argsort(np.abs(rates[left] - rates[feature]), kind="stable")[:_NEAREST]
        position = near[generator.integers(len(near))]
        drawn.append(int(left[position]))
        left = np.delete(left, position)
    return np.array(drawn, dtype=np.int64)
