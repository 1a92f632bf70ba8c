"""A plan as plain text."""

import math

from isogloss.plan.study_plan import BlockSizes, Plan, StagePlan

_HEADS = ("stage", "jobs", "tokens", "forward FLOP", "SAE FLOP", "kept", "GPU h", "CPU h")
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
        parts += ["", "encode jobs by compute.layers_per_job", *map(_block_sizes, plan.block_sizes)]
    return "\n".join([*parts, "", "counted and assumed", *(f"  {note}" for note in plan.notes)]) + "\n"


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
    flops = amount(stage.forward_flops), amount(stage.sae_flops)
    sizes = amount(stage.tokens), *flops, amount(stage.kept_bytes, "B")
    return stage.stage, f"{stage.jobs:,}" if stage.jobs else "-", *sizes, hours(stage.gpu_hours), hours(stage.cpu_hours)


def _block_sizes(sizes: BlockSizes) -> str:
    lines = [
        f"  {sizes.model}, {each.layers_per_job}: {each.jobs:,} jobs, {hours(each.load_hours)} GPU h of loads,"
        f" {hours(each.work_hours)} h of encoding; one SAE changed reruns {hours(each.rerun_hours)} h"
        for each in (sizes.one_layer, sizes.all_layers)
    ]
    changes = "never cheaper"
    if sizes.break_even is not None:
        number = math.ceil(sizes.break_even)
        changes = f"cheaper from {number:,} changed SAE{'s' if number > 1 else ''} on"
    return "\n".join([*lines, f"  {sizes.model}: 1 is {changes}; this study has {sizes.setting}"])
