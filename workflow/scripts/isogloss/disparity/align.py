"""Stage `align`: LoRA trained with the activation-alignment loss (paper A, sec. 2.6 and app. B.1)."""

import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import nn
from tqdm import tqdm

from isogloss.config.measures import Alignment, AlignmentRun, Compute
from isogloss.disparity.alignment import LossSettings, PairLosses, accumulate_gradient, require_finite
from isogloss.disparity.holdout import HoldOut
from isogloss.disparity.training_pairs import batch_rows, draw_pairs, recorded_on_phrases, tokenized
from isogloss.errors import IsoglossError
from isogloss.models.adapter import save_adapter, with_lora
from isogloss.models.loading import load_causal_model
from isogloss.models.path import kernels_of
from isogloss.resume import TrainingState, digest_of
from isogloss.sae.autoencoder import load_encoder
from isogloss.tables import TableWriter

logger = logging.getLogger(__name__)

LOSSES = pa.schema(
    [
        ("step", pa.int32()),
        ("loss", pa.float64()),
        ("alignment_term", pa.float64()),
        ("retention_term", pa.float64()),
        ("inactive_share", pa.float64()),
        ("learning_rate", pa.float64()),
    ]
)


def align(
    *,
    lm: str,
    sae: str,
    phrases: Sequence[str],
    translations: Sequence[str],
    reference_activations: str | None,
    adapter: str,
    losses: str,
    state_folder: str,
    model_name: str,
    settings: Alignment,
    run: AlignmentRun,
    compute: Compute,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Train LoRA matrices that raise the translations' activations at the run's target layer to the reference's.

    Reads the target layer's `sae`, `phrases` (the tables that hold it) and `translations` (one table for
    each of the run's languages), and with `recorded="phrase"` the base model's `reference_activations`. Only
    phrases of the target layer take part whose feature is not held out (`holdout`) and that share no text with one
    whose feature is; how many were dropped for their text is in the metadata of `losses`
    (`n_phrases_dropped`), and how many pairs of the others have no translation (`n_untranslated`). `samples`
    pairs (phrase, language) are drawn without replacement, all if there are fewer, and shuffled anew each
    epoch. The optimiser is Adam, its learning rate falling linearly to zero over `iterations` steps; LoRA
    matrices are float32 whatever `dtype` the base model has, which is cut off after the target layer.

    Writes a standard PEFT folder `adapter` and the table `losses` with a row a step: the means over
    the batch of loss, alignment term and retention term (before lambda), before the step's update, and
    the share of translations whose feature is off. Every `resume_every` steps the training state goes
    to `state_folder`; a run that is killed and started again with the same settings, code, versions and
    inputs ends with the same bits as one that was not. `token_budget` and `resume_every` are about speed
    only: a run goes on where they have changed.

    Raises `IsoglossError` for lacking or empty texts, no phrase to train on, unknown target modules,
    and a loss that is not finite (naming step, layer, language and phrase).
    """
    inactive = run.inactive or settings.inactive
    loss = LossSettings(settings.distance, settings.weight, inactive, settings.detach_reference)
    layer, iterations, rate = run.target_layer, settings.iterations, settings.learning_rate
    recorded = None
    if settings.recorded == "phrase":
        if reference_activations is None:
            raise IsoglossError(
                "alignment.recorded is 'phrase': the base model's activations are needed, none were given"
            )
        recorded = recorded_on_phrases(reference_activations, layer, inactive)
    drawn, dropped, untranslated = draw_pairs(
        phrases=phrases,
        translations=dict(zip(run.languages, translations, strict=True)),
        layer=layer,
        hold_out=HoldOut(settings.held_out, settings.held_out_features, seed),
        samples=settings.samples,
        seed=seed,
        recorded=recorded,
    )
    pairs = tokenized(drawn, lm)
    n_features = len({pair.feature for pair in pairs})
    logger.info("%d pairs of %d features", len(pairs), n_features)

    torch.manual_seed(seed)
    tuned = list(range(layer + 1)) if run.tuned_layers == "up_to_target" else sorted(run.tuned_layers)
    model = load_causal_model(lm, last_layer=layer, dtype=getattr(torch, compute.dtype), kernels=compute.kernels)
    metadata = {**metadata, **kernels_of(model)}
    lora = {"rank": settings.rank, "alpha": settings.alpha, "dropout": settings.dropout}
    model = with_lora(model, tuned, settings.target_modules, **lora)
    encoder = load_encoder(sae).to(next(model.parameters()).device)
    matrices = {name: matrix for name, matrix in model.named_parameters() if matrix.requires_grad}
    optimiser = torch.optim.Adam(matrices.values(), lr=rate)
    token_budget = compute.token_budget

    digest = digest_of(
        [loss, tuned, settings.target_modules, layer, settings.samples, iterations, settings.batch_size, rate],
        [*lora.values(), compute.dtype, seed, model_name],
        [metadata.get("code"), *(version(name) for name in ("torch", "transformers", "peft"))],
        [drawn],
        [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in _weights(lm, sae)],
    )
    state = TrainingState(state_folder, digest, settings.resume_every)
    log = _resume(state, matrices, optimiser)
    if log:
        logger.info("resumed after step %d", len(log) - 1)
    for step in tqdm(range(len(log), iterations), initial=len(log), total=iterations, desc="align", unit="step"):
        chosen = batch_rows(len(pairs), step, settings.batch_size, seed)
        falling = rate * (1 - step / iterations)
        for group in optimiser.param_groups:
            group["lr"] = falling
        terms, token_budget = _with_less_memory(
            lambda budget, chosen=chosen: accumulate_gradient(
                model, encoder, layer, [pairs[row] for row in chosen], loss, budget
            ),
            optimiser,
            token_budget,
        )
        require_finite(terms, loss, [drawn[row].name for row in chosen], f"step {step}, layer {layer}")
        optimiser.step()
        optimiser.zero_grad()
        log.append(_log_row(step, terms, loss.weight, falling))
        if state.due(step + 1) and step + 1 < iterations:
            _save(state, matrices, optimiser, log)

    if not all(bool(torch.isfinite(matrix).all()) for matrix in matrices.values()):
        raise IsoglossError(
            f"step {iterations - 1}, layer {layer}: the LoRA matrices are not finite; lower alignment.learning_rate"
        )
    save_adapter(model, Path(adapter), model_name)
    counts = {"n_pairs": len(pairs), "n_features": n_features}
    counts |= {"n_phrases_dropped": dropped, "n_untranslated": untranslated}
    with TableWriter(losses, LOSSES, {**metadata, **counts}) as writer:
        writer.write(pa.Table.from_pylist(log, schema=LOSSES))
    state.remove()


def _with_less_memory(
    gradient: Callable[[int], PairLosses], optimiser: torch.optim.Optimizer, token_budget: int
) -> tuple[PairLosses, int]:
    """The gradient of a batch, with half the token budget each time that the GPU's memory runs out."""
    while True:
        try:
            return gradient(token_budget), token_budget
        except torch.cuda.OutOfMemoryError:
            if token_budget < 64:
                raise IsoglossError(
                    "out of GPU memory with one pair at a time; take a larger GPU, compute.dtype bfloat16 or fewer"
                    " alignment tuned_layers"
                ) from None
            token_budget //= 2
            logger.warning("out of GPU memory: going on with %d tokens at a time", token_budget)
        optimiser.zero_grad()
        torch.cuda.empty_cache()


def _log_row(step: int, terms: PairLosses, weight: float, rate: float) -> dict[str, int | float]:
    alignment, retention = terms.alignment.double().mean().item(), terms.retention.double().mean().item()
    return {
        "step": step,
        "loss": alignment + weight * retention,
        "alignment_term": alignment,
        "retention_term": retention,
        "inactive_share": terms.inactive.double().mean().item(),
        "learning_rate": rate,
    }


def _weights(lm: str, sae: str) -> list[Path]:
    return sorted(file for folder in (lm, sae) for file in Path(folder).glob("*.safetensors"))


def _save(
    state: TrainingState, matrices: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer, log: list[Any]
) -> None:
    content = {
        "matrices": {name: matrix.detach() for name, matrix in matrices.items()},
        "optimiser": optimiser.state_dict(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "log": log,
    }
    state.save(len(log), content)


def _resume(
    state: TrainingState, matrices: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer
) -> list[dict[str, int | float]]:
    """Take up the saved state, if there is one; returns the log so far."""
    content = state.load()
    if content is None:
        return []
    with torch.no_grad():
        for name, matrix in matrices.items():
            matrix.copy_(content["matrices"][name])
    optimiser.load_state_dict(content["optimiser"])
    torch.set_rng_state(content["random"])
    if content["random_cuda"]:
        torch.cuda.set_rng_state_all(content["random_cuda"])
    return content["log"]
