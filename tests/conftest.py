"""Shared fixtures; jaxtyping annotations are enforced at run time in the tests only."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from jaxtyping import install_import_hook

MEASUREMENTS = (
    "models",
    "text",
    "sources",
    "residuals",
    "sae",
    "scoring",
    "phrases",
    "bilingual",
    "latent",
    "disparity",
    "benchmarks",
    "stats",
)
install_import_hook([f"isogloss.{part}" for part in MEASUREMENTS], "beartype.beartype")

from pathlib import Path

import pytest
import torch

from standins import tiny_gemma2, tiny_sae


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def lm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random three-layer Gemma-2 of width 32."""
    return tiny_gemma2(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="session", params=["topk", "jumprelu", "standard"])
def sae_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SAE of each kind for that model's width."""
    return tiny_sae(tmp_path_factory.mktemp(f"sae-{request.param}"), kind=request.param)
