"""The mean residual of each language, and the phrases that all languages have."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from isogloss.errors import IsoglossError
from isogloss.residuals.parallel import parallel_rows


class LanguageMeans(NamedTuple):
    """What a first reading of the residuals gives: each language's mean at each layer, and which phrases are used."""

    of_layer: dict[int, Float[np.ndarray, "langs d_model"]]
    n_used: Counter[int]  # phrases used, by layer
    left_out: Counter[int]  # phrases left out, by layer
    phrases: Int[np.ndarray, " phrases"]  # those used, ascending

    @classmethod
    def of(cls, paths: Mapping[str, str]) -> "LanguageMeans":
        """From the tables of residuals, by language, which are read once; memory holds the sums and phrases.

        Raises `IsoglossError` as `parallel_rows`, or if no phrase of a layer is in all of the languages.
        """
        sums: dict[int, Float[np.ndarray, "langs d_model"]] = {}
        count, left_out = Counter[int](), Counter[int]()
        used: list[Int[np.ndarray, " phrases"]] = []  # of each chunk
        absent = np.zeros(len(paths), dtype=np.int64)
        for rows in parallel_rows(paths):
            for layer in np.unique(rows.layers).tolist():
                here = rows.layers == layer
                sums[layer] = sums.get(layer, 0) + rows.vectors[:, here].sum(axis=1, dtype=np.float64)
                count[layer] += int(here.sum())
            left_out.update(rows.layers_left_out.tolist())
            absent += rows.absent
            used.append(np.unique(rows.phrases))
        for layer in left_out:
            if layer not in sums:
                worst = list(paths)[int(absent.argmax())]
                raise IsoglossError(
                    f"layer {layer}: no phrase has a translation in every language compared; {worst} lacks the most"
                    f" ({paths[worst]}); mend its translation, lower translation.minimum_chrf or leave it out"
                )
        means = {layer: total / count[layer] for layer, total in sums.items()}
        return cls(means, count, left_out, np.unique(np.concatenate(used)))
