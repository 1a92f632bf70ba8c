"""What consistency and transfer two languages would have if what they get right had nothing to do with one another."""

import numpy as np
from jaxtyping import Int

from isogloss.latent.ranks import Measures, Ranked


def by_chance(ranked: Ranked, answer: Int[np.ndarray, " questions"]) -> Measures:
    """Eq. 1 to 3 of paper B expected by chance, for every ordered pair of series (as Measures, series by series).

    Chance: the second series' questions change places at random among those with the same right choice. That keeps how
    often each series is right, the letters that it likes and how its wrong answers spread over them, and takes away
    which questions they are; the paper gives no chance level. The mean over all such orders, exactly: of rank products
    from the mean ranks, of transfers from the numbers of questions, each by right choice. NaN where undefined.
    """
    ranks, predicted, right = ranked
    series, questions, choices = ranks.shape
    products, both_right, same_wrong = (np.zeros((series, series)) for _ in range(3))
    for choice in np.unique(answer):
        rows = answer == choice
        n = rows.sum()
        total = ranks[:, rows].sum(axis=1, dtype=np.float64)
        chosen = np.stack([(predicted[:, rows] == one).sum(axis=1) for one in range(choices)]).astype(np.float64)
        pairs = np.einsum("ks,kt->kst", chosen, chosen) / n
        products += total @ total.T / n
        both_right += pairs[choice]
        same_wrong += pairs.sum(axis=0) - pairs[choice]
    norm = np.sqrt((ranks.astype(np.float64) ** 2).sum(axis=(1, 2)))
    correct = right.sum(axis=1)[:, None]
    with np.errstate(invalid="ignore"):  # 0 / 0 is undefined
        return Measures(products / np.outer(norm, norm), both_right / correct, same_wrong / (questions - correct))
