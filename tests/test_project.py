import re
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[1]


def pins(text: str) -> set[str]:
    return set(re.findall(r"^\s*(?:- )?([a-z0-9-]+==[\w.]+)$", text, flags=re.MULTILINE | re.IGNORECASE))


def test_conda_environment_and_constraints_pin_the_same_versions():
    direct = pins((REPOSITORY / "requirements.txt").read_text())
    assert len(direct) > 10
    environment = yaml.safe_load((REPOSITORY / "envs" / "isogloss.yaml").read_text())
    assert set(environment["dependencies"][-1]["pip"]) == direct
    every = {
        pin.lower().replace("_", "-") for pin in pins((REPOSITORY / "constraints.txt").read_text().replace("_", "-"))
    }
    development = pins((REPOSITORY / "requirements-dev.txt").read_text())
    assert {pin.lower() for pin in direct | development} <= every


def test_the_snakefile_stays_thin_and_common_imports_nothing_heavy():
    assert len((REPOSITORY / "Snakefile").read_text().splitlines()) < 60
    common = (REPOSITORY / "workflow" / "rules" / "common.smk").read_text()
    assert not re.search(r"import (torch|polars|pyarrow|seaborn|transformers)", common)


def test_the_slurm_profile_sizes_every_rule_on_a_gpu_and_no_rule_has_retries_or_groups():
    profile = yaml.safe_load((REPOSITORY / "slurm" / "profile.yaml").read_text(encoding="utf-8"))
    rules = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"))
    blocks = re.split(r"^ *(?:use rule \w+ as|rule) (\w+)(?: with)?:", rules, flags=re.MULTILINE)
    bodies = dict(zip(blocks[1::2], blocks[2::2], strict=True))
    assert profile["set-resources"].keys() | profile["set-threads"].keys() <= bodies.keys()
    on_gpu = {name for name, body in bodies.items() if re.search(r'^ +gpu=(?!"local")', body, flags=re.MULTILINE)}
    assert {"capture", "latent_score", "score_comet"} <= on_gpu
    on_gpu |= {"train_seed_saes", "describe_seed_features"}  # as the rules that they are made of
    assert profile["set-threads"].keys() == on_gpu | {"train_toy"}  # which config/README.md says of `--gres`
    # The plugin repeats a rule's own retries inside the job, and sums the GPUs of a group.
    assert not re.search(r"^\s+(retries|group):", rules, flags=re.MULTILINE)
