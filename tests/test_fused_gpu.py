"""Faster parts on CUDA, against the same model on the CPU: `pytest -m gpu`."""

import copy
import logging

import pytest
import torch
from torch.testing import assert_close

from isogloss.models.fused.faster import compile_layers, make_faster, undone
from isogloss.models.fused.liger import load_liger
from isogloss.models.fused.trial import relative_error
from isogloss.models.path import OWN, ROWS, path_of
from isogloss.scoring.continuations import score_continuations
from isogloss.scoring.lens import lens_of
from test_fused import make, residuals

pytestmark = pytest.mark.gpu
WIDE = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32}  # a kernel wants heads of 16 at least


def on_gpu(family: str, dtype: torch.dtype):
    model = make(family, dtype, **WIDE)
    return model, copy.deepcopy(model).cuda()


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "llama", "qwen3", "gpt_neox"])
def test_bfloat16_is_as_close_to_float32_as_by_transformers(family: str):
    here, there = on_gpu(family, torch.bfloat16)
    exact, own = residuals(here.float()), residuals(there).cpu()
    make_faster(there)
    assert path_of(there).rows == ROWS
    assert relative_error(residuals(there).cpu(), exact) <= 1.1 * relative_error(own, exact)
    assert torch.equal(residuals(there), residuals(there))


@pytest.mark.parametrize("family", ["gemma2", "qwen3", "gpt_oss"])
def test_float32_gives_the_numbers_of_the_cpu(family: str):
    here, there = on_gpu(family, torch.float32)
    make_faster(there)
    assert path_of(there).rows == ROWS
    assert relative_error(residuals(there).cpu(), residuals(here)) < 1e-5


@pytest.mark.parametrize("family", ["gemma2", "llama"])
def test_compiled_layers_are_as_close(family: str, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="isogloss")
    here, there = on_gpu(family, torch.bfloat16)
    exact, own = residuals(here.float()), residuals(there).cpu()
    make_faster(there)
    assert compile_layers(there, 10**15), caplog.messages
    assert relative_error(residuals(there).cpu(), exact) <= 1.1 * relative_error(own, exact)
    undone(there)
    assert torch.equal(residuals(there).cpu(), own)


def test_liger_stands_where_it_can_be_imported():
    try:
        load_liger()
    except ModuleNotFoundError:
        pytest.skip("no liger-kernel (requirements-gpu.txt)")
    for family in ("gemma2", "llama"):
        _, there = on_gpu(family, torch.bfloat16)
        make_faster(there, parts=("norms", "gates"))
        assert "liger-kernel" in path_of(there).norms
        assert OWN not in path_of(there).norms
        assert path_of(there).gates == "4 liger-kernel"


def test_packed_prompts_score_as_on_the_cpu():
    here, there = on_gpu("gemma2", torch.float32)
    make_faster(there)
    prompts, choices = [[2, *range(10, 10 + n)] for n in (3, 30, 17)], [[[20], [21, 22], [21, 23, 24]]] * 3
    found, expected = (
        torch.stack(
            [
                each.log_likelihoods
                for each in score_continuations(lens_of(model), prompts, choices, layers=[0, 3], token_budget=64)
            ]
        )
        for model in (there, here)
    )
    assert_close(found, expected, atol=1e-3, rtol=1e-4)
