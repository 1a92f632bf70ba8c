"""A plan as plain text."""

import math

from isogloss.plan.memory import JobMemory
from isogloss.plan.study_plan import BlockSize, Plan, StagePlan

_HEADS = ("stage", "jobs", "tokens", "forward FLOP", "SAE FLOP", "read", "kept", "GPU h", "CPU h", "or core h")
_PREFIXES = (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))


def plan_text(plan: Plan) -> str:
    """The table with a row a stage and the total, then how large encode jobs should be, then what was assumed."""
    rows = [_HEADS, *map(_row, plan.stages), _row(plan.total)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])] for name, *cells in rows]
    head, *lines, total = ["  ".join(row) for row in padded]
    rule = "-" * len(head)
    parts = [f"plan of {plan.study}", "", head, rule, *lines, rule, total]
    if plan.block_sizes:
        parts += ["", "encode jobs by compute.layers_per_job", *map(_block_size, plan.block_sizes)]
        parts += [f"  {name}: {_break_even(changes)}" for name, changes in plan.break_even.items()]
    if plan.memory:
        parts += ["", *_memory(plan)]
    return "\n".join([*parts, "", "counted and assumed", *(f"  {note}" for note in plan.notes)]) + "\n"


def _memory(plan: Plan) -> list[str]:
    """A row a rule, then what would not fit."""
    heads = "memory a job", "model", "weights", "SAEs", "batch", "buffers", "on a GPU", "beside it", "asked", "on cores"
    rows = [
        (job.rule, job.model, *(amount(size, "B") for size in _sizes(job, plan.asked_bytes.get(job.rule, 0))))
        for job in plan.memory
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (heads, *rows)]
    return [line.rstrip() for line in [*lines, *(f"  {line}" for line in plan.advice)]]


def _sizes(job: JobMemory, asked: float) -> tuple[float, ...]:
    return job.weights, job.saes, job.batch, job.buffers, job.device, job.host, asked, job.cores


def amount(number: float, unit: str = "") -> str:
    """`number` to three significant digits with a decimal prefix: 1.26 G, 320 MB."""
    if number <= 0:
        return "-"
    prefix, size = next((entry for entry in _PREFIXES if number >= 0.9995 * entry[1]), _PREFIXES[-1])
    decimals = max(0, 3 - len(str(int(number / size))))
    return f"{number / size:.{decimals}f} {prefix}{unit}".rstrip()


def hours(value: float) -> str:
    """Hours, to two digits where they are few."""
    if value <= 0:
        return "-"
    return "<0.01" if value < 0.01 else f"{value:,.{0 if value >= 100 else 1 if value >= 1 else 2}f}"


def _row(stage: StagePlan) -> tuple[str, ...]:
    amounts = map(amount, (stage.tokens, stage.forward_flops, stage.sae_flops))
    sizes = amount(stage.read_bytes, "B"), amount(stage.kept_bytes, "B")
    times = map(hours, (stage.gpu_hours, stage.cpu_hours, stage.core_hours))
    return stage.stage, f"{stage.jobs:,}", *amounts, *sizes, *times


def _block_size(size: BlockSize) -> str:
    return (
        f"  {size.model}, {size.layers_per_job}: {size.jobs:,} jobs, {hours(size.load_hours)} GPU h of loads,"
        f" {hours(size.work_hours)} h of encoding; one SAE changed reruns {hours(size.rerun_hours)} h"
    )


def _break_even(changes: float | None) -> str:
    if changes is None:
        return "1 is never cheaper"
    number = math.ceil(changes)
    return f"1 is cheaper from {number:,} changed SAE{'s' if number > 1 else ''} on"
