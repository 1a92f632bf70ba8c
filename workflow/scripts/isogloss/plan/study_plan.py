"""A study's plan: the costs of all rules put together by stage, and how large encode jobs should be."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from isogloss.config import Study
from isogloss.config.pretrained import PretrainedModel
from isogloss.plan import flops
from isogloss.plan import settings as assumed
from isogloss.plan.bilingual import bilingual_costs
from isogloss.plan.jobs import STAGES, by_stage, stage_of
from isogloss.plan.latent import latent_costs, shared_latent_costs
from isogloss.plan.settings import Settings
from isogloss.plan.stages import Cost, costs, encode_work, shared_costs
from isogloss.plan.subject import Subject, block_bytes, subject_of


class StagePlan(NamedTuple):
    """What a stage costs."""

    stage: str
    jobs: int
    tokens: float  # through language models and translators
    forward_flops: float  # backward passes included
    sae_flops: float
    kept_bytes: float
    temp_bytes: float
    gpu_hours: float
    cpu_hours: float


class BlockSizes(NamedTuple):
    """Encode jobs of one layer against jobs of all layers, for one model."""

    model: str
    setting: int | str  # the study's own
    jobs_of_one_layer: int
    jobs_of_all: int
    work_hours: float  # of encoding everything, without loads
    load_hours_of_one_layer: float
    load_hours_of_all: float
    rerun_hours_of_one_layer: float  # when one SAE changes: its layer, mean over layers
    rerun_hours_of_all: float  # everything

    @property
    def extra_load_hours(self) -> float:
        return self.load_hours_of_one_layer - self.load_hours_of_all

    @property
    def break_even(self) -> float:
        """Changes of a single SAE from which on jobs of one layer have cost less."""
        saved = self.rerun_hours_of_all - self.rerun_hours_of_one_layer
        return self.extra_load_hours / saved if saved > 0 else float("inf")


class Plan(NamedTuple):
    """Everything that `make plan` prints."""

    study: str
    stages: list[StagePlan]
    total: StagePlan
    jobs: dict[str, int]
    block_sizes: list[BlockSizes]
    notes: list[str]


def plan_study(
    study: Study,
    jobs: Mapping[str, int] | None,
    settings: Settings,
    *,
    results: Path,
    temporary: set[str] = frozenset(),  # type: ignore[assignment]
) -> Plan:
    """The plan of `study`.

    `jobs` are a dry run's counts by rule (None: by the configuration alone), `results` the folder whose
    tables are counted, `temporary` the rules whose outputs are removed as soon as they are read.
    """
    subjects = [subject_of(study, name, settings, results) for name in study.models]
    every = [cost for subject in subjects for cost in costs(subject)]
    every += [
        cost for subject in subjects if "bilingual" in subject.model.analyses for cost in bilingual_costs(subject)
    ]
    every += [cost for subject in subjects if "latent" in subject.model.analyses for cost in latent_costs(subject)]
    every += [*shared_costs(study, settings, results), *shared_latent_costs(study, settings)]
    expected: dict[str, int] = {}
    for cost in every:
        expected[cost.rule] = expected.get(cost.rule, 0) + cost.jobs
    counted = dict(expected if jobs is None else jobs)
    notes = [note for subject in subjects for note in subject.notes]
    for rule, number in expected.items():
        if counted.get(rule, 0) != number:
            notes.append(
                f"{rule}: {counted.get(rule, 0)} jobs in the dry run, {number} by the configuration; their"
                " loads are scaled"
            )
    numbers = by_stage(counted)
    stages = []
    for stage in [*STAGES, *(name for name in numbers if name not in STAGES)]:
        own = [cost for cost in every if stage_of(cost.rule) == stage]
        if not own and stage not in numbers:
            continue
        plain = sum(number for rule, number in counted.items() if stage_of(rule) == stage and rule not in expected)
        seconds = {"gpu": 0.0, "cpu": plain * settings.cpu_startup_seconds}
        for cost in own:
            scale = counted.get(cost.rule, 0) / expected[cost.rule] if expected[cost.rule] else 1.0
            device = "gpu" if cost.device == "gpu" else "cpu"
            seconds[device] += cost_seconds(cost, settings, scale)
        stages.append(
            StagePlan(
                stage,
                numbers.get(stage, 0),
                sum(cost.tokens for cost in own),
                sum(cost.forward for cost in own),
                sum(cost.sae for cost in own),
                sum(cost.disk for cost in own if cost.rule not in temporary),
                sum(cost.disk for cost in own if cost.rule in temporary),
                seconds["gpu"] / 3600,
                seconds["cpu"] / 3600,
            )
        )
    sums = [sum(getattr(stage, field) for stage in stages) for field in StagePlan._fields[1:]]
    sizes = [
        block_sizes(subject)
        for subject in subjects  # a toy's SAEs train together, so none changes alone
        if "gap" in subject.model.analyses and isinstance(subject.model, PretrainedModel)
    ]
    notes += assumptions(study, settings, jobs is not None)
    return Plan(study.study, stages, StagePlan("total", *sums), counted, sizes, notes)


def flop_seconds(forward: float, sae: float, dtype: str, settings: Settings) -> float:
    """Time of FLOPs on the GPU: SAEs in float32, forwards in their own type."""
    fast, slow = settings.throughput_tflops, settings.float32_tflops
    return (forward / (slow if dtype == "float32" else fast) + sae / slow) / (1e12 * settings.utilisation)


def cost_seconds(cost: Cost, settings: Settings, scale: float) -> float:
    """Hours, in seconds, of all jobs of a rule; `scale`: true jobs to those that `cost` expected."""
    jobs = cost.jobs * scale
    if cost.rule == "translate":
        work = cost.seconds
    elif cost.device == "gpu":
        work = flop_seconds(cost.forward, cost.sae, cost.dtype, settings)
    else:
        work = cost.seconds + (cost.forward + cost.sae) / (1e9 * settings.cpu_gflops)
    if cost.device == "local":
        return work
    loaded = cost.load > 0
    start = settings.startup_seconds if loaded else settings.cpu_startup_seconds
    return work + jobs * (start + cost.load / (1e9 * settings.read_gb_per_second))


def block_sizes(subject: Subject) -> BlockSizes:
    """What `compute.layers_per_job` trades: loads against reruns, base model and adapters together."""
    settings, layers = subject.settings, subject.layers
    measured = [(subject.langs, None)]
    measured += [(subject.languages_of(run), subject.lora(run)) for run in subject.runs.values()]
    jobs = sum(subject.language_jobs(langs) for langs, _ in measured)

    def load(block: list[int]) -> float:
        seconds = settings.startup_seconds + block_bytes(subject, block) / (1e9 * settings.read_gb_per_second)
        return jobs * seconds / 3600

    def work(block: list[int]) -> float:
        parts = [encode_work(subject, block, langs, lora) for langs, lora in measured]
        return sum(flop_seconds(part.forward, part.sae, subject.dtype, settings) for part in parts) / 3600

    single = sum(load([layer]) for layer in layers)
    return BlockSizes(
        model=subject.name,
        setting=subject.study.compute.layers_per_job,
        jobs_of_one_layer=jobs * len(layers),
        jobs_of_all=jobs,
        work_hours=work(layers),
        load_hours_of_one_layer=single,
        load_hours_of_all=load(layers),
        rerun_hours_of_one_layer=(single + work(layers)) / len(layers),
        rerun_hours_of_all=load(layers) + work(layers),
    )


def assumptions(study: Study, settings: Settings, counted_jobs: bool) -> list[str]:
    """What the numbers take for granted, a line each."""
    pretrained = study.of_kind("pretrained")
    lines = [
        "jobs: counted by a dry run of the whole study" if counted_jobs else "jobs: by the configuration, not counted",
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
    if study.translation.backend == "opus-mt":
        translation = study.translation
        speed = settings.translations_per_second(translation.engine, translation.compute_type, translation.beam_size)
        lines.append(
            f"translate: {speed:.3g} sentences of 15 tokens a second on a {settings.translation_device.upper()}"
            f" ({translation.engine}, {translation.compute_type}, beam {translation.beam_size}); OPUS-MT's base size"
            f" of {flops.translator_parameters(assumed.TRANSLATOR) / 1e6:.0f} M parameters where no config.json tells;"
            " translations as long as their source"
        )
    if study.of_kind("toy"):
        lines.append(f"training of toy models: {settings.cpu_gflops:g} GFLOP/s on a CPU core")
    return lines
