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
