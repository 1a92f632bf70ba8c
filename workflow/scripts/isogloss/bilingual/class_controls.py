"""What the classes of features are worth: shares by minimum count and by all firings, metrics beyond their null."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from isogloss.bilingual.classes import ALL, MIXED, SILENT
from isogloss.config.measures import Statistics
from isogloss.stats import hierarchical_bootstrap, percentile_interval, proportion_interval

OF_SEVERAL = {  # column of `selectivity` by that of `features`: means over features of two tokens or more
    "monosemanticity": "monosemanticity_several",
    "monosemanticity_null": "monosemanticity_null",
    "monosemanticity_excess": "monosemanticity_excess",
    "semantic_entropy_excess": "semantic_entropy_excess",
    "monosemanticity_calibrated": "monosemanticity_calibrated",
    "monosemanticity_calibrated_null": "monosemanticity_calibrated_null",
    "monosemanticity_calibrated_excess": "monosemanticity_calibrated_excess",
    "semantic_entropy_calibrated_excess": "semantic_entropy_calibrated_excess",
}
SHARES = ("share_counted", "share_firings", "agreement")


class Controls:
    """The features of one step and layer, the silent ones left out."""

    def __init__(
        self,
        features: pl.DataFrame,
        languages: Sequence[str],
        minimum: int,
        statistics: Statistics,
        seed: tuple[int, int, int],
    ) -> None:
        self.active = features.filter(pl.col("class") != SILENT).sort("feature")
        self.classes = [*languages, MIXED, ALL]
        self.minimum, self.statistics, self.seed = minimum, statistics, seed

    def of_class(self, name: str) -> dict[str, Any]:
        """Columns of the table `selectivity` of a class; none of "silent"."""
        if name not in self.classes:
            return {}
        members = self._members(self.active, name)
        by_firings = self._members(self.active, name, "class_firings")
        counted = self._counted(self.minimum)
        several = members.filter(pl.col("n_tokens_distinct") > 1)
        return {
            **self._share("share_counted", len(self._members(counted, name)), len(counted)),
            **self._share("share_firings", len(by_firings), len(self.active)),
            **self._share("agreement", self._agreeing(members), len(members)),
            **self._means(several, self.classes.index(name)),
            "n_features_several": len(several),
            "n_features_counted": len(self._members(counted, name)),
        }

    def by_minimum(self, least: int) -> Iterator[dict[str, Any]]:
        """A row for each class: its share of the features with at least so many counted activations."""
        counted = self._counted(least)
        for name in self.classes:
            members = len(self._members(counted, name))
            yield {
                "class": name,
                "minimum": least,
                **self._share("share", members, len(counted)),
                "n_features": members,
                "n_features_counted": len(counted),
            }

    def _counted(self, least: int) -> pl.DataFrame:
        return self.active.filter(pl.col("n_activations") >= least)

    def _members(self, features: pl.DataFrame, name: str, column: str = "class") -> pl.DataFrame:
        return features if name == ALL else features.filter(pl.col(column) == name)

    def _agreeing(self, members: pl.DataFrame) -> int:
        return int((members["class"] == members["class_firings"]).sum())

    def _share(self, column: str, part: int, whole: int) -> dict[str, float | None]:
        interval = proportion_interval(part, whole, self.statistics.confidence)
        return {column: part / whole if whole else None, f"{column}_low": interval.low, f"{column}_high": interval.high}

    def _means(self, several: pl.DataFrame, number: int) -> dict[str, float | None]:
        """Means of the concept metrics, their nulls and excesses; no interval of a single feature."""
        if several.is_empty():
            return {}
        values = several.select(*OF_SEVERAL).to_numpy().astype(np.float64).T
        replicates = hierarchical_bootstrap(
            values,
            np.arange(values.shape[1]),
            replicates=self.statistics.bootstrap if values.shape[1] > 1 else 0,
            seed=(*self.seed, 100 + number),
            equal="values",
        )
        row: dict[str, float | None] = {}
        for series, column in enumerate(OF_SEVERAL.values()):
            row[column] = float(values[series].mean())
            row[f"{column}_low"], row[f"{column}_high"] = percentile_interval(
                replicates[:, series], self.statistics.confidence
            )
        return row
