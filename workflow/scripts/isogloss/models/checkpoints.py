"""Where a checkpoint lies and which training step it is."""

from pathlib import Path

from isogloss.errors import IsoglossError


def locate(folder: str, name: str) -> tuple[str, int]:
    """Path and training step of the checkpoint `name` (step{N}, or final: the last one there).

    `folder` is that checkpoint, or holds it among others; a model without any other is of step 0. Raises
    `IsoglossError` if it is not there.
    """
    path = Path(folder)
    if name == "final" and (path / "config.json").is_file():
        return str(path), 0
    if path.name.startswith("step") and (name in (path.name, "final")):
        return str(path), int(path.name.removeprefix("step"))
    there = {int(child.name.removeprefix("step")): child for child in path.glob("step*")}
    step = max(there, default=None) if name == "final" else int(name.removeprefix("step"))
    if step not in there:
        known = ", ".join(map(str, sorted(there))) or "none"
        raise IsoglossError(f"{folder}: no checkpoint {name}, there are {known}; delete the folder and run again")
    return str(there[step]), step
