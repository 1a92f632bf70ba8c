"""The study whose findings are read, and tables of verdicts."""

import polars as pl

from isogloss.report.shared.context import Context
from synthetic import settings

CONFIG = settings()
CONTEXT = Context("skewed", CONFIG)


def judged(**more: dict) -> pl.DataFrame:
    """A table planted_truth: by measure what differs from one that passes."""
    passing = {"layer": None, "expected": 1, "slope": 0.2, "ci_low": 0.1, "ci_high": 0.3, "null_slope": 0.01}
    passing |= {"null_ci_low": -0.1, "null_ci_high": 0.1, "rho": 0.8, "n": 27, "n_languages": 9, "n_seeds": 3}
    passing |= {"n_undefined": 0, "verdict": "passes", "reason": None}
    rows = [{"measure": name.replace("__", ".")} | passing | row for name, row in more.items()]
    return pl.DataFrame(rows, schema_overrides={"layer": pl.Int32, "reason": pl.String}, infer_schema_length=None)
