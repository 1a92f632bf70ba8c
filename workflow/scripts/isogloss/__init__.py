"""isogloss: where a language model's languages part ways."""

import os

__version__ = "0.1.0"

# Many one-thread jobs side by side beat few with many threads; torch gets its threads from the rule.
# Set before NumPy, Polars and tokenizers are imported, which read these once.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
