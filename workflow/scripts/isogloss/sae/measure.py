"""Stage `measure_saes`: how well SAEs that were trained elsewhere do on the study's own text."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from isogloss.config.measures import Compute
from isogloss.models.loading import load_base_model
from isogloss.models.path import kernels_of
from isogloss.sae.kinds.encoder import unit_norm
from isogloss.sae.quality import DenseQualityMeter
from isogloss.sae.trainer import residual_chunks
from isogloss.text.tokens import check_documents, read_documents

logger = logging.getLogger(__name__)

_LARGEST = 2**26  # numbers of a full-width encoding held at once
_MOST = 100_000  # tokens, enough for these means


def measure_saes(
    *,
    lm: str,
    evaluation: str,
    sae: str,
    quality: str,
    step: int,
    layers: Sequence[int],
    compute: Compute,
    metadata: Mapping[str, Any],
) -> None:
    """Write the table `quality` of `sae`/layer_{l}, on the first tokens of the table `evaluation`, BOS left out.

    Its columns are those of SAEs that are trained here (`train_checkpoint_saes`); `k` and `learning_rate` are null. The
    fraction of variance unexplained and the loss are on residuals as the SAE sees them: in the model's own units
    unless the SAE was trained on vectors of unit norm. SAELens encodes and decodes.

    Raises `IsoglossError` for documents of another tokenizer or longer than the context.
    """
    import polars as pl
    from sae_lens import SAE  # 5 s to import

    from isogloss.tables import write_table

    layers = sorted(layers)
    model = load_base_model(lm, last_layer=layers[-1], dtype=getattr(torch, compute.dtype), kernels=compute.kernels)
    metadata = {**metadata, **kernels_of(model)}
    check_documents(evaluation, lm, model)
    device = str(next(model.parameters()).device)
    saes = [SAE.load_from_disk(Path(sae, f"layer_{layer}"), device=device, dtype="float32") for layer in layers]
    meters = [DenseQualityMeter(one) for one in saes]
    group = max(64, _LARGEST // max(one.cfg.d_sae for one in saes))
    documents = read_documents(evaluation)
    for chunk in residual_chunks(model, documents, layers, _MOST, group=group, token_budget=compute.token_budget):
        for meter, one, vectors in zip(meters, saes, chunk.vectors, strict=True):
            if one.cfg.metadata.centred_input:  # what such an SAE reconstructs
                vectors = vectors.float() - vectors.float().mean(dim=-1, keepdim=True)
            meter.add(unit_norm(vectors) if one.cfg.metadata.unit_norm_input else vectors.float())
    figures = [meter.result() for meter in meters]
    for layer, figure in zip(layers, figures, strict=True):
        logger.info("step %d, layer %d: %s", step, layer, figure)
    frame = pl.DataFrame(
        {
            "step": [step] * len(layers),
            "layer": layers,
            "fvu": [figure.fvu for figure in figures],
            "l0": [figure.l0 for figure in figures],
            "dead_features": [figure.dead_features for figure in figures],
            "features": [one.cfg.d_sae for one in saes],
            "k": None,
            "n_tokens": [figure.n_tokens for figure in figures],
            "learning_rate": None,
            "loss": [figure.loss for figure in figures],
            "kind": [one.cfg.architecture() for one in saes],
        },
        schema_overrides={"layer": pl.Int32, "k": pl.Int64, "learning_rate": pl.Float64},
    )
    write_table(quality, frame, metadata)
