"""A study's plan: the costs of all rules put together by stage, and how large encode jobs should be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from isogloss.config import Study
from isogloss.config.pretrained import PretrainedModel
from isogloss.plan import assumptions as assumed
from isogloss.plan.assumptions import Settings
from isogloss.plan.bilingual import bilingual_costs
from isogloss.plan.disparity import disparity_costs
from isogloss.plan.flops import translator_parameters
from isogloss.plan.jobs import STAGES, stage_of
from isogloss.plan.latent import latent_costs, shared_latent_costs
from isogloss.plan.planned_model import Cost, PlannedModel, planned_model
from isogloss.plan.sources import fetch_costs, shared_fetch_costs, toy_costs


@dataclass(frozen=True)
class StagePlan:
    """What a stage costs."""

    stage: str
    jobs: int
    tokens: float  # through language models and translators
    forward_flops: float  # backward passes included
    sae_flops: float
    kept_bytes: float
    gpu_hours: float
    cpu_hours: float


@dataclass(frozen=True)
class EncodeJobs:
    """Encode jobs of one block size, base model and adapters together."""

    layers_per_job: Literal[1, "all"]
    jobs: int
    load_hours: float
    work_hours: float  # of encoding everything, without loads
    rerun_hours: float  # when one SAE changes: its block, mean over blocks


@dataclass(frozen=True)
class BlockSizes:
    """What `compute.layers_per_job` trades for one model: loads against reruns."""

    model: str
    setting: int | str  # the study's own
    one_layer: EncodeJobs
    all_layers: EncodeJobs
    break_even: float | None  # changes of a single SAE from which on jobs of one layer have cost less; None: never


@dataclass(frozen=True)
class Plan:
    """Everything that `make plan` prints."""

    study: str
    stages: list[StagePlan]
    total: StagePlan
    jobs: dict[str, int]
    block_sizes: list[BlockSizes]
    notes: list[str]


def plan_study(study: Study, jobs: Mapping[str, int], settings: Settings, *, results: Path) -> Plan:
    """The plan of `study`: `jobs` are a dry run's counts by rule, `results` the folder whose tables are counted."""
    models = [planned_model(study, name, settings, results) for name in study.models]
    costs = [*shared_fetch_costs(study, settings), *shared_latent_costs(study, settings)]
    for planned in models:
        costs += fetch_costs(planned) if isinstance(planned.model, PretrainedModel) else toy_costs(planned)
        costs += disparity_costs(planned)
        costs += bilingual_costs(planned) if "bilingual" in planned.model.analyses else ()
        costs += latent_costs(planned) if "latent" in planned.model.analyses else ()
    notes = [note for planned in models for note in planned.notes]
    expected: dict[str, int] = {}
    for cost in costs:
        expected[cost.rule] = expected.get(cost.rule, 0) + cost.jobs
    for rule, number in expected.items():
        if jobs.get(rule, 0) != number:
            notes.append(
                f"{rule}: {jobs.get(rule, 0)} jobs in the dry run, {number} by the configuration, as hours count"
            )
    stages = []
    for stage in dict.fromkeys([*STAGES, *map(stage_of, jobs)]):
        own = [cost for cost in costs if stage_of(cost.rule) == stage]
        counts = {rule: number for rule, number in jobs.items() if stage_of(rule) == stage}
        if own or counts:
            started = sum(number for rule, number in counts.items() if rule not in expected)
            stages.append(_stage_plan(stage, sum(counts.values()), own, started, settings, study.compute.dtype))
    total = [sum(getattr(stage, field.name) for stage in stages) for field in fields(StagePlan)[1:]]
    sizes = [
        block_sizes(planned)
        for planned in models  # a toy's SAEs train together, so none changes alone
        if "gap" in planned.model.analyses and isinstance(planned.model, PretrainedModel)
    ]
    notes += assumptions(study, settings)
    return Plan(study.study, stages, StagePlan("total", *total), dict(jobs), sizes, notes)


def _stage_plan(
    stage: str, jobs: int, costs: Sequence[Cost], started: int, settings: Settings, dtype: str
) -> StagePlan:
    """A stage of `costs`, and of `started` jobs more that cost their start-up alone."""
    seconds = {"gpu": 0.0, "cpu": started * settings.cpu_startup_seconds}
    for cost in costs:
        seconds["gpu" if cost.device == "gpu" else "cpu"] += cost_seconds(cost, settings, dtype)
    amounts = [sum(getattr(cost, field) for cost in costs) for field in ("tokens", "forward", "sae", "disk")]
    return StagePlan(stage, jobs, *amounts, gpu_hours=seconds["gpu"] / 3600, cpu_hours=seconds["cpu"] / 3600)


def flop_seconds(forward: float, sae: float, dtype: str, settings: Settings) -> float:
    """Time of FLOPs on the GPU: SAEs in float32, forwards in their own type."""
    fast, slow = settings.throughput_tflops, settings.float32_tflops
    return (forward / (slow if dtype == "float32" else fast) + sae / slow) / (1e12 * settings.utilisation)


def cost_seconds(cost: Cost, settings: Settings, dtype: str) -> float:
    """Seconds of all jobs of a rule whose forwards run in `dtype`."""
    if cost.device == "local":
        return cost.seconds
    work = cost.seconds  # where it is given, FLOPs do not tell the time
    if not work and cost.device == "gpu":
        work = flop_seconds(cost.forward, cost.sae, dtype, settings)
    elif not work:
        work = (cost.forward + cost.sae) / (1e9 * settings.cpu_gflops)
    start = settings.startup_seconds if cost.load else settings.cpu_startup_seconds
    return work + cost.jobs * (start + cost.load / (1e9 * settings.read_gb_per_second))


def encode_jobs(planned: PlannedModel, size: Literal[1, "all"]) -> EncodeJobs:
    """Encode jobs if `compute.layers_per_job` were `size`."""
    compute = planned.study.compute.model_copy(update={"layers_per_job": size})
    planned = planned._replace(study=planned.study.model_copy(update={"compute": compute}))
    costs = [cost for cost in disparity_costs(planned) if cost.rule == "encode"]
    idle = [cost._replace(forward=0, sae=0) for cost in costs]
    total, load = (sum(cost_seconds(cost, planned.settings, compute.dtype) for cost in each) for each in (costs, idle))
    jobs, rerun = sum(cost.jobs for cost in costs), total / len(planned.blocks)
    return EncodeJobs(size, jobs, load / 3600, (total - load) / 3600, rerun / 3600)


def block_sizes(planned: PlannedModel) -> BlockSizes:
    """Encode jobs of one layer against jobs of all layers."""
    one, whole = encode_jobs(planned, 1), encode_jobs(planned, "all")
    saved = whole.rerun_hours - one.rerun_hours
    break_even = (one.load_hours - whole.load_hours) / saved if saved > 0 else None
    return BlockSizes(planned.name, planned.study.compute.layers_per_job, one, whole, break_even)


def assumptions(study: Study, settings: Settings) -> list[str]:
    """What the numbers take for granted, a line each."""
    pretrained, translation = study.of_kind("pretrained"), study.translation
    lines = [
        "jobs: counted by a dry run of the whole study",
        f"GPU hours: {settings.throughput_tflops:g} TFLOP/s in bfloat16, {settings.float32_tflops:g} in float32 (SAEs;"
        f" forwards too where compute.dtype is float32, here {study.compute.dtype}), {settings.utilisation:.0%} of it"
        f" reached; a job starts in {settings.startup_seconds:g} s and reads weights at"
        f" {settings.read_gb_per_second:g} GB/s",
        f"CPU hours: one core; other jobs start in {settings.cpu_startup_seconds:g} s; statistics, figures and report"
        " are counted by their start alone",
        "FLOPs: matrix products; attention of every token with every token; padding is not counted (up to 15 % more,"
        " in small batches more), nor that a text which recurs is run once",
        "encode: each phrase to its own layer; "
        + ("3 SAE columns a phrase, the whole width with TopK" if pretrained else "TopK needs the SAE's whole width"),
        f"bytes: of a row: phrases {assumed.PHRASE_ROW}, translations {assumed.TRANSLATION_ROW} (times"
        f" {assumed.OTHER_SCRIPT:g} outside Latin script), activations {assumed.ACTIVATION_ROW}, residuals"
        f" {assumed.POOLED_NUMBER:g} a number, as measured with zstd on made-up rows",
    ]
    if pretrained:
        lines.append(
            f"bytes: {settings.weight_bytes:g} a parameter of a fetched model (4 where a repository holds float32);"
            f" exports 320 MB a layer of 16,384 features; downloads at {settings.download_mb_per_second:g} MB/s"
        )
    if translation.backend == "opus-mt":
        speed = settings.translations_per_second(translation.engine, translation.compute_type, translation.beam_size)
        lines.append(
            f"translate: {speed:.3g} sentences of 15 tokens a second on a {settings.translation_device.upper()}"
            f" ({translation.engine}, {translation.compute_type}, beam {translation.beam_size}); OPUS-MT's base size"
            f" of {translator_parameters(assumed.TRANSLATOR) / 1e6:.0f} M parameters; translations as long as their"
            " source"
        )
    if study.of_kind("toy"):
        lines.append(f"training of toy models: {settings.cpu_gflops:g} GFLOP/s on a CPU core")
    return lines
