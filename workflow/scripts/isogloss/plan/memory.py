"""What memory a job takes at its peak: weights, SAEs, the largest activations of a batch, buffers; and what to do.

Of each rule the model that takes most. On a GPU all of it lies there, and the host holds the files that are read; on
cores it lies in the process. Toy models take next to nothing and are left out.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from isogloss.config.pretrained import PretrainedModel
from isogloss.plan import assumptions as assumed
from isogloss.plan.planned_model import PlannedModel, chunks
from isogloss.plan.sizes import (
    BYTES,
    LENS_TILES,
    WIDE_NUMBERS,
    backward_bytes,
    batch_bytes,
    encoder_bytes,
    training_bytes,
)


@dataclass(frozen=True)
class JobMemory:
    """Bytes that a job of a rule holds at its peak."""

    rule: str
    model: str
    layers: int  # whose SAEs it holds
    weights: float
    saes: float  # encoders; in training their optimiser, too
    batch: float  # activations of a forward batch, those that a backward pass needs included
    buffers: float  # vectors that are shuffled, and pre-activations of the whole width
    files: float  # of weights and one SAE, as they are read

    @property
    def device(self) -> float:
        """On the GPU, or beside what Python takes on cores."""
        return self.weights + self.saes + self.batch + self.buffers

    @property
    def host(self) -> float:
        """Of the process beside a GPU."""
        return assumed.CUDA_PROCESS + self.files

    @property
    def cores(self) -> float:
        """Of the process without a GPU; weights that are read in their own type lie in the file's pages."""
        return assumed.PROCESS + self.device


def job_memory(models: Sequence[PlannedModel]) -> list[JobMemory]:
    """What a job of each rule takes, of the model that takes most."""
    most: dict[str, JobMemory] = {}
    for planned in models:
        for job in _jobs(planned) if isinstance(planned.model, PretrainedModel) else ():
            if job.rule not in most or job.device > most[job.rule].device:
                most[job.rule] = job
    return list(most.values())


def _jobs(planned: PlannedModel) -> Iterator[JobMemory]:
    model, study, layers = planned.model, planned.study, planned.model.layer_list
    analyses, block = model.analyses, chunks(layers, study.compute.layers_per_job)[-1]
    if "similarity" in analyses:
        yield _reading(planned, "capture", layers[-1] + 1, 0)
    if "gap" in analyses:
        yield _reading(planned, "encode", block[-1] + 1, len(block))
        yield _reading(planned, "codes", block[-1] + 1, len(block))
    for run in planned.runs:
        yield _aligning(planned, run.target_layer + 1)
    if isinstance(model, PretrainedModel) and model.reads_phrases and model.saes is None and model.sae is not None:
        yield _training(planned, "train_sae", layers)
    if "benchmarks" in analyses:
        yield _reading(planned, "benchmark", None, 0, LENS_TILES)
    if "latent" in analyses:
        yield _reading(planned, "latent_score", None, 0, LENS_TILES)
        yield from [_reading(planned, "steer", None, 0, LENS_TILES)] * (study.latent.steering is not None)
    if "bilingual" in analyses:
        own = chunks(layers, study.bilingual.layers_per_job)[-1]
        yield from [_training(planned, "train_checkpoint_saes", own)] * (model.sae is not None)
        yield _reading(planned, "describe_features", own[-1] + 1, len(own))


def _reading(
    planned: PlannedModel, rule: str, depth: int | None, n_saes: int, buffers: float = WIDE_NUMBERS
) -> JobMemory:
    """A job that runs batches down to `depth` (None: the whole model, with its head) past `n_saes` encoders."""
    dtype, decoder = planned.study.compute.dtype, planned.decoder
    weights, files = decoder.parameters(depth) * BYTES[dtype], planned.weights(depth)
    sae = encoder_bytes(decoder.d_model, planned.sae_width)
    batch = batch_bytes(decoder, planned.study.compute.token_budget, dtype)
    read = max(files, weights) + sae * (n_saes > 0)
    return JobMemory(rule, planned.name, n_saes, weights, n_saes * sae, batch, buffers, read)


def _aligning(planned: PlannedModel, depth: int) -> JobMemory:
    study, decoder = planned.study, planned.decoder
    longest = 2 * max(planned.phrase_tokens(lang) + 1 for lang in study.languages.all)
    tokens = min(study.compute.token_budget, study.alignment.batch_size * longest)
    batch = backward_bytes(decoder, depth, tokens, study.compute.dtype)
    return replace(_reading(planned, "align", depth, 1), batch=batch)


def _training(planned: PlannedModel, rule: str, layers: Sequence[int]) -> JobMemory:
    """SAEs with Adam's moments and one layer's gradient; what is shuffled, a group of documents, a batch in float32."""
    recipe, decoder = planned.model.sae, planned.decoder
    assert recipe is not None
    trained = training_bytes(
        decoder.d_model,
        recipe.features,
        len(layers),
        recipe.batch_tokens,
        recipe.buffer_tokens,
        planned.study.compute.dtype,
    )
    job = _reading(planned, rule, layers[-1] + 1, len(layers), trained.vectors + trained.step)
    return replace(job, saes=trained.saes)


def advice(
    jobs: Sequence[JobMemory], models: Sequence[PlannedModel], card: float, asked: Mapping[str, int]
) -> list[str]:
    """A line for each rule whose job does not fit `card` bytes of a GPU, or asks its cluster for too little."""
    lines: list[str] = []
    by_name = {planned.name: planned for planned in models}
    for job in jobs:
        compute = by_name[job.model].study.compute
        room = 0.95 * card * compute.gpus_per_job
        if job.device > room:
            lines.append(f"{job.rule} of {job.model} takes {_gb(job.device)} of {_gb(card)}: {_mend(job, room, card)}")
        if job.host > asked.get(job.rule, math.inf):
            need = math.ceil(1.1 * job.host / 2**20 / 1000) * 1000
            lines.append(
                f"{job.rule} of {job.model} takes {_gb(job.host)} beside its GPU, the profile asks for"
                f" {_gb(asked[job.rule])}:"
                f" set-resources {job.rule}: {{mem_mb: {need}}}"
            )
    return lines


def _mend(job: JobMemory, room: float, card: float) -> str:
    rest = job.device - job.saes
    if job.layers > 1 and rest < room and (fits := math.floor((room - rest) / (job.saes / job.layers))):
        section = "bilingual" if job.rule in ("train_checkpoint_saes", "describe_features") else "compute"
        if job.rule == "train_sae":
            return "fewer layers, a smaller sae.buffer_tokens or features"
        return f"{_gb(job.saes)} of it are SAEs of {job.layers} layers; {section}.layers_per_job: {fits}"
    if job.weights > 0.7 * room:
        return f"compute.gpus_per_job: {math.ceil(job.device / (0.8 * card))}, or a lower compute.token_budget or dtype"
    if job.batch > 0.3 * room:
        return "lower compute.token_budget"
    return "take a larger card"


def _gb(size: float) -> str:
    return f"{size / 1e9:.3g} GB"
