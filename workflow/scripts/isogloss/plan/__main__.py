"""`python -m isogloss.plan STUDY.yaml`: what a study costs, before anything runs."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from isogloss.config import Study, load_study
from isogloss.config.files import read_file
from isogloss.config.questions import Tasks
from isogloss.config.study_file import read_named
from isogloss.errors import IsoglossError
from isogloss.languages import language
from isogloss.plan.assumptions import CARD_BYTES, FERTILITY, PEAK_TFLOPS, Settings
from isogloss.plan.jobs import count_jobs
from isogloss.plan.study_plan import plan_study
from isogloss.plan.table import plan_text
from isogloss.sources.shapes import kept_shape
from isogloss.sources.task_registry import known_tasks, nearest


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan; a mistake ends in its lines and exit status 1."""
    parser = argparse.ArgumentParser(prog="python -m isogloss.plan", description=__doc__)
    parser.add_argument("study", help="configuration file, config/studies/STUDY.yaml say")
    options: dict[str, Any] = {"type": positive_number, "metavar": "X"}
    parser.add_argument("--throughput-tflops", default=PEAK_TFLOPS, help="peak of the GPU in bfloat16 (989)", **options)
    parser.add_argument("--utilisation", help="share of the peak that is reached; by stage, as seen", **options)
    parser.add_argument("--sentences-per-second", help="translated by a job; by engine and compute type", **options)
    parser.add_argument("--card-gb", default=CARD_BYTES / 1e9, help="memory of a GPU (80)", **options)
    options = {"nargs": "*", "default": (), "type": fertility, "metavar": "LANG=X"}
    parser.add_argument("--fertility", help="tokens for one token of English, ml=6.0 say", **options)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args(arguments)
    if (given.utilisation or 0) > 1:
        parser.error(f"argument --utilisation: {given.utilisation:g}: a share, at most 1")
    table = FERTILITY | dict(given.fertility)
    settings = Settings(given.throughput_tflops, given.utilisation, given.sentences_per_second, table)
    try:
        study, root = read_study(given.study), Path.cwd()
        if not (root / "Snakefile").is_file():
            raise IsoglossError(f"{root}: no Snakefile here; run this in the repository's root")
        asked = asked_memory(root / "slurm" / "profile.yaml")
        settings = settings._replace(card_bytes=1e9 * given.card_gb, asked_bytes=asked)
        plan = plan_study(study, count_jobs(Path(given.study), root), settings)
    except IsoglossError as error:
        print(f"isogloss: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(plan), indent=2, ensure_ascii=False) if given.json else plan_text(plan).rstrip())
    return 0


def read_study(path: str) -> Study:
    """The study in a YAML file; errors as `load_study`, and for a file that is none."""
    return load_study(read_named(path), origin=path, shape_of=kept_shape, tasks=Tasks(known_tasks, nearest))


def asked_memory(profile: Path) -> dict[str, int]:
    """Bytes of memory that the cluster's profile asks for, by rule; nothing where there is none."""
    rules = read_file(profile).get("set-resources", {}) if profile.is_file() else {}
    return {rule: asked["mem_mb"] * 2**20 for rule, asked in rules.items() if "mem_mb" in asked}


def fertility(pair: str) -> tuple[str, float]:
    """A language and its tokens for one token of English, from LANG=X."""
    lang, _, value = pair.partition("=")
    try:
        return language(lang).code, positive_number(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive_number(text: str) -> float:
    """An option's value."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return value


if __name__ == "__main__":
    sys.exit(main())
