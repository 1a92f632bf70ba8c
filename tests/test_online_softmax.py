"""The online softmax over tiles of the vocabulary against the whole softmax; its Triton kernel against torch."""

import logging
import os
import subprocess
import sys
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, CohereConfig, Gemma2Config, GraniteConfig, LlamaConfig

from isogloss.scoring import online_softmax
from isogloss.scoring.lens import Lens, lens_logits, lens_of, scaling_of, score_words
from isogloss.scoring.online_softmax import Fold, Scaling, fold_by_torch, fold_of, scan_words

TOKENS, WIDTH, VOCABULARY = 11, 16, 320
TILES = [(8192, 32_768), (4, 64), (11, 100), (1, 319)]
SCALINGS = [Scaling(), Scaling(0.25), Scaling(1.0, 2.0), Scaling(3.0, 5.0)]
LLAMA: dict[str, Any] = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
LLAMA |= {"intermediate_size": 64, "num_key_value_heads": 1, "initializer_range": 0.2}
MODELS: dict[str, tuple[Any, Scaling, Scaling]] = {  # with the scaling of hidden layers without soft-cap, of the last
    "llama": (LlamaConfig(**LLAMA), Scaling(), Scaling()),
    "cohere": (CohereConfig(**LLAMA, logit_scale=0.0625), Scaling(0.0625), Scaling(0.0625)),
    "granite": (GraniteConfig(**LLAMA, logits_scaling=8.0), Scaling(0.125), Scaling(0.125)),
    "gemma2": (Gemma2Config(**LLAMA, head_dim=16, final_logit_softcapping=2.0), Scaling(), Scaling(1.0, 2.0)),
}


class Case:
    """Every word at every token."""

    def __init__(self, tokens: int = TOKENS) -> None:
        generator = torch.Generator().manual_seed(0)
        self.hidden = torch.randn(tokens, WIDTH, generator=generator)
        self.weight = torch.randn(VOCABULARY, WIDTH, generator=generator)
        self.bias = torch.randn(VOCABULARY, generator=generator)
        self.rows = torch.arange(tokens).repeat(VOCABULARY)
        self.words = torch.arange(VOCABULARY).repeat_interleave(tokens)

    def held(
        self,
        fold: Fold,
        device: str = "cpu",
        tiles: Sequence[tuple[int, int]] = TILES,
        scalings: Sequence[Scaling] = SCALINGS,
    ) -> None:
        """`fold` makes the whole softmax of these, in tiles of any size, with and without bias."""
        hidden, weight, rows, words = (part.to(device) for part in (self.hidden, self.weight, self.rows, self.words))
        for bias in (None, self.bias):
            output = self.hidden @ self.weight.T + (0 if bias is None else bias)
            shift = None if bias is None else bias.to(device)
            for scaling in scalings:
                expected = scaling.of(output).log_softmax(1)[self.rows, self.words]
                greedy = output.argmax(1)[self.rows] == self.words
                for tile in tiles:
                    found, leads = scan_words(hidden, weight, shift, scaling, rows, words, fold=fold, tile=tile)
                    assert_close(found.cpu(), expected, atol=2e-5, rtol=1e-5)
                    assert torch.equal(leads.cpu(), greedy)


@pytest.fixture
def case() -> Case:
    return Case()


def with_odd_rows(case: Case) -> Case:
    """Equal words within and across tiles, words ruled out by the bias, a row of equal logits."""
    case.weight[[7, 50, 51, 120, 319]] = case.weight[3].clone()
    case.bias[[7, 50, 51, 120, 319]] = case.bias[3].clone()
    case.bias[64:128] = -1e4
    case.hidden[2] = 0
    return case


def test_tiles_make_the_whole_softmax(case: Case):
    case.held(fold_by_torch)


def test_equal_words_and_words_of_no_probability(case: Case):
    with_odd_rows(case).held(fold_by_torch)
    case.bias[:64] = -torch.inf
    case.held(fold_by_torch)
    found, leads = scan_words(
        case.hidden, case.weight, case.bias, Scaling(), case.rows, case.words, fold=fold_by_torch, tile=(4, 32)
    )
    expected = (case.hidden @ case.weight.T + case.bias).log_softmax(1)[case.rows, case.words]
    assert_close(found, expected)
    assert not leads[: 64 * TOKENS].any()


def test_what_is_no_number_is_no_number(case: Case):
    case.hidden[4, 3] = torch.nan
    found, _ = scan_words(case.hidden, case.weight, None, Scaling(1.0, 2.0), case.rows, case.words, tile=(4, 64))
    assert torch.equal(found.isnan(), case.rows == 4)


def test_half_precision_is_multiplied_in_float32(case: Case):
    hidden, weight = case.hidden.bfloat16(), case.weight.bfloat16()
    found, _ = scan_words(hidden, weight, None, Scaling(), case.rows, case.words, tile=(4, 64))
    expected = (hidden.float() @ weight.float().T).log_softmax(1)[case.rows, case.words]
    assert found.dtype == torch.float32
    assert_close(found, expected)


@pytest.mark.parametrize("name", MODELS)
def test_a_heads_scaling_is_found_and_words_are_scored_as_by_the_head_itself(name: str):
    config, hidden, last = MODELS[name]
    model: Any = AutoModelForCausalLM.from_config(config).eval()
    lens = lens_of(model, softcap=False)
    assert lens.scalings is None  # on a CPU
    found = scaling_of(lens, 0), scaling_of(lens, 1)
    for one, expected in zip(found, (hidden, last), strict=True):
        assert one is not None
        assert one.cap == expected.cap
        assert one.factor == pytest.approx(expected.factor, rel=1e-6)
    scanning = lens._replace(scalings=found)
    residual = torch.randn(TOKENS, 32)
    rows, words = torch.arange(TOKENS).repeat(VOCABULARY), torch.arange(VOCABULARY).repeat_interleave(TOKENS)
    with torch.inference_mode():
        for layer in range(2):
            scores, plain = (
                score_words(scanning, residual, layer, rows, words),
                score_words(lens, residual, layer, rows, words),
            )
            assert_close(scores.log_probabilities, plain.log_probabilities)
            assert torch.equal(scores.greedy, plain.greedy)
            expected = lens_logits(lens, residual, layer).log_softmax(1)[rows, words]
            assert_close(scores.log_probabilities, expected)
    assert scaling_of(lens_of(model), 0) == scaling_of(lens_of(model), 1)


def bent(forward: Any) -> Any:
    """Logits that are no `Scaling` of the head's output."""

    def run(*arguments: Any, **named: Any) -> Any:
        output = forward(*arguments, **named)
        output.logits = output.logits.sinh()
        return output

    return run


@pytest.mark.parametrize("change", ["bent", "falling", "adapted"])
def test_a_head_that_does_otherwise_has_no_scaling(change: str):
    model: Any = AutoModelForCausalLM.from_config(GraniteConfig(**LLAMA, logits_scaling=8.0)).eval()
    lens: Lens = lens_of(model)
    if change == "bent":
        model.forward = bent(model.forward)
    elif change == "falling":
        model.config.logits_scaling = -8.0
    else:
        model.lm_head = torch.nn.Sequential(model.lm_head)
    assert scaling_of(lens, 0) is None


def broken(*_: Any) -> None:
    raise RuntimeError("no C compiler\nand more")


def other(*arguments: Any) -> None:
    fold_by_torch(*arguments)
    arguments[3].total.mul_(1.1)


@pytest.mark.parametrize(
    ("fold", "message"), [(broken, "RuntimeError: no C compiler"), (other, "off torch on this device")]
)
def test_a_kernel_that_fails_or_errs_gives_way_to_torch(
    fold: Fold, message: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    module = type(sys)("isogloss.scoring.lens_kernel")
    module.fold_by_triton = fold  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    real = online_softmax._distance
    monkeypatch.setattr(online_softmax, "_distance", lambda tried, _: real(tried, "cpu"))
    fold_of.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert fold_of("cuda") is fold_by_torch
        assert fold_of("cuda") is fold_by_torch
    fold_of.cache_clear()
    assert [record.message.count("\n") for record in caplog.records] == [0]
    assert message in caplog.text


def hold_kernel(device: str) -> None:
    """The kernel makes the whole softmax, in several blocks a tile."""
    from isogloss.scoring import lens_kernel

    if device == "cpu":
        lens_kernel.BLOCK = 128
    case, fold = Case(tokens=3), lens_kernel.fold_by_triton
    case.held(fold, device, [(8192, 32_768)], SCALINGS[::3])
    with_odd_rows(case).held(fold, device, [(2, 200)], SCALINGS[::3])
    case.bias[:100] = -torch.inf
    case.held(fold, device, [(4, 64)], SCALINGS[-1:])
    assert online_softmax._distance(fold, device) < 1e-5
    case.hidden[1, 3] = torch.nan
    hidden, weight, rows, words = (part.to(device) for part in (case.hidden, case.weight, case.rows, case.words))
    found, _ = scan_words(hidden, weight, None, Scaling(1.0, 2.0), rows, words, fold=fold, tile=(2, 64))
    assert torch.equal(found.isnan().cpu(), case.rows == 1)


@pytest.mark.gpu
def test_the_compiled_kernel_makes_the_whole_softmax():
    fold_of.cache_clear()
    if fold_of("cuda") is fold_by_torch:
        pytest.skip("Triton does not compile here: the log says why")
    hold_kernel("cuda")


def test_the_interpreted_kernel_makes_the_whole_softmax():
    """In a process of its own: Triton makes up its mind about interpreting when it is first imported."""
    pytest.importorskip("triton", reason="needs Triton, which comes with torch for CUDA")
    command = [sys.executable, "-c", "import test_online_softmax; test_online_softmax.hold_kernel('cpu')"]
    path = os.pathsep.join(map(str, sys.path))
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_one_tile_is_held_at_a_time(monkeypatch: pytest.MonkeyPatch):
    """As the plan of memory has it."""
    case, make, tiles = Case(), online_softmax._products, []

    def products(*parts: torch.Tensor) -> torch.Tensor:
        assert not any(tile() is not None for tile in tiles)
        made = make(*parts)
        tiles.append(weakref.ref(made))
        return made

    monkeypatch.setattr(online_softmax, "_products", products)
    scan_words(case.hidden, case.weight, case.bias, Scaling(3.0, 5.0), case.rows, case.words, tile=(4, 64))
    assert len(tiles) == 15
