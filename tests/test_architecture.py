"""Imports run one way: the layers that CONTRIBUTING.md shows, and no circle among modules."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "workflow" / "scripts" / "isogloss"


def layers() -> list[set[str]]:
    """The layers from the top down: the first code block after the heading, a line each."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = re.search(r"^## Layers$.*?^```\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert block
    return [set(line.split("#")[0].replace("·", " ").split()) for line in block[1].splitlines()]


def modules() -> dict[str, Path]:
    names = {path: ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for path, name in names.items() if name != "__init__"}


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """What a module imports from the package, within functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "isogloss":
            module = (node.module or "").removeprefix("isogloss").removeprefix(".")
            for alias in node.names:
                inner = f"{module}.{alias.name}".removeprefix(".")
                yield inner if inner in known else module


def test_every_room_stands_in_one_layer():
    rooms = [name for layer in layers() for name in layer]
    assert len(rooms) == len(set(rooms))
    assert set(rooms) == {name.split(".")[0] for name in modules()}


def test_no_import_runs_upwards_or_to_a_neighbour():
    height = {room: number for number, layer in enumerate(layers()) for room in layer}
    known = modules()
    wrong = [
        f"{name} imports {target}"
        for name, path in known.items()
        for target in imports(path, known)
        if target.split(".")[0] != name.split(".")[0] and height[target.split(".")[0]] <= height[name.split(".")[0]]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other_in_a_circle():
    known = modules()
    graph = {name: {target for target in imports(path, known) if target != name} for name, path in known.items()}
    assert list(TopologicalSorter(graph).static_order())


def test_modules_and_functions_are_read_in_one_sitting():
    """A module has at most 300 lines, a function 60 but for the entry of a stage, which reads top to bottom."""
    entries = {
        alias.name
        for script in PACKAGE.parent.glob("*.py")
        for node in ast.parse(script.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    long = [f"{path}: {len(path.read_text().splitlines())}" for path in PACKAGE.rglob("*.py") if lines(path) > 300]
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.FunctionDef)
                and (node.end_lineno or 0) - node.lineno >= 60
                and node.name not in entries
            ):
                long.append(f"{path}:{node.name}: {(node.end_lineno or 0) - node.lineno + 1}")
    assert not long, "\n".join(long)


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())
