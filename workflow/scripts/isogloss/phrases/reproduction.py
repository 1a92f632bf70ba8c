"""Stage `reproduce`: do this model and these SAEs give the activations that the exports recorded?"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from isogloss.config.measures import Check, Compute
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import Batch, each_batch
from isogloss.models.finite import remedy
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import context_length, load_base_model, load_tokenizer
from isogloss.models.path import kernels_of, reads_padding
from isogloss.sae.autoencoder import Encoder, activations, load_encoders, sae_width
from isogloss.tables import TableWriter, read_table

logger = logging.getLogger(__name__)

REPRODUCTION = pa.schema(
    {
        "layer": pa.int32(),
        "feature": pa.int32(),
        "n_tokens": pa.int32(),  # compared: BOS left out
        "recorded_max": pa.float32(),
        "measured_max": pa.float32(),
        "same_peak": pa.bool_(),
        "correlation": pa.float64(),
        "scale": pa.float64(),
    }
)

_SCALES = (0.8, 1.25)


class Agreement(NamedTuple):
    """A record's recorded and measured activations over its tokens."""

    n_tokens: int
    recorded_max: float
    measured_max: float
    same_peak: bool  # the measured peak is at a recorded peak; False where the feature does not fire
    correlation: float | None  # None where the recorded values are all equal, 0 where only the measured ones are
    scale: float  # measured / recorded maximum


def reproduce(
    *,
    lm: str,
    sae: str,
    records: Sequence[str],
    output: str,
    layers: Sequence[int],
    check: Check,
    compute: Compute,
    metadata: Mapping[str, Any],
) -> None:
    """Measure the recorded texts of `records` again at their layers, of `layers`, and compare token by token.

    A record is run whole, with BOS in front whether or not it has it; positions of BOS are not compared. Writes a row
    a record; without records an empty table. Raises `IsoglossError` with the numbers if at a layer fewer than the
    share `same_peak` of the records have their peak at the recorded token, or their median correlation over tokens is
    below `correlation`; the rows are then beside `output`, in *.failed.parquet. A median scale far from 1, as exports
    made without BOS have it, is a warning in the log.
    """
    wanted = pl.concat([read_table(path) for path in records]).filter(pl.col("layer").is_in(list(layers)))
    agreements, kernels = _measure(lm, sae, wanted, compute) if len(wanted) else ([], {})
    table = wanted.select("layer", "feature").hstack(
        pl.DataFrame(agreements, schema=list(Agreement._fields), orient="row")
    )
    failures = [
        failure
        for (layer,), rows in table.group_by("layer", maintain_order=True)
        if (failure := _judge(int(layer), rows, check.correlation, check.same_peak))  # type: ignore[call-overload]
    ]
    failed = Path(output).with_suffix(".failed.parquet")
    failed.unlink(missing_ok=True)
    with TableWriter(failed if failures else output, REPRODUCTION, {**metadata, **kernels}) as writer:
        writer.write(table)
    if failures:
        raise IsoglossError(
            f"{failures[0]}. {f'So are {len(failures) - 1} more layers. ' if failures[1:] else ''}Check the model's"
            f" revision, the layer's SAE (saes.ids), that BOS is the tokenizer's, and neuronpedia.source; all rows are"
            f" in {failed}"
        )


@torch.no_grad()
def _measure(lm: str, sae: str, records: pl.DataFrame, compute: Compute) -> tuple[list[Agreement], dict[str, Any]]:
    """Of each record, in their order; and the path that the model's forward took (`kernels_of`)."""
    layers, features = records["layer"].to_list(), records["feature"].to_list()
    model = load_base_model(lm, last_layer=max(layers), dtype=getattr(torch, compute.dtype), kernels=compute.kernels)
    folders = {layer: Path(sae) / f"layer_{layer}" for layer in sorted(set(layers))}
    wanted: dict[int, list[int]] = {layer: [] for layer in folders}
    for layer, feature in zip(layers, features, strict=True):
        if feature >= (width := sae_width(folders[layer])):
            raise IsoglossError(
                f"{sae}/layer_{layer}: no feature {feature}, the SAE has {width}; the exports are of another SAE"
            )
        wanted[layer].append(feature)
    encoders = load_encoders(
        folders,
        d_model=decoder_of(model).d_model,
        device=next(model.parameters()).device,
        features={layer: torch.tensor(own) for layer, own in wanted.items()},
    )
    bos = load_tokenizer(lm).bos_token_id
    bare = [ids[1:] if ids[0] == bos else ids for ids in records["ids"].to_list()]
    ids = [[bos, *own] for own in bare]
    longest = max(map(len, ids))
    if longest > context_length(model):
        raise IsoglossError(
            f"{lm}: a recorded text has {longest} tokens with BOS, the model reads {context_length(model)}; the exports"
            " are of another model"
        )
    measured: list[np.ndarray] = [np.empty(0)] * len(ids)

    def work(batch: Batch) -> None:
        def visit(layer: int, residual: Tensor) -> None:
            for position, row in enumerate(batch.rows):
                if layers[row] == layer:
                    own = residual[position, 1 : len(ids[row])]
                    measured[row] = feature_activation(encoders[layer], own, features[row]).cpu().numpy()

        visit_residuals(model, batch, sorted({layers[row] for row in batch.rows}), visit)

    each_batch(ids, work, token_budget=compute.token_budget, depth=layers, padded=reads_padding(model))
    agreements = []
    for row, (own, values) in enumerate(zip(bare, records["values"].to_list(), strict=True)):
        if not np.isfinite(measured[row]).all():
            raise IsoglossError(
                f"layer {layers[row]}, feature {features[row]}: the activation is not finite;"
                f" {remedy(model, read='the SAE')}"
            )
        compared = np.array(own) != bos  # documents packed into one text have BOS between them
        agreements.append(agreement(np.array(values[-len(own) :])[compared], measured[row][compared]))
    return agreements, kernels_of(model)


def feature_activation(encoder: Encoder, residual: Float[Tensor, "pos d_model"], feature: int) -> Float[Tensor, " pos"]:
    """The activation of one feature at each token; NaN where the residual has one."""
    chosen = torch.tensor([feature], device=residual.device)
    fired = activations(encoder, residual, chosen)[:, 0]
    return torch.where(residual.isnan().any(dim=-1), torch.nan, fired)


def agreement(recorded: np.ndarray, measured: np.ndarray) -> Agreement:
    """Compare a feature's activations over the same tokens; of recorded peaks that are equal each is one."""
    highest, reached = float(recorded.max()), float(measured.max())
    correlation = None
    if np.ptp(recorded) > 0:
        correlation = float(np.corrcoef(recorded, measured)[0, 1]) if np.ptp(measured) > 0 else 0.0
    return Agreement(
        n_tokens=len(recorded),
        recorded_max=highest,
        measured_max=reached,
        same_peak=reached > 0 and bool(recorded[measured.argmax()] == highest),
        correlation=correlation,
        scale=reached / highest,
    )


def _judge(layer: int, rows: pl.DataFrame, correlation: float, same_peak: float) -> str:
    """What is wrong with a layer's agreement, empty if nothing is; the numbers go to the log."""
    share = float(rows["same_peak"].mean())  # type: ignore[arg-type]
    median, scale = rows["correlation"].cast(pl.Float64).median(), rows["scale"].median()
    assert isinstance(scale, float)
    numbers = (
        f"layer {layer}: {100 * share:.0f} % of {len(rows)} recorded texts have their peak at the recorded token,"
        f" median correlation {'-' if median is None else f'{median:.3f}'}, median scale {scale:.2f}"
    )
    logger.info("%s", numbers)
    if share < same_peak or (median is not None and float(median) < correlation):  # type: ignore[arg-type]
        worst = rows.sort("same_peak", "correlation", nulls_last=True).row(0, named=True)
        reached = "-" if worst["correlation"] is None else f"{worst['correlation']:.3f}"
        return (
            f"{numbers}; needed are {100 * same_peak:.0f} % and {correlation} (phrases.check); worst is feature"
            f" {worst['feature']}: correlation {reached}, maximum {worst['measured_max']:.3f}, recorded"
            f" {worst['recorded_max']:.3f}"
        )
    if not _SCALES[0] <= scale <= _SCALES[1]:
        logger.warning(
            "layer %d: measured maxima are %.2f times the recorded ones; without BOS exports have 30 to 45 %% less",
            layer,
            scale,
        )
    return ""
