"""`python -m isogloss.plan STUDY.yaml`: what a study costs, before anything runs."""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from isogloss.config import Study, load_study
from isogloss.errors import IsoglossError
from isogloss.languages import language_table
from isogloss.plan.assumptions import FERTILITY, Settings
from isogloss.plan.jobs import count_jobs
from isogloss.plan.study_plan import plan_study
from isogloss.plan.table import plan_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan; a mistake ends in its lines and exit status 1."""
    parser = argparse.ArgumentParser(prog="python -m isogloss.plan", description=__doc__)
    parser.add_argument("study", help="configuration file, config/studies/STUDY.yaml say")
    for name, field in Settings.model_fields.items():
        how: dict[str, Any] = {"type": positive_number, "metavar": "X"}
        if name == "translation_device":
            how = {"choices": ["cpu", "gpu"]}
        elif name == "fertility":
            how = {"nargs": "*", "metavar": "LANG=X"}
        default = () if name == "fertility" else field.default
        meaning = f"{field.description} ({default})" if default else field.description
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, help=meaning, **how)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    try:
        study = read_study(options.study)
        values: dict[str, Any] = vars(options) | {"fertility": fertility(options.fertility)}
        settings = Settings(**values)
        if settings.utilisation > 1:
            raise IsoglossError(f"--utilisation {settings.utilisation:g}: a share, at most 1")
        if settings.translation_device == "gpu" and settings.sentences_per_second is None:
            raise IsoglossError("--translation-device gpu: the default speed is a CPU's; give --sentences-per-second")
        root = Path.cwd()
        if not (root / "Snakefile").is_file():
            raise IsoglossError(f"{root}: no Snakefile here; run this in the repository's root")
        start = time.monotonic()
        jobs = count_jobs(Path(options.study), root, whole=True)
        started = any((root / "results" / name).is_dir() for name in study.models)
        left = sum(count_jobs(Path(options.study), root, whole=False).values()) if started else sum(jobs.values())
        elapsed = time.monotonic() - start
        plan = plan_study(study, jobs, settings, results=root / "results")
    except IsoglossError as error:
        print(f"isogloss: {error}", file=sys.stderr)
        return 1
    plan.notes.append(f"jobs left to run: {left:,} of {sum(jobs.values()):,}; counting them took {elapsed:.0f} s")
    print(json.dumps(asdict(plan), indent=2, ensure_ascii=False) if options.json else plan_text(plan).rstrip())
    return 0


def read_study(path: str) -> Study:
    """The study in a YAML file; errors as `load_study`, and for a file that is none."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise IsoglossError(f"{path}: {error.strerror}; give a study file, config/config.yaml say") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise IsoglossError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise IsoglossError(f"{path}: no mapping of keys; see config/README.md for what a study has")
    return load_study(content, origin=path)


def fertility(pairs: Sequence[str]) -> dict[str, float]:
    """The default table with `LANG=X` pairs put in."""
    table = dict(FERTILITY)
    for pair in pairs:
        lang, _, value = pair.partition("=")
        if lang not in language_table():
            raise IsoglossError(
                f"--fertility {pair}: unknown language {lang!r}; allowed: {', '.join(language_table())}"
            )
        try:
            table[lang] = positive_number(value)
        except (ValueError, argparse.ArgumentTypeError):
            raise IsoglossError(f"--fertility {pair}: {value!r} is no positive number; write {lang}=6.0 say") from None
    return table


def positive_number(text: str) -> float:
    """An option's value."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no positive number")
    return value


if __name__ == "__main__":
    sys.exit(main())
