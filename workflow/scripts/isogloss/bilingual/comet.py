"""Stage `score_comet`: COMET-22 of an injection's translations, in an environment of its own (`envs/comet.yaml`)."""

import pickle
from pathlib import Path
from typing import Any

import polars as pl
import torch
import yaml

from isogloss.errors import IsoglossError, several
from isogloss.tables import read_table, table_metadata, write_table

_INJECTION = ["class", "alpha", "n_features", "lang"]
_TRIPLE = ["text", "hypothesis", "reference"]
_SETTINGS, _WEIGHTS = "hparams.yaml", "checkpoints/model.ckpt"
_AGAIN = "fetch it again from its authors"
# What torch, Lightning, transformers and COMET raise for files that are none of theirs.
_UNFIT = (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError)


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
    wmt22-comet-da as its authors lay it out (hparams.yaml, checkpoints/model.ckpt). That checkpoint is a pickle, the
    one file of isogloss that is no safetensors; no code in it is run. The encoder that it names comes from the Hub or
    its cache. Each distinct triple is scored once. Raises `IsoglossError` for a folder without the whole model, for
    tables without translations, and where COMET is not installed.
    """
    weights = check_comet(model_folder)
    rows = read_table(hypotheses)
    if rows.is_empty():
        raise IsoglossError(f"{hypotheses}: no translations to score; run the rule intervene again")
    scored = rows.join(_scores(rows.select(_TRIPLE).unique(maintain_order=True), model_folder, weights), on=_TRIPLE)
    for source, output, key in (
        (unscored, intervention, [*_INJECTION, "repeat"]),
        (unscored_summary, intervention_summary, _INJECTION),
    ):
        means = scored.group_by(key).agg(pl.col("comet").mean())
        table = read_table(source)
        joined = table.drop("comet").join(means, on=key, how="left", maintain_order="left")
        write_table(output, joined.select(table.columns), table_metadata(source))


def check_comet(folder: str | Path) -> dict[str, torch.Tensor]:
    """The weights of the COMET model in `folder` by their names, mapped from its file.

    Raises `IsoglossError` for settings or weights that are lacking or damaged, or that hold code.
    """
    settings, checkpoint = Path(folder, _SETTINGS), Path(folder, _WEIGHTS)
    for part in (checkpoint, settings):
        if not part.is_file():
            raise IsoglossError(f"{folder}: no {part.name} there, so no COMET model; give the folder of one")
    try:
        named = yaml.safe_load(settings.read_text(encoding="utf-8"))["class_identifier"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError, yaml.YAMLError):
        named = None
    if not isinstance(named, str):
        raise IsoglossError(f"{folder}: {_SETTINGS} does not say which COMET model it is (class_identifier); {_AGAIN}")
    try:
        weights = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)["state_dict"]
        numbers = {name: tensor for name, tensor in weights.items() if tensor.is_floating_point()}
        broken = [name for name, tensor in numbers.items() if not tensor.isfinite().all()]
    except _UNFIT as error:
        raise IsoglossError(
            f"{folder}: {_WEIGHTS} holds no weights, or code beside them ({type(error).__name__}); {_AGAIN}"
        ) from None
    if broken or not numbers:
        what = f"what are no numbers (NaN or infinite) in {several(broken, 3)}" if broken else "no weights"
        raise IsoglossError(f"{folder}: {_WEIGHTS} has {what}; {_AGAIN}")
    return weights


def _load(folder: str | Path, weights: dict[str, torch.Tensor]) -> Any:
    """The model in `folder`, of which every parameter stands in `weights`: COMET draws at random what is lacking."""
    try:
        from comet import load_from_checkpoint  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]
    except ModuleNotFoundError as error:
        raise IsoglossError(
            f"COMET is not in this environment ({error}); run snakemake with --software-deployment-method conda, or set"
            " bilingual.intervention.translations.comet to null"
        ) from None
    try:
        model = load_from_checkpoint(str(Path(folder, _WEIGHTS)))
    except _UNFIT as error:
        reason = (str(error).strip().splitlines() or [""])[0][:160]
        raise IsoglossError(
            f"{folder}: COMET cannot load it ({type(error).__name__}: {reason}); see that the encoder that"
            f" {_SETTINGS} names (pretrained_model) is in the Hub's cache or can be fetched, or fetch the folder again"
        ) from None
    if lacking := [name for name, _ in model.named_parameters() if name not in weights]:
        raise IsoglossError(f"{folder}: {_WEIGHTS} lacks {several(lacking, 3)}; {_AGAIN}")
    return model


def _scores(triples: pl.DataFrame, folder: str, weights: dict[str, torch.Tensor]) -> pl.DataFrame:
    """`triples` with their score times 100. Raises `IsoglossError` as `_load`, and for scores that are no numbers."""
    model = _load(folder, weights)
    samples = [{"src": src, "mt": mt, "ref": ref} for src, mt, ref in triples.iter_rows()]
    scores = pl.Series(model.predict(samples, progress_bar=False).scores, dtype=pl.Float64)
    if not scores.is_finite().all():
        raise IsoglossError(f"{folder}: COMET gives scores that are no numbers; {_AGAIN}")
    return triples.with_columns(comet=100 * scores)
