"""How many jobs a study is: Snakemake's own count, from a dry run."""

import os
import re
import subprocess
import sys
from pathlib import Path

from isogloss.config.folders import PLANNED
from isogloss.errors import IsoglossError

STAGES: dict[str, str] = {  # the rules of each stage
    "fetch": "fetch_model fetch_checkpoint fetch_sae fetch_exports fetch_translator fetch_multilingual"
    " translation_codes fetch_questions fetch_documents fetch_parallel fetch_parallel_questions fetch_tasks"
    " fetch_parallel_tasks",
    "train": "toy_world toy_tokenizer train_toy train_sae",
    "phrases": "phrases exported_phrases phrase_counts",
    "reproduce": "reproduce",
    "translate": "translate translation_quality",
    "capture": "capture",
    "encode": "encode",
    "codes": "codes",
    "align": "align",
    "benchmark": "benchmark",
    "ask": "parallel_questions latent_score",
    "steer": "steer steer_random",
    "train SAEs": "tokenise search_learning_rate train_checkpoint_saes train_seed_saes measure_saes",
    "features": "describe_features describe_seed_features selectivity sae_seeds",
    "intervene": "intervene score_comet",
    "ablate": "ablate",
    "explore": "explore",
    "statistics": "similarity gap controls reciprocal group_inference gain accuracy accuracy_by_teaching correlation"
    " transfer latent_process steering steering_judged projection latent_by_teaching planted_truth join compare_models",
    "report": "summary report_html",
}
TARGETS = ("all", "results")  # rules that run nothing


def stage_of(rule: str) -> str:
    """The stage that a rule belongs to; a rule that this module does not know is one of its own."""
    if rule.startswith(("figure_", "html_")):
        return "report"
    return next((stage for stage, rules in STAGES.items() if rule in rules.split()), rule)


def count_jobs(study: Path, root: Path) -> dict[str, int]:
    """Jobs by rule of the whole study, whether or not there are results, by a dry run of the workflow in `root`.

    Raises `IsoglossError` with Snakemake's own words where the dry run fails.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--forceall", "--nolock", "--cores", "1"]
    command += ["--configfile", str(study.absolute()), "--quiet", "rules", "host", "reason"]
    environment = os.environ | {PLANNED: "1"}
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        lines = [line.strip() for line in (run.stdout + run.stderr).splitlines()]
        message = [line for line in lines if line and not line.startswith(("File ", "host:"))]
        raise IsoglossError(f"{study}: snakemake -n fails: {' '.join(message[:4])}")
    return job_stats(run.stdout + run.stderr)


def job_stats(output: str) -> dict[str, int]:
    """The counts of Snakemake's table "Job stats"; none where there is nothing to do. Targets are left out."""
    table = output.partition("Job stats:")[2].partition("\ntotal")[0]
    rows = re.findall(r"^(\S+)\s+(\d+)$", table, flags=re.MULTILINE)
    return {rule: int(count) for rule, count in rows if rule not in TARGETS}
