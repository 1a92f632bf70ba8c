"""What memory a job takes at its peak: weights, SAEs, the largest activations of a batch, buffers; and what to do.

Of each rule the model that takes most. On a GPU all of it lies there, and the host holds the files that are read; on
cores it lies in the process. Toy models take next to nothing and are left out.
"""

import math
from collections.abc import Mapping, Sequence

from isogloss.config.pretrained import PretrainedModel
from isogloss.plan.peaks import JobMemory, peaks
from isogloss.plan.planned_model import PlannedModel


def job_memory(models: Sequence[PlannedModel]) -> list[JobMemory]:
    """What a job of each rule takes, of the model that takes most."""
    most: dict[str, JobMemory] = {}
    for planned in models:
        for job in peaks(planned) if isinstance(planned.model, PretrainedModel) else ():
            if job.rule not in most or job.device > most[job.rule].device:
                most[job.rule] = job
    return list(most.values())


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
            cards = f"a GPU of {_gb(card)}" if compute.gpus_per_job == 1 else f"{compute.gpus_per_job} of {_gb(card)}"
            lines.append(
                f"{job.rule} of {job.model} takes {_gb(job.device)} in {compute.dtype}, more than {cards}:"
                f" {_mend(job, room, card, compute.dtype)}"
            )
        if job.host > asked.get(job.rule, math.inf):
            need = math.ceil(1.1 * job.host / 2**20 / 1000) * 1000
            lines.append(
                f"{job.rule} of {job.model} takes {_gb(job.host)} beside its GPU, the profile asks for"
                f" {_gb(asked[job.rule])}:"
                f" set-resources {job.rule}: {{mem_mb: {need}}}"
            )
    return lines


_OF_ALL_LAYERS = {  # whose jobs take all layers of a model, and what makes them smaller
    "train_sae": "fewer layers, a smaller sae.buffer_tokens or features",
    "phrases": "fewer layers, or a larger phrases.feature_stride where SAEs are no TopK",
    "explore": "fewer explorer.layers",
}
_OF_PAPER_C = ("train_checkpoint_saes", "describe_features", "measure_saes")


def _mend(job: JobMemory, room: float, card: float, dtype: str) -> str:
    rest = job.device - job.saes
    if job.layers > 1 and rest < room and (fits := math.floor((room - rest) / (job.saes / job.layers))):
        if job.rule in _OF_ALL_LAYERS:
            return _OF_ALL_LAYERS[job.rule]
        section = "bilingual" if job.rule in _OF_PAPER_C else "compute"
        return f"{_gb(job.saes)} of it are SAEs of {job.layers} layers; {section}.layers_per_job: {fits}"
    if job.weights > 0.7 * room:
        lower = "compute.dtype: bfloat16" if dtype == "float32" else "a lower compute.token_budget"
        number = math.ceil(job.device / (0.8 * card))
        return f"compute.gpus_per_job: {number}, which puts its layers on several as a device_map does; or {lower}"
    if job.rule == "search_learning_rate" and job.saes > 0.3 * room:
        return "fewer bilingual.learning_rates"
    if job.rule.startswith("train") and job.buffers > 0.3 * room:
        return "a smaller sae.batch_tokens or sae.buffer_tokens"
    if job.batch > 0.3 * room or job.rule == "intervene":
        return "lower compute.token_budget"
    return "take a larger card"


def _gb(size: float) -> str:
    return f"{size / 1e9:.3g} GB"
