"""How many jobs a study is: Snakemake's own count, from a dry run."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from isogloss.errors import IsoglossError

STAGES: dict[str, tuple[str, ...]] = {
    "fetch": (
        *("fetch_model", "fetch_checkpoint", "fetch_sae", "fetch_exports", "fetch_translator"),
        *("fetch_questions", "fetch_documents", "fetch_parallel_questions"),
    ),
    "train": ("toy_world", "toy_tokenizer", "train_toy", "train_sae"),
    "phrases": ("phrases", "exported_phrases", "phrase_counts"),
    "reproduce": ("reproduce",),
    "translate": ("translate", "translation_quality"),
    "capture": ("capture",),
    "encode": ("encode",),
    "align": ("align",),
    "benchmark": ("benchmark",),
    "ask": ("parallel_questions", "latent_score"),
    "steer": ("steer",),
    "train SAEs": ("tokenise", "search_learning_rate", "train_checkpoint_saes"),
    "features": ("describe_features", "selectivity"),
    "intervene": ("intervene", "score_comet"),
    "statistics": (
        *("similarity", "gap", "controls", "gain", "accuracy", "accuracy_by_teaching", "correlation"),
        *("transfer", "latent_process", "steering", "projection", "latent_by_teaching"),
    ),
    "report": ("planted_truth", "overview", "report_html"),
}
TARGETS = ("all", "results")  # rules that run nothing


def stage_of(rule: str) -> str:
    """The stage that a rule belongs to; a rule that this module does not know is one of its own."""
    if rule.startswith(("figure_", "html_")):
        return "report"
    return next((stage for stage, rules in STAGES.items() if rule in rules), rule)


def count_jobs(study: Path, root: Path, *, whole: bool) -> dict[str, int]:
    """Jobs by rule, as a dry run of the workflow in `root` on `study` counts them.

    `whole`: of the whole study, whether or not there are results; otherwise of what is left to run.
    Raises `IsoglossError` with Snakemake's own words where the dry run fails.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--nolock", "--cores", "1"]
    command += ["--configfile", str(study.absolute()), "--quiet", "rules", "host", "reason"]
    command += ["--forceall"] if whole else ["--rerun-incomplete"]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if run.returncode:
        lines = [line.strip() for line in (run.stdout + run.stderr).splitlines()]
        told = [line for line in lines if line and not line.startswith(("File ", "host:"))]
        raise IsoglossError(f"{study}: snakemake -n fails: {' '.join(told[:4])}")
    jobs = job_stats(run.stdout + run.stderr)
    if whole and not jobs:
        raise IsoglossError(f"{study}: snakemake -n counts no job at all; run it yourself to see why")
    return jobs


def job_stats(output: str) -> dict[str, int]:
    """The counts of Snakemake's table "Job stats"; none where there is nothing to do. Targets are left out."""
    stats: dict[str, int] = {}
    lines = iter(output.splitlines())
    for line in lines:
        if line.strip() == "Job stats:":
            break
    for line in lines:
        if found := re.fullmatch(r"(\S+)\s+(\d+)", line.strip()):
            stats[found[1]] = int(found[2])
        if line.startswith("total"):
            break
    return {rule: count for rule, count in stats.items() if rule not in (*TARGETS, "total")}


def temporary_rules(root: Path) -> set[str]:
    """Rules of the workflow that have an output marked temp()."""
    found = set()
    for path in sorted((root / "workflow" / "rules").glob("*.smk")):
        for block in re.split(r"^(?=(?:rule|checkpoint) )", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            name = re.match(r"(?:rule|checkpoint) (\w+)", block)
            if name and re.search(r"\btemp\(", block):
                found.add(name[1])
    return found


def by_stage(jobs: Mapping[str, int]) -> dict[str, int]:
    """Jobs by stage."""
    counts: dict[str, int] = {}
    for rule, number in jobs.items():
        counts[stage_of(rule)] = counts.get(stage_of(rule), 0) + number
    return counts
