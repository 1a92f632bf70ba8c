"""A plan as plain text."""

import math

from isogloss.plan.study_plan import BlockSizes, Plan, StagePlan

_HEADS = ("stage", "jobs", "tokens", "forward FLOP", "SAE FLOP", "kept", "temp", "GPU h", "CPU h")


def plan_text(plan: Plan) -> str:
    """The table with a row a stage and the total, then how large encode jobs should be, then what was assumed."""
    rows = [_HEADS, *map(_row, plan.stages), _row(plan.total)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines = ["  ".join(_padded(row, widths)).rstrip() for row in rows]
    rule = "-" * max(map(len, lines))
    table = [lines[0], rule, *lines[1:-1], rule, lines[-1]]
    parts = [f"plan of {plan.study}", "", *table]
    if plan.block_sizes:
        parts += ["", "encode jobs by compute.layers_per_job", *map(_blocks, plan.block_sizes)]
    return "\n".join([*parts, "", "counted and assumed", *(f"  {note}" for note in plan.notes)]) + "\n"


def amount(number: float, unit: str = "", digits: int = 3) -> str:
    """`number` to three significant digits with a decimal prefix: 1.26 G, 320 MB."""
    if number <= 0:
        return "-"
    for prefix, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            return f"{_digits(number / size, digits)} {prefix}{unit}"
    return f"{_digits(number, digits)} {unit}".rstrip()


def _digits(value: float, digits: int) -> str:
    whole = len(str(int(value)))
    return f"{value:.{max(0, digits - whole)}f}"


def hours(value: float) -> str:
    """Hours, to two digits where they are few."""
    if value <= 0:
        return "-"
    if value < 0.01:
        return "<0.01"
    return f"{value:,.{0 if value >= 100 else 1 if value >= 1 else 2}f}"


def _row(stage: StagePlan) -> tuple[str, ...]:
    return (
        stage.stage,
        f"{stage.jobs:,}" if stage.jobs else "-",
        amount(stage.tokens),
        amount(stage.forward_flops),
        amount(stage.sae_flops),
        amount(stage.kept_bytes, "B"),
        amount(stage.temp_bytes, "B"),
        hours(stage.gpu_hours),
        hours(stage.cpu_hours),
    )


def _padded(row: tuple[str, ...], widths: list[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]


def _blocks(sizes: BlockSizes) -> str:
    single = (sizes.jobs_of_one_layer, sizes.load_hours_of_one_layer, sizes.rerun_hours_of_one_layer)
    whole = (sizes.jobs_of_all, sizes.load_hours_of_all, sizes.rerun_hours_of_all)
    lines = [
        f"  {sizes.model}, {setting}: {count:,} jobs, {hours(loads)} GPU h of loads, {hours(sizes.work_hours)} h of"
        f" encoding; one SAE changed reruns {hours(rerun)} h"
        for setting, (count, loads, rerun) in (("1", single), ("all", whole))
    ]
    saves = "never cheaper" if sizes.break_even == float("inf") else f"cheaper from {_changes(sizes.break_even)} on"
    return "\n".join([*lines, f"  {sizes.model}: 1 is {saves}; this study has {sizes.setting}"])


def _changes(number: float) -> str:
    count = math.ceil(number)
    return f"{count:,} changed SAE{'s' if count > 1 else ''}"
