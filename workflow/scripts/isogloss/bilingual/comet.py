"""Stage `score_comet`: COMET-22 of an injection's translations, in an environment of its own (`envs/comet.yaml`)."""

from pathlib import Path

import polars as pl

from isogloss.errors import IsoglossError
from isogloss.tables import read_table, table_metadata, write_table

_INJECTION = ["class", "alpha", "n_features", "lang"]
_TRIPLE = ["text", "hypothesis", "reference"]


def score_comet(
    *,
    hypotheses: str,
    unscored: str,
    unscored_summary: str,
    model_folder: str,
    intervention: str,
    intervention_summary: str,
) -> None:
    """Write the tables of an intervention with their column `comet`: mean score times 100 (paper C, Table 1).

    `hypotheses` and the unscored tables are those that `intervene` writes, `model_folder` a download of
    wmt22-comet-da as its authors lay it out (hparams.yaml, checkpoints/model.ckpt). That checkpoint is a pickle,
    the one file of isogloss that is no safetensors: take it from its authors; the tokenizer that it names comes
    from the Hub or its cache. Each distinct triple is scored once. Raises `IsoglossError` for a folder without the
    model, for tables without translations, and where COMET is not installed.
    """
    checkpoint = Path(model_folder) / "checkpoints" / "model.ckpt"
    for part in (checkpoint, Path(model_folder) / "hparams.yaml"):
        if not part.is_file():
            raise IsoglossError(f"{model_folder}: no {part.name} there, so no COMET model; give the folder of one")
    rows = read_table(hypotheses)
    if rows.is_empty():
        raise IsoglossError(f"{hypotheses}: no translations to score; run the rule intervene again")
    scored = rows.join(_scores(rows.select(_TRIPLE).unique(maintain_order=True), checkpoint), on=_TRIPLE)
    for source, output, key in (
        (unscored, intervention, [*_INJECTION, "repeat"]),
        (unscored_summary, intervention_summary, _INJECTION),
    ):
        means = scored.group_by(key).agg(pl.col("comet").mean())
        table = read_table(source)
        joined = table.drop("comet").join(means, on=key, how="left", maintain_order="left")
        write_table(output, joined.select(table.columns), table_metadata(source))


def _scores(triples: pl.DataFrame, checkpoint: Path) -> pl.DataFrame:
    try:
        from comet import load_from_checkpoint  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]
    except ModuleNotFoundError as error:
        raise IsoglossError(
            f"COMET is not in this environment ({error}); run snakemake with --software-deployment-method conda, or set"
            " bilingual.intervention.translations.comet to null"
        ) from None
    samples = [{"src": src, "mt": mt, "ref": ref} for src, mt, ref in triples.iter_rows()]
    scores = load_from_checkpoint(str(checkpoint)).predict(samples, progress_bar=False).scores
    return triples.with_columns(comet=100 * pl.Series(scores, dtype=pl.Float64))
