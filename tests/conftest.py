"""Shared fixtures; jaxtyping annotations are enforced at run time in the tests only.

CUDA is hidden, so that a machine with a GPU gives the numbers of one without: naive twins stay on the CPU.
`pytest -m gpu` lifts that for the tests that need it.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# pytest-xdist's workers, which have no arguments, inherit the environment. torch looks at the variable only once.
_arguments = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
_arguments.add_argument("-m", default="")
_marked = _arguments.parse_known_args(sys.argv[1:])[0].m.split()
if "PYTEST_XDIST_WORKER" not in os.environ and "gpu" not in _marked[:1]:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

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
    "causal",
    "latent",
    "disparity",
    "explorer",
    "benchmarks",
    "stats",
)
install_import_hook([f"isogloss.{part}" for part in MEASUREMENTS], "beartype.beartype")

from pathlib import Path

import pytest
import torch

from standins import tiny_gemma2, tiny_sae

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
LONGEST = ("test_small_workflow", "test_readers", "test_overview", "test_lm_eval_tasks")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no worker is left alone with one of them at the end."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


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


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The system's Chromium (a playwright.sync_api.Browser), one for all tests of a process."""
    from playwright.sync_api import sync_playwright

    command = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if command is None:
        names = ", ".join(CHROMIUM)
        pytest.fail(f"no Chromium: none of {names} is there; on Debian: apt install chromium", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=command, args=["--no-sandbox"])
        yield browser
        browser.close()
