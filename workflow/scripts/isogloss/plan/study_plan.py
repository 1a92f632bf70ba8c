"""A study's plan: the costs of all rules put together by stage, and how large encode jobs should be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

from isogloss.config import Study
from isogloss.config.pretrained import PretrainedModel
from isogloss.plan import assumptions as assumed
from isogloss.plan.assumptions import Settings
from isogloss.plan.costs import encode_costs, study_costs
from isogloss.plan.jobs import STAGES, stage_of
from isogloss.plan.memory import JobMemory, advice, job_memory
from isogloss.plan.planned_model import Cost, PlannedModel, chunks, planned_model


@dataclass(frozen=True)
class StagePlan:
    """What a stage costs."""

    stage: str
    jobs: int
    tokens: float  # through language models and translators
    forward_flops: float  # of language models, backward passes included
    sae_flops: float
    read_bytes: float  # weights that the jobs load
    kept_bytes: float
    gpu_hours: float
    cpu_hours: float
    core_hours: float  # of one CPU core, everything, where there is no GPU


@dataclass(frozen=True)
class BlockSize:
    """Encode jobs of a model, base and adapters together, if `compute.layers_per_job` were 1 or "all"."""

    model: str
    layers_per_job: Literal[1, "all"]
    jobs: int
    load_hours: float
    work_hours: float  # of encoding everything, without loads
    rerun_hours: float  # when one SAE changes: its block, mean over blocks


@dataclass(frozen=True)
class Plan:
    """Everything that `make plan` prints."""

    study: str
    stages: list[StagePlan]
    total: StagePlan
    jobs: dict[str, int]
    block_sizes: list[BlockSize]
    break_even: dict[str, float | None]  # by model: changes of one SAE from which on 1 has cost less; None: never
    notes: list[str]
    memory: list[JobMemory]
    asked_bytes: dict[str, int]  # memory that the cluster's profile asks for, by rule
    advice: list[str]  # where a job would not fit


def plan_study(study: Study, jobs: Mapping[str, int], settings: Settings) -> Plan:
    """The plan of `study`: `jobs` are a dry run's counts by rule."""
    models = [planned_model(study, name, settings) for name in study.models]
    costs = list(study_costs(study, models))
    stages = [
        _stage_plan(stage, jobs, [cost for cost in costs if stage_of(cost.rule) == stage], settings, study)
        for stage in dict.fromkeys([*STAGES, *map(stage_of, jobs)])
    ]
    stages = [stage for stage in stages if stage.jobs]
    total = (sum(getattr(stage, field.name) for stage in stages) for field in fields(StagePlan)[1:])
    sizes, break_even = [], {}
    for planned in models:  # a toy's SAEs train together, so none changes alone
        if "gap" in planned.model.analyses and isinstance(planned.model, PretrainedModel):
            one, whole = block_size(planned, 1), block_size(planned, "all")
            saved = whole.rerun_hours - one.rerun_hours
            break_even[planned.name] = (one.load_hours - whole.load_hours) / saved if saved > 0 else None
            sizes += [one, whole]
    notes = notes_of(study, models, settings)
    memory = job_memory(models)
    asked = dict(settings.asked_bytes)
    lines = advice(memory, models, settings.card_bytes, asked)
    totals = StagePlan("total", *total)
    return Plan(study.study, stages, totals, dict(jobs), sizes, break_even, notes, memory, asked, lines)


def _stage_plan(stage: str, jobs: Mapping[str, int], costs: list[Cost], settings: Settings, study: Study) -> StagePlan:
    number = sum(count for rule, count in jobs.items() if stage_of(rule) == stage)
    others = max(0, number - sum(cost.jobs for cost in costs)) if stage != "fetch" else 0
    gpu = sum(gpu_seconds(cost, study.compute.dtype, settings) for cost in costs)
    cpu = sum(cost.seconds for cost in costs) + others * assumed.CPU_START
    tokens, forward, sae = (sum(getattr(cost, field) for cost in costs) for field in ("tokens", "forward", "sae"))
    read, kept = sum(cost.jobs * cost.load for cost in costs), sum(cost.disk for cost in costs)
    core = cpu + sum(core_seconds(cost, study.compute.dtype) for cost in costs)
    return StagePlan(stage, number, tokens, forward, sae, read, kept, gpu / 3600, cpu / 3600, core / 3600)


def gpu_seconds(cost: Cost, dtype: str, settings: Settings) -> float:
    """Of all jobs of a rule: starts, loads, FLOPs and what its launches take; SAEs run in float32, forwards in `dtype`.

    The share of the card's peak is that which was seen of the rule, unless the settings give one.
    """
    share = settings.utilisation or assumed.REACHED.get(cost.rule, assumed.REACHED_ELSEWHERE)
    slow = assumed.FLOAT32_TFLOPS * (settings.utilisation or assumed.FLOAT32_REACHED)
    fast = settings.throughput_tflops * share
    sae = assumed.SAE_TRAINING_TFLOPS if cost.rule in assumed.TRAINS_SAES and not settings.utilisation else slow
    seconds = (cost.forward / (slow if dtype == "float32" else fast) + cost.sae / sae) / 1e12
    return seconds + cost.jobs * (assumed.GPU_START + cost.load / assumed.READ_BYTES) + cost.launches


def core_seconds(cost: Cost, dtype: str) -> float:
    """As `gpu_seconds`, of one CPU core instead."""
    rates = assumed.CORE_GFLOPS
    load = cost.jobs * (assumed.GPU_START + cost.load / assumed.READ_BYTES)
    return (cost.forward / rates[dtype] + cost.sae / rates["float32"]) / 1e9 + load


def block_size(planned: PlannedModel, size: Literal[1, "all"]) -> BlockSize:
    """Encode jobs if `compute.layers_per_job` were `size`."""
    costs, dtype, settings = list(encode_costs(planned, size)), planned.study.compute.dtype, planned.settings
    total = sum(gpu_seconds(cost, dtype, settings) for cost in costs) / 3600
    load = sum(gpu_seconds(cost._replace(forward=0, sae=0), dtype, settings) for cost in costs) / 3600
    jobs, n_blocks = sum(cost.jobs for cost in costs), len(chunks(planned.model.layer_list, size))
    return BlockSize(planned.name, size, jobs, load, total - load, total / n_blocks)


def _reached(settings: Settings) -> str:
    if settings.utilisation:
        return f"{settings.utilisation:.0%} are reached"
    seen = ", ".join(f"{rule} {share:.0%}" for rule, share in assumed.REACHED.items())
    return f"{seen}, others {assumed.REACHED_ELSEWHERE:.0%} (seen with a 2B model on an H100 or H200)"


def notes_of(study: Study, models: Sequence[PlannedModel], settings: Settings) -> list[str]:
    """What the numbers take for granted, a line each."""
    phrases, ratio, reference = study.phrases, settings.tokens_per_english_token, study.languages.reference
    languages = " ".join(f"{lang}={ratio(lang):.3g}" for lang in study.languages.all)
    lines = [
        f"GPU hours: {settings.throughput_tflops:g} TFLOP/s in bfloat16, {assumed.FLOAT32_TFLOPS:g} in float32 (SAEs;"
        f" forwards too where compute.dtype is float32, here {study.compute.dtype}), of which {_reached(settings)};"
        f" a job starts in {assumed.GPU_START:g} s and reads weights at {assumed.READ_BYTES / 1e9:g} GB/s",
        f"memory: of the model of a rule that takes most, eager attention and norms; a GPU of"
        f" {settings.card_bytes / 1e9:g} GB; SAEs with thresholds hold the columns that a job reads; translate and"
        " score_comet are not counted",
        f"core hours: all of it on one CPU core, without a GPU: {assumed.CORE_GFLOPS['float32']:g} GFLOP/s in float32,"
        f" {assumed.CORE_GFLOPS['bfloat16']:g} in bfloat16; n cores take a little over an n-th",
        f"CPU hours: one core; all else (training of toys, statistics, report) starts in {assumed.CPU_START:g} s",
        "FLOPs: matrix products; no padding (up to 15 % more, in small batches more), no LoRA matrices, repeated texts"
        " each time; gated MLPs but in families known not to have them, the head tied to the embedding",
        f"tokens for one of English: {languages}, other languages {assumed.OTHER_FERTILITY:g}; results are not counted",
        f"bytes: {assumed.WEIGHT_BYTES:g} a parameter of a fetched model (4 where a repository holds float32);"
        f" everything downloaded, at {assumed.DOWNLOAD_BYTES / 1e6:g} MB/s; tables of phrases and answers left out",
    ]
    if any(model.reads_phrases for model in study.models.values()):
        speed, most = settings.translations_per_second(study.translation), assumed.PHRASES_PER_FEATURE
        lines.append(
            f"phrases: {phrases.per_feature} a feature, of fetched models {most:g} at most; one feature in"
            f" {phrases.feature_stride}; {models[0].phrase_tokens(reference):g} tokens in {reference}, more where"
            " windows grow to segments"
        )
        lines.append("capture, encode: at most; phrases with the same text, which a job reads once, are counted each")
        if study.translation.backend != "parallel":
            size = assumed.translator_parameters(study.translation)
            lines.append(
                f"translate: {speed:.3g} sentences of {assumed.SENTENCE_TOKENS} tokens a second, CPU hours; a model of"
                f" {size / 1e6:,.0f}M parameters, assumed to be as slow as its decoder is large"
            )
    if any("benchmarks" in model.analyses for model in study.models.values()):
        questions = ", ".join(f"{task} {number:,}" for task, number in assumed.QUESTIONS.items())
        lines.append(f"questions: at most {questions}")
    return lines
