"""isogloss: where a language model's languages part ways."""

__version__ = "0.1.0"
