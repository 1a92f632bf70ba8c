"""The names of lm-eval's tasks and groups, without importing it: that and its own index take eight seconds.

A study names a task a language. Whoever reads the Snakefile needs to know which there are, so what was looked up is
kept in Snakemake's own folder for the jobs of the study.
"""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from isogloss.kept import FOLDER, keep, read_kept

KEPT = FOLDER / "isogloss.tasks.json"
NAME = re.compile(rb"""^["']?(?:task|group)["']?[ \t]*:[ \t]*["']?([^\s"'#\[]+)""", re.MULTILINE)


def known_tasks(names: Collection[str]) -> dict[str, str]:
    """Those of `names` that are tasks or groups of lm-eval, each with why it cannot be asked here, "" if it can.

    Of a group only its name is looked up: its tasks are seen when it is fetched. Where lm-eval is not installed beside
    Snakemake (it may be in the environment of the jobs alone) every name passes, and fetching finds out.
    """
    if find_spec("lm_eval") is None:
        return dict.fromkeys(names, "")
    kept, here = read_kept(KEPT), version("lm_eval")
    found = kept.get(here, {})
    if lacking := [name for name in names if name not in found]:
        files = task_files()
        found |= {name: reason(_definition(files[name])) if name in files else None for name in lacking}
        keep(KEPT, {here: found})
    return {name: found[name] for name in names if found[name] is not None}


def nearest(name: str) -> list[str]:
    """Names of lm-eval's that are spelled much like `name`."""
    return get_close_matches(name, list(task_files()), n=4, cutoff=0.75)


def reason(definition: Mapping[str, Any]) -> str:
    """Why the task of this definition cannot be asked; "" if it can, or is a group."""
    if "group" in definition:
        return ""
    if "class" in definition or "custom_dataset" in definition:
        return "is written in Python, with data of its own"
    if (kind := definition.get("output_type", "generate_until")) != "multiple_choice":
        return f"has no choices to score (output_type {kind})"
    if "process_results" in definition:
        return "scores its answers by a function of its own, and has no accuracy"
    if definition.get("doc_to_image") or definition.get("doc_to_audio"):
        return "asks about images or sound"
    return ""


@cache
def task_files() -> dict[str, Path]:
    """The YAML file of every task and group, by name: one reading of some 14,000 small files."""
    spec = find_spec("lm_eval")
    assert spec is not None
    folder = Path(spec.submodule_search_locations[0], "tasks")  # pyright: ignore[reportOptionalSubscript]
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.yaml")):
        for match in NAME.finditer(path.read_bytes()):
            files.setdefault(match[1].decode(), path)
    return files


class _Loader(yaml.SafeLoader):
    """YAML whose `!function` tags are left as texts: nothing is imported."""


_Loader.add_constructor("!function", lambda loader, node: str(loader.construct_scalar(node)))  # pyright: ignore


def _definition(path: Path) -> dict[str, Any]:
    """A definition with those that it includes, its own keys last."""
    own = yaml.load(path.read_bytes(), Loader=_Loader)
    included = own.pop("include", [])
    merged: dict[str, Any] = {}
    for name in [included] if isinstance(included, str) else included:
        merged |= _definition(path.parent / name)
    return merged | own
