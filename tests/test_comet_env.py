"""COMET's environment, made by pip from its own file, and the stage in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="COMET's environment has Python 3.11"),
]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float] | str]:
    folder = tmp_path_factory.mktemp("comet")
    conda, pip = yaml.safe_load((ROOT / "envs/comet.yaml").read_text())["dependencies"], "pip"
    packages = next(part[pip] for part in conda if isinstance(part, dict))
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    python = folder / "env/bin/python"
    subprocess.run([python, "-m", pip, "install", "--quiet", *packages], check=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow/scripts"), "HF_HUB_OFFLINE": "1"}
    subprocess.run(
        [python, "-W", "ignore", ROOT / "tests/comet_in_env.py", folder / "run"], check=True, env=environment
    )
    return json.loads((folder / "run/said.json").read_text())


def test_the_stage_gives_the_scores_of_comet(said: dict[str, list[float]]):
    assert len(set(said["comet"])) == 3
    assert said["stage"] == pytest.approx(said["comet"], abs=1e-4)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("a weight is lacking", "model.ckpt lacks encoder.model.embeddings.word_embeddings.weight; fetch it again"),
        ("a weight of another shape", "COMET cannot load it (RuntimeError"),
        ("no settings", "COMET cannot load it ("),
        ("no encoder there", "COMET cannot load it (OSError: Can't load tokenizer for '/no/where'"),
        ("another class", "COMET cannot load it (KeyError: 'other')"),
        ("the class of another model", "COMET cannot load it (RuntimeError"),
    ],
)
def test_what_comet_refuses_is_one_line(said: dict[str, str], fault: str, sentence: str):
    assert said[fault].startswith("FOLDER: ")
    assert sentence in said[fault]
    assert "\n" not in said[fault]
