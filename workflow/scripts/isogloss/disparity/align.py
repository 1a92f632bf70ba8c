"""Stage `align`: LoRA trained with the activation-alignment loss (paper A, sec. 2.6 and app. B.1)."""

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from tqdm import tqdm

from isogloss.config.measures import Alignment, AlignmentRun, Compute
from isogloss.disparity.alignment import LossSettings, PairLosses, require_finite
from isogloss.disparity.gradient import BatchGradient
from isogloss.disparity.holdout import HoldOut
from isogloss.disparity.lora_training import LoraOptimiser
from isogloss.disparity.training_pairs import TrainingPair, batch_rows, draw_pairs, recorded_on_phrases, tokenized
from isogloss.errors import IsoglossError
from isogloss.models.adapter import save_adapter, with_lora
from isogloss.models.loading import load_causal_model
from isogloss.models.path import kernels_of
from isogloss.resume import TrainingState, digest_of
from isogloss.sae.autoencoder import load_encoder
from isogloss.tables import TableWriter

logger = logging.getLogger(__name__)

_UNREAD = 10  # steps whose losses are read, and looked through for NaN, together: a GPU need not wait for each

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
    matrices are kept and updated in float32 whatever `dtype` the base model has, which multiplies by them in its own
    (`LoraOptimiser`) and is cut off after the target layer.

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
    # transformers' own parts: faster ones are tried forward only, and hold what a CUDA graph cannot.
    model = load_causal_model(lm, last_layer=layer, dtype=getattr(torch, compute.dtype), kernels="plain")
    metadata = {**metadata, **kernels_of(model)}
    lora = {"rank": settings.rank, "alpha": settings.alpha, "dropout": settings.dropout}
    model = with_lora(model, tuned, settings.target_modules, **lora)
    encoder = load_encoder(sae, torch.tensor([pair.feature for pair in pairs])).to(next(model.parameters()).device)
    optimiser = LoraOptimiser(model, getattr(torch, compute.dtype), rate=rate, iterations=iterations)
    # Random numbers of dropout come in another order within a graph.
    gradient = BatchGradient(model, encoder, layer, loss, graphs=not settings.dropout)
    token_budget = compute.token_budget

    digest = digest_of(
        [loss, tuned, settings.target_modules, layer, settings.samples, iterations, settings.batch_size, rate],
        [*lora.values(), compute.dtype, seed, model_name],
        [metadata.get("code"), *(version(name) for name in ("torch", "transformers", "peft"))],
        [drawn],
        [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in _weights(lm, sae)],
    )
    state = TrainingState(state_folder, digest, settings.resume_every)
    log: list[dict[str, int | float]] = []
    if (content := state.load()) is not None:
        log = content["log"]
        optimiser.load_state(content)
        logger.info("resumed after step %d", len(log) - 1)
    unread: list[_Step] = []
    for step in tqdm(range(len(log), iterations), initial=len(log), total=iterations, desc="align", unit="step"):
        chosen = batch_rows(len(pairs), step, settings.batch_size, seed)
        terms, token_budget = gradient.step_with_less_memory(
            [pairs[row] for row in chosen], token_budget, optimiser.clear
        )
        unread.append(_Step(step, chosen, terms, optimiser.rate(step)))
        optimiser.step(step)
        save = state.due(step + 1) and step + 1 < iterations
        if save or len(unread) == _UNREAD or step + 1 == iterations:
            log += [_read(one, loss, drawn, layer) for one in unread]
            unread.clear()
        if save:
            state.save(len(log), {**optimiser.state(), "log": log})

    optimiser.finish(f"step {iterations - 1}, layer {layer}")
    save_adapter(model, Path(adapter), model_name)
    counts = {"n_pairs": len(pairs), "n_features": n_features}
    counts |= {"n_phrases_dropped": dropped, "n_untranslated": untranslated}
    with TableWriter(losses, LOSSES, {**metadata, **counts}) as writer:
        writer.write(pa.Table.from_pylist(log, schema=LOSSES))
    state.remove()


class _Step(NamedTuple):
    """A step whose terms have not been looked at."""

    step: int
    chosen: list[int]
    terms: PairLosses  # on the model's device
    rate: float


def _read(one: _Step, loss: LossSettings, drawn: Sequence[TrainingPair], layer: int) -> dict[str, int | float]:
    """A step's row of the log. Raises `IsoglossError` for a loss that is not finite."""
    terms = PairLosses(*(term.cpu() for term in one.terms))
    require_finite(terms, loss, [drawn[row].name for row in one.chosen], f"step {one.step}, layer {layer}")
    alignment, retention = terms.alignment.double().mean().item(), terms.retention.double().mean().item()
    return {
        "step": one.step,
        "loss": alignment + loss.weight * retention,
        "alignment_term": alignment,
        "retention_term": retention,
        "inactive_share": terms.inactive.double().mean().item(),
        "learning_rate": one.rate,
    }


def _weights(lm: str, sae: str) -> list[Path]:
    return sorted(file for folder in (lm, sae) for file in Path(folder).glob("*.safetensors"))
