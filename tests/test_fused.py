"""Faster parts of a model against its own, on the CPU: torch's plain forms of the kernels that a GPU takes."""

import ast
import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import transformers
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.nn.attention.flex_attention import create_block_mask
from torch.testing import assert_close
from transformers import AutoModelForCausalLM
from transformers.models.gemma2 import modeling_gemma2
from transformers.models.gpt_oss import modeling_gpt_oss

from families import FAMILIES, LAYERS
from gpu_bench.kernels import STEPS, forward_parts
from isogloss.config.measures import Compute
from isogloss.models.adapter import save_adapter, with_lora
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import Batch, collate
from isogloss.models.fused import attention, faster, norms
from isogloss.models.fused.attention import attend, plain_attention
from isogloss.models.fused.faster import compile_layers, make_faster, undone
from isogloss.models.fused.liger import Liger, faster_gate
from isogloss.models.fused.sequences import BLOCK, block_mask, sequence_of
from isogloss.models.fused.trial import relative_error
from isogloss.models.hooks import computing, output_after, visit_residuals
from isogloss.models.loading import load_base_model, load_causal_model
from isogloss.models.path import FLEX, OWN, ROWS, Kernels, kernels_of, path_of, reads_padding
from isogloss.models.windows import Sight
from isogloss.residuals.capture import capture
from isogloss.residuals.pooling import Means, each_mean
from isogloss.scoring.trial import packs
from isogloss.tables import table_metadata, write_table
from standins import tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
PACKAGE = Path(faster.__file__).parents[2]
LENGTHS = ((40, 3, 17), (60, 59, 58, 2))  # beyond windows of 16 tokens and within


@pytest.fixture(autouse=True)
def _arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flex attention as plain arithmetic: else torch traces each call first."""
    monkeypatch.setattr(torch.nn.attention.flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)


def make(family: str, dtype: torch.dtype = torch.float32, **more: Any) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, FAMILIES[family].config)(**(FAMILIES[family].settings | more))
    model = AutoModelForCausalLM.from_config(config).eval().to(dtype)
    for name, weight in model.named_parameters():
        if "norm" in name and weight.dim() == 1:
            weight.data += torch.randn(weight.shape) * 0.2  # else all the same
    return model


def batches() -> list[Batch]:
    draw = torch.Generator().manual_seed(0)
    return [collate([torch.randint(3, 320, (n,), generator=draw).tolist() for n in each]) for each in LENGTHS]


@torch.inference_mode()
def residuals(model: nn.Module, layers: Sequence[int] = range(LAYERS)) -> Tensor:
    """The stream after each layer, at the texts' tokens."""
    parts = []
    for batch in batches():
        read: list[Tensor] = []
        visit_residuals(model, batch, layers, lambda _, r, b=batch, to=read: to.append(r[b.attention_mask.bool()]))
        parts.append(torch.stack(read))
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "llama", "qwen3", "gpt_neox", "gpt_oss"])
def test_bfloat16_is_as_close_to_float32_as_by_transformers(family: str):
    # All experts: of those chosen by close scores a rounding may make others, on either path, as much as all else errs.
    model = make(family, torch.bfloat16, **({"num_experts_per_tok": 4} if family == "gpt_oss" else {}))
    exact, own = residuals(copy.deepcopy(model).float()), residuals(model)
    make_faster(model)
    counted = {"gemma2": 17, "gemma3": 25, "llama": 9, "qwen3": 17, "gpt_oss": 9}.get(family)
    assert path_of(model).norms == (f"{counted} torch.nn.functional.rms_norm" if counted else OWN)
    assert path_of(model).rows == ROWS
    assert not torch.equal(residuals(model), own)
    assert relative_error(residuals(model), exact) <= 1.1 * relative_error(own, exact)


@pytest.mark.parametrize("family", ["gemma4", "olmo3", "cohere2", "gpt_oss", "phi"])
def test_float32_gives_the_same_numbers_and_may_pack(family: str):
    model = make(family)
    own, packed = residuals(model), packs(model)
    make_faster(model)
    assert path_of(model).rows == ROWS
    assert_close(residuals(model), own, atol=1e-4, rtol=1e-4)
    assert packs(model) == packed


def test_what_cannot_be_one_sequence_stays_padded(caplog: pytest.LogCaptureFixture):
    """By layers that read in order, by distances that go by columns, by what a model does with its masks."""
    caplog.set_level(logging.INFO, logger="isogloss")
    for family, word in (("lfm2", "takes no other"), ("bloom", "takes no other"), ("gpt2", "flex attention fails")):
        model = make(family)
        own, implementation = residuals(model), model.config._attn_implementation
        make_faster(model)
        assert path_of(model)[2:] == Kernels()[2:]
        assert model.config._attn_implementation == implementation
        assert_close(residuals(model), own, atol=1e-4, rtol=1e-4)
        assert any(word in line for line in caplog.messages)


def test_parts_are_on_one_model_and_come_off():
    model, other = make("gemma2"), make("gemma2")
    own = residuals(model)
    make_faster(model)
    assert any("forward" in module.__dict__ for module in model.modules())
    assert (model.config._attn_implementation, other.config._attn_implementation) == (FLEX, "eager")
    assert not any("forward" in module.__dict__ for module in other.modules())
    assert torch.equal(residuals(other), own)
    assert kernels_of(other) == {"kernels": dict.fromkeys(["norms", "gates", "attention", "rows", "layers"], OWN)}
    undone(model)
    assert not any("forward" in module.__dict__ for module in model.modules())
    assert torch.equal(residuals(model), own)
    assert path_of(model) == Kernels()


def test_on_the_cpu_a_model_is_loaded_as_it_is(tmp_path):
    folder = tiny_model(tmp_path / "lm", family="llama")
    for model in (load_base_model(folder), load_causal_model(folder)):
        assert path_of(model) == Kernels()
        assert not any("forward" in module.__dict__ for module in model.modules())
        assert model.config._attn_implementation == "sdpa"


def test_every_stage_that_loads_a_model_says_which_kernels_it_may_take_and_took():
    without = []
    for path in sorted(PACKAGE.rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        names = [(ast.unparse(call.func), [keyword.arg for keyword in call.keywords]) for call in calls]
        loads = [given for name, given in names if name in ("load_base_model", "load_causal_model")]
        without += [path.name for given in loads if "kernels" not in given]
        if loads and "kernels_of" not in dict(names):
            without.append(path.name)
    assert not without


def test_who_reads_streams_in_batches_says_whether_the_model_reads_padding():
    silent = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        by_name = {ast.unparse(call.func): [keyword.arg for keyword in call.keywords] for call in calls}
        if {"visit_residuals", "each_batch"} <= by_name.keys() and "padded" not in by_name["each_batch"]:
            silent.append(path.name)
    assert silent == []


def test_batches_by_the_texts_own_tokens_give_the_same_means():
    """Of which there are fewer, and none without its padding is larger than the budget."""
    draw = torch.Generator().manual_seed(0)
    ids = [torch.randint(3, 320, (n,), generator=draw).tolist() for n in (3, 40, 5, 9, 60, 58, 4, 31, 12, 2)]
    model, found, sizes = make("gemma2"), [], []
    for parts in ((), ("attention", "sequences")):
        make_faster(model, parts=parts)
        assert reads_padding(model) == (not parts)
        means = torch.zeros(len(ids), LAYERS, 32)
        forwards: list[int] = []

        def keep(part: Means, means: Tensor = means, forwards: list[int] = forwards) -> None:
            means[part.rows] = part.vectors
            forwards.append(sum(len(ids[row]) for row in part.rows))

        each_mean(model, ids, range(LAYERS), keep, token_budget=128)
        found.append(means)
        sizes.append(forwards)
    assert_close(*found, atol=1e-5, rtol=1e-4)
    assert len(sizes[1]) < len(sizes[0])
    assert max(sizes[1]) <= 128


def test_tables_name_the_path_that_their_numbers_took(tmp_path):
    rows = {"phrase": [0], "layer": [1], "feature": [5], "text": ["Euro of Austria"], "ids": [None], "chrf": [50.0]}
    types = {"layer": pl.Int32, "feature": pl.Int32, "ids": pl.List(pl.Int32)}
    write_table(tmp_path / "es.parquet", pl.DataFrame(rows, schema_overrides=types))
    capture(
        lm=str(tiny_model(tmp_path / "lm", family="llama")),
        adapter=None,
        translations={"es": [str(tmp_path / "es.parquet")]},
        outputs={"es": str(tmp_path / "out.parquet")},
        layers=[0, 1],
        feature_stride=1,
        compute=Compute(),
        metadata={"rule": "capture"},
    )
    metadata = table_metadata(tmp_path / "out.parquet")
    assert metadata["rule"] == "capture"
    assert metadata["kernels"] == dict.fromkeys(["norms", "gates", "attention", "rows", "layers"], OWN)


def test_a_layer_is_read_padded_for_who_goes_on_from_there():
    model, batch = make("llama"), batches()[0]
    own = output_after(model, batch, 1)
    make_faster(model, parts=("attention", "sequences"))
    with torch.inference_mode():
        assert_close(output_after(model, batch, 1), own)


def test_gradients_go_through_the_padded_batch_as_before():
    model = make("gemma2")
    gradients = []
    for _ in range(2):
        visit_residuals(model, batches()[0], [1], lambda _, residual: residual.square().mean().backward())
        gradients.append(model.model.layers[0].self_attn.q_proj.weight.grad.clone())
        model.zero_grad()
        make_faster(model)
    assert_close(*gradients, atol=1e-5, rtol=1e-4)


class Odd(nn.Module):
    """Something with one vector of weights and an epsilon."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.weight = kind, nn.Parameter(torch.rand(32) + 0.5)
        self.own_eps = 1e-5

    def forward(self, x: Tensor) -> Tensor:
        eps = 1e-3 if self.kind == "another epsilon" else self.own_eps
        x32 = x.float() - (x.float().mean(-1, keepdim=True) if self.kind == "layer norm" else 0)
        size = x32.abs().mean(-1, keepdim=True) if self.kind == "L1" else x32.square().mean(-1, keepdim=True)
        normed = x32 / size if self.kind == "L1" else x32 * torch.rsqrt(size + eps)
        return (normed * ((2 if self.kind == "beside two" else 0) + self.weight.float())).type_as(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_norm_is_known_by_what_it_computes(dtype: torch.dtype):
    for kind in ("another epsilon", "layer norm", "L1", "beside two"):
        assert norms.faster_norm(Odd(kind).to(dtype), None) is None, kind
    assert norms.faster_norm(Odd("plain").to(dtype), None)
    assert not norms.is_norm(nn.LayerNorm(32))
    assert not norms.is_norm(nn.Linear(32, 32, bias=False))


def silu_gate(gate: Tensor, up: Tensor) -> Tensor:
    return nn.functional.silu(gate.float()).type_as(gate) * up


def broken(*_: Any, **__: Any) -> Tensor:
    raise RuntimeError("0 active drivers ([]). There should only be one.\nsecond line")


def rms_of_liger(x: Tensor, weight: Tensor, eps: float, offset: float, mode: str, in_place: bool) -> Tensor:
    """As liger-kernel's documentation says of its casting modes."""
    assert not in_place  # it would write into the gradient of what else reads its output
    normed = nn.functional.rms_norm(x.float(), weight.shape, eps=eps)
    if mode == "llama":
        return normed.type_as(x) * (offset + weight)
    return (normed * (offset + weight.float())).type_as(x)


def test_ligers_parts_stand_where_they_equal_the_models_own(monkeypatch: pytest.MonkeyPatch):
    stand_in = Liger(rms_of_liger, {"GeGLU": lambda g, u: nn.functional.gelu(g) * u, "SwiGLU": silu_gate})
    monkeypatch.setattr(faster, "load_liger", lambda: stand_in)
    for family, counts in (("llama", ("9 liger-kernel", "4 liger-kernel")), ("gemma2", ("17 liger-kernel", OWN))):
        model = make(family)  # Gemma's GELU is by tanh
        own = residuals(model)
        make_faster(model, parts=("norms", "gates"))
        assert path_of(model)[:2] == counts
        assert_close(residuals(model), own, atol=1e-4, rtol=1e-4)
    mlp = make("llama").model.layers[0].mlp
    forward: Any = faster_gate(mlp, stand_in)
    mlp.gate_proj = nn.Linear(32, 64)  # an adapter, say
    x = torch.randn(3, 32)
    assert_close(forward(x), mlp(x))
    mlp.down_proj = nn.Sequential(mlp.down_proj, nn.Tanh())
    assert faster_gate(mlp, stand_in)  # what a part computes is its own affair
    mlp.forward = lambda x: 2 * mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x))
    assert faster_gate(mlp, stand_in) is None


@pytest.mark.parametrize("failing", ["at import", "at the first kernel", "none here"])
def test_without_a_triton_that_works_torchs_own_stand_in(
    failing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def load() -> Liger:
        if failing == "at import":
            raise ImportError("libcuda.so.1: cannot open shared object file")
        if failing == "none here":
            raise ModuleNotFoundError("No module named 'triton'", name="triton")
        return Liger(broken, {"SwiGLU": broken})

    caplog.set_level(logging.INFO, logger="isogloss")
    monkeypatch.setattr(faster, "load_liger", load)
    model = make("llama")
    own = residuals(model)
    make_faster(model, parts=("norms", "gates"))
    assert path_of(model)[:2] == ("9 torch.nn.functional.rms_norm", OWN)
    assert_close(residuals(model), own)
    lines = [line for line in caplog.messages if "without liger" in line]
    assert len(lines) == (2 if failing == "at the first kernel" else 1)
    assert not any("\n" in line for line in lines)


def test_attention_that_fails_or_gives_other_numbers_is_taken_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, logger="isogloss")
    for wrong, line in (
        (broken, r"eager): flex attention fails (RuntimeError: 0 active drivers"),
        (lambda *_, **__: torch.zeros(1), "fails ("),
        (lambda _, query, *__, **___: (query.transpose(1, 2), None), "gives other numbers"),
    ):
        monkeypatch.setattr(attention, "attend", wrong)
        model = make("gemma2")
        own = residuals(model)
        make_faster(model, parts=("attention", "sequences"))
        assert path_of(model) == Kernels()
        assert torch.equal(residuals(model), own)
        assert any(line in message for message in caplog.messages)
        caplog.clear()


class _Module(nn.Module):
    num_key_value_groups = 2


@pytest.mark.parametrize("sinks", [False, True])
@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("mask", ["none", "bool", "added"])
def test_attention_is_that_of_the_formula_and_of_transformers(mask: str, softcap: float | None, sinks: bool):
    query, key, value = (torch.randn(2, heads, 20, 8) * 2 for heads in (4, 2, 2))
    allowed = torch.ones(20, 20, dtype=torch.bool).tril() & (torch.rand(2, 1, 20, 20) < 0.7)
    allowed |= torch.eye(20, dtype=torch.bool)
    added = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
    given = {"none": None, "bool": allowed, "added": added}[mask]
    s_aux = torch.randn(4) if sinks else None
    module = _Module()
    module.sinks = s_aux  # type: ignore[assignment]
    with torch.inference_mode():
        found, _ = attend(module, query, key, value, given, scaling=0.3, softcap=softcap, s_aux=s_aux)
    plain = plain_attention(query, key, value, given, 0.3, softcap, s_aux).transpose(1, 2)
    assert_close(found, plain, atol=1e-5, rtol=1e-5)
    causal = torch.zeros(20, 20).masked_fill(~torch.ones(20, 20, dtype=torch.bool).tril(), -1e30)
    theirs = causal[None, None] if mask == "none" else added
    if not sinks:
        eager = modeling_gemma2.eager_attention_forward(module, query, key, value, theirs, scaling=0.3, softcap=softcap)
    elif softcap is None:
        eager = modeling_gpt_oss.eager_attention_forward(module, query, key, value, theirs, scaling=0.3)
    else:
        return
    assert_close(plain, eager[0], atol=1e-5, rtol=1e-5)


def test_attention_in_bfloat16_errs_no_more_than_the_formula():
    query, key, value = (torch.randn(4, heads, 60, 8).bfloat16() * 2 for heads in (4, 2, 2))
    sinks = torch.randn(4)
    exact = plain_attention(query.double(), key.double(), value.double(), None, 0.3, 5.0, sinks.double())
    own = plain_attention(query, key, value, None, 0.3, 5.0, sinks)
    with torch.inference_mode():
        found, _ = attend(_Module(), query, key, value, None, scaling=0.3, softcap=5.0, s_aux=sinks)
    assert relative_error(found.transpose(1, 2), exact) <= 1.1 * relative_error(own, exact)


def test_attention_less_exact_than_its_formula_is_taken_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, logger="isogloss")
    right, asked = attention.attend, set()

    def coarse(_: Any, query: Tensor, *more: Any, **others: Any) -> tuple[Tensor, None]:
        output, _ = right(_, query, *more, **others)
        asked.add(others.get("s_aux") is not None)
        return output + output * 2**-9 * torch.randn(output.shape), None  # as another rounding would

    for family, sinks in (("gemma2", False), ("gpt_oss", True)):
        model = make(family, torch.bfloat16)
        make_faster(model, parts=("attention", "sequences"))
        assert path_of(model).rows == ROWS
        undone(model)
        with monkeypatch.context() as patch:
            patch.setattr(attention, "attend", lambda *a, **b: (coarse(*a, **b)[0].bfloat16(), None))
            make_faster(model, parts=("attention", "sequences"))
        assert path_of(model) == Kernels(), family
        assert sinks in asked
        assert any("less exact than its formula in" in line for line in caplog.messages), family
        caplog.clear()


def test_attention_refuses_what_it_does_not_know():
    q = torch.randn(1, 2, 3, 8)
    for more in ({"dropout": 0.1}, {"position_bias": torch.zeros(1)}, {"cache": object()}):
        with pytest.raises(NotImplementedError):
            attend(_Module(), q, q, q, None, **more)


@pytest.mark.parametrize("sight", [Sight(None, None), Sight(16, None), Sight(300, None), Sight(None, 50)])
def test_a_text_of_a_sequence_sees_itself_as_far_as_it_may(sight: Sight):
    draw = torch.Generator().manual_seed(1)
    lengths = [1, 300, 5, 127, 128, 260, 2, 90]
    batch = collate([torch.randint(3, 320, (n,), generator=draw).tolist() for n in lengths])
    sequence = sequence_of(batch, torch.device("cpu"))
    tokens = sequence.input_ids.shape[1]
    assert tokens % BLOCK == 0
    assert tokens - sum(lengths) < BLOCK
    assert torch.equal(sequence.input_ids[0][sequence.slots][batch.content], batch.input_ids[batch.content])
    allowed = torch.zeros(tokens, tokens, dtype=torch.bool)
    start = 0
    for length in [*lengths, *[1] * (tokens - sum(lengths))]:
        for query in range(length):
            first = 0 if sight.window is None else max(0, query - sight.window + 1)
            first = first if sight.chunk is None else query // sight.chunk * sight.chunk
            allowed[start + query, start + first : start + query + 1] = True
        assert sequence.position_ids[0, start : start + length].tolist() == list(range(length))
        start += length
    mask = block_mask(sequence, sight)
    at = torch.arange(tokens)
    assert torch.equal(torch.broadcast_to(mask.mask_mod(0, 0, at[:, None], at), allowed.shape), allowed)  # type: ignore
    dense = create_block_mask(lambda _, __, q, k: allowed[q, k], None, None, tokens, tokens, device="cpu").to_dense()
    blocks = mask.to_dense()
    assert (blocks >= dense).all()  # none is left out that is seen
    assert blocks.sum() <= dense.sum() + len(lengths)  # and hardly any is looked at for nothing


@pytest.mark.workflow  # a compiler takes seconds
@pytest.mark.parametrize("family", ["gemma3"])
def test_one_graph_serves_all_layers_of_a_kind_and_hooks_stay_outside(family: str):
    torch._dynamo.reset()
    model = make(family, num_hidden_layers=6, layer_types=["full_attention", "sliding_attention"] * 3)
    graphs = CompileCounter()
    assert not compile_layers(model, 10**15, backend=graphs)  # nothing faster is there
    make_faster(model)
    own = residuals(model, range(6))
    assert not compile_layers(model, 1000, backend=graphs)
    assert graphs.frame_count == 0
    assert compile_layers(model, 10**15, backend=graphs)
    assert path_of(model)[:2] == (OWN, OWN)
    assert path_of(model).layers == "compiled"
    assert_close(residuals(model, range(6)), own, atol=1e-4, rtol=1e-4)
    assert_close(residuals(model, [2]), own[2:3], atol=1e-4, rtol=1e-4)
    assert graphs.frame_count <= 2 * 3  # kinds, by two sizes and then any
    layer, before = decoder_of(model).layers[1], graphs.frame_count
    compiled = layer.forward
    with computing(lambda hidden, *_, **__: hidden, [layer]):
        assert not torch.allclose(residuals(model, [1]), own[1:2], atol=1e-2)
    assert layer.forward is compiled
    residuals(model, range(6))
    assert graphs.frame_count == before


@pytest.mark.workflow  # a compiler takes seconds
def test_layers_that_cannot_be_compiled_are_as_they_were(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="isogloss")
    model = make("llama")
    make_faster(model)
    path, own = path_of(model), residuals(model)

    def no_compiler(*_: Any) -> Any:
        raise RuntimeError("no C compiler")

    torch._dynamo.reset()
    assert not compile_layers(model, 10**15, backend=no_compiler)
    assert path_of(model) == path
    assert torch.equal(residuals(model), own)
    assert any("layers as they are: compiled fails" in line and "\n" not in line for line in caplog.messages)


def test_an_adapter_computes_in_the_models_precision_and_errs_no_more(tmp_path):
    folder = tiny_model(tmp_path / "lm", family="llama")
    tuned = with_lora(load_causal_model(folder), [0, 1], "all", rank=4, alpha=8.0, dropout=0.0)
    for name, matrix in tuned.named_parameters():
        if "lora_" in name:
            matrix.data = torch.randn(matrix.shape) * 0.05
    save_adapter(tuned, tmp_path / "adapter", "model")
    load = lambda dtype: load_base_model(folder, adapter=tmp_path / "adapter", dtype=dtype)  # noqa: E731
    whole, half = load(torch.float32), load(torch.bfloat16)
    kinds = [{weight.dtype for name, weight in each.named_parameters() if "lora_" in name} for each in (whole, half)]
    assert kinds == [{torch.float32}, {torch.bfloat16}]
    exact, found = residuals(whole, range(3)), residuals(half, range(3))
    for name, matrix in half.named_parameters():
        if "lora_" in name:  # as PEFT would have them by itself
            matrix.data = whole.get_parameter(name).data.clone()
    assert relative_error(found, exact) <= 1.1 * relative_error(residuals(half, range(3)), exact)


@pytest.mark.workflow
def test_the_bench_gives_figures_for_each_step_and_the_model_back():
    model = make("gemma2")
    figures = forward_parts(model, [[2, 3, 4, 5]] * 3, LAYERS, token_budget=32, repeats=1, backend="eager")
    assert all(figures[f"{name}_to_own"] > 0 for name in list(STEPS)[1:])
    assert figures["kernels"]["sequences"]["rows"] == ROWS
    assert path_of(model) == Kernels()
