"""Stage `comet`: COMET-22 of the intervention's translations, in an environment of its own (`envs/comet.yaml`)."""

from pathlib import Path

import polars as pl

from isogloss.errors import IsoglossError
from isogloss.tables import read_table, write_table

_KEY = ["class", "alpha", "n_features", "repeat", "lang"]
_TRIPLE = ["text", "hypothesis", "reference"]


def score_comet(*, hypotheses: str, model_folder: str, output: str) -> None:
    """Write the mean COMET score, times 100, of each injection and target language (paper C, Table 1).

    `hypotheses` is the table that `intervene` writes, `model_folder` a download of wmt22-comet-da as its
    authors lay it out (hparams.yaml, checkpoints/model.ckpt). That checkpoint is a pickle, the one file of
    isogloss that is no safetensors: take it from its authors; the tokenizer that it names comes from the Hub or
    its cache. Each distinct triple is scored once. Raises
    `IsoglossError` for a folder without the model.
    """
    from comet import load_from_checkpoint  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    checkpoint = Path(model_folder) / "checkpoints" / "model.ckpt"
    for part in (checkpoint, Path(model_folder) / "hparams.yaml"):
        if not part.is_file():
            raise IsoglossError(f"{model_folder}: no {part.name} there, so no COMET model; give the folder of one")
    rows = read_table(hypotheses)
    triples = rows.select(_TRIPLE).unique(maintain_order=True)
    samples = [{"src": src, "mt": mt, "ref": ref} for src, mt, ref in triples.iter_rows()]
    scores = load_from_checkpoint(str(checkpoint)).predict(samples, progress_bar=False).scores
    scored = rows.join(triples.with_columns(comet=100 * pl.Series(scores, dtype=pl.Float64)), on=_TRIPLE)
    means = scored.group_by(_KEY, maintain_order=True).agg(pl.col("comet").mean(), n=pl.len().cast(pl.Int32))
    write_table(output, means)
