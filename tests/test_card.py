import pytest
import torch

from isogloss.determinism import make_deterministic
from isogloss.errors import IsoglossError
from isogloss.models.fused.card import Card, check_dtype, first_line, why_no_gpu, why_no_kernels

OLD, OLDER, NEW = Card("Tesla T4", (7, 5)), Card("Tesla P100", (6, 0)), Card("NVIDIA H100", (9, 0))
OLD_DRIVER = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver\nby downloading"
)


def test_bfloat16_on_a_card_without_it_stops_in_a_line_that_says_what_to_set():
    for card in (OLD, OLDER):
        with pytest.raises(IsoglossError, match=r"capability \d\.\d\) has no bfloat16.*set compute\.dtype to float32"):
            check_dtype(card, torch.bfloat16)
        check_dtype(card, torch.float32)
    check_dtype(NEW, torch.bfloat16)
    check_dtype(Card("A100", (8, 0)), torch.bfloat16)


def test_triton_needs_a_card_that_it_makes_kernels_for():
    assert why_no_kernels(OLD) is None
    assert why_no_kernels(NEW) is None
    assert why_no_kernels(OLDER) == "Tesla P100 has compute capability 6.0, Triton makes kernels from 7.0 on"


def test_a_gpu_that_cannot_be_used_is_a_line_and_one_that_is_not_there_is_none():
    line = why_no_gpu("12.8", OLD_DRIVER)
    assert line is not None
    assert "built for CUDA 12.8, but the GPU cannot be used (The NVIDIA driver on your system is too old" in line
    assert "\n" not in line
    assert why_no_gpu("12.8", "CUDA unknown error - this may be due to an incorrectly set up environment")
    for quiet in ("No CUDA GPUs are available", "Found no NVIDIA driver on your system. Please check", None):
        assert why_no_gpu("12.8", quiet) is None
    assert why_no_gpu(None, "Torch not compiled with CUDA enabled") is None


def test_another_librarys_message_is_brief():
    assert first_line(RuntimeError("\n  first\nsecond")) == "RuntimeError: first"
    assert first_line(AssertionError()) == "AssertionError"
    assert first_line("x" * 1000) == "x" * 160


def test_memory_that_nobody_wrote_is_not_filled():
    before = torch.utils.deterministic.fill_uninitialized_memory
    threads = torch.get_num_threads()
    try:
        make_deterministic(0, threads)
        assert not torch.utils.deterministic.fill_uninitialized_memory
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = before
