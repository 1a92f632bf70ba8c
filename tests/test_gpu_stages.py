"""Each stage on CUDA against the CPU at tiny size: `pytest -m gpu`. In bfloat16 both hold to float32 on the CPU."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close

from config_sections import grouped
from isogloss.bilingual.injection import Decoding, decode_masked, encode_sparsely, load_dictionary
from isogloss.causal.ablation import ablated_losses
from isogloss.config.measures import Compute
from isogloss.disparity.alignment import LossSettings, Pair
from isogloss.disparity.gradient import BatchGradient, accumulate_gradient
from isogloss.disparity.lora_training import LoraOptimiser
from isogloss.explorer.spans import Span, measured_spans
from isogloss.models.adapter import with_lora
from isogloss.models.batching import collate
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import load_base_model, load_causal_model
from isogloss.residuals.capture import capture
from isogloss.sae.autoencoder import load_encoder
from isogloss.sae.codes import write_codes
from isogloss.sae.encode import encode
from isogloss.sae.kinds.encoder import unit_norm
from isogloss.sae.quality import measure_quality
from isogloss.sae.recipe import Recipe
from isogloss.sae.top_windows import document_peaks
from isogloss.sae.trainer import make_trainer, residual_chunks, train
from isogloss.scoring.continuations import score_continuations
from isogloss.scoring.lens import lens_of
from isogloss.scoring.sweep import Addition, steered_scores, steering_lens
from isogloss.tables import read_table, write_table
from sae_standins import weights
from standins import TEXTS, tiny_gemma2

pytestmark = pytest.mark.gpu
LAYERS = [0, 1, 2]
# Root mean square of the difference, by that of what the CPU finds in float32.
TOLERANCES = {"float32": 1e-5, "bfloat16": 0.05}


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gemma2(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="module", params=["jumprelu", "topk"])
def saes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SAE a layer in SAELens' two files, written without it."""
    folder = tmp_path_factory.mktemp(request.param)
    cfg = {"architecture": request.param, "d_in": 32, "d_sae": 64, "dtype": "float32", "metadata": {}}
    cfg |= {"apply_b_dec_to_input": False, "normalize_activations": "none"}
    cfg |= {"k": 8, "rescale_acts_by_decoder_norm": False} if request.param == "topk" else {}
    for layer in LAYERS:
        (folder / f"layer_{layer}").mkdir()
        (folder / f"layer_{layer}" / "cfg.json").write_text(json.dumps(cfg))
        save_file(weights(32, 64), folder / f"layer_{layer}" / "sae_weights.safetensors")
    return folder


@pytest.fixture(scope="module")
def translations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [(layer, feature, f"{TEXTS[feature % 6]} {TEXTS[layer]}") for layer in LAYERS for feature in range(0, 64, 4)]
    frame = pl.DataFrame(
        {
            "phrase": range(len(rows)),
            "layer": [row[0] for row in rows],
            "feature": [row[1] for row in rows],
            "text": [row[2] for row in rows],
            "ids": None,
            "chrf": 50.0,
        },
        schema_overrides={
            "phrase": pl.Int64, "layer": pl.Int32, "feature": pl.Int32, "ids": pl.List(pl.Int32), "chrf": pl.Float32
        },
    )  # fmt: skip
    path = tmp_path_factory.mktemp("translations") / "es.parquet"
    write_table(path, frame)
    return path


@contextmanager
def on_cpu() -> Iterator[None]:
    """While open, stages find no GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield


def hold(measured: Callable[[str], Tensor], tolerances: dict[str, float] = TOLERANCES) -> None:
    """What is `measured` in each dtype on CUDA is what the CPU finds in float32; both have none that is not finite."""
    with on_cpu():
        expected = measured("float32").double()
    assert expected.isfinite().all()
    size = expected.square().mean().sqrt()
    for dtype, tolerance in tolerances.items():
        torch.cuda.reset_peak_memory_stats()
        found = measured(dtype)
        assert torch.cuda.max_memory_allocated() > 0
        error = (found.double().cpu() - expected).square().mean().sqrt() / size
        assert error < tolerance, f"{dtype}: {error:.2g}"


def numbers(frame: pl.DataFrame, columns: list[str]) -> Tensor:
    return torch.tensor(frame.select(columns).to_numpy())


def test_capture(lm, translations, tmp_path):
    def measured(dtype: str) -> Tensor:
        settings = {"lm": str(lm), "adapter": None, "translations": {"es": [str(translations)]}, "layers": LAYERS}
        settings |= {"outputs": {"es": str(tmp_path / "es.parquet")}, "feature_stride": 2, "metadata": {}}
        capture(**grouped({**settings, "token_budget": 200, "dtype": dtype}, compute=Compute))
        return torch.tensor(read_table(tmp_path / "es.parquet")["pooled"].to_numpy().copy())

    hold(measured)


def test_encode(lm, saes, translations, tmp_path):
    def measured(dtype: str) -> Tensor:
        settings = {"lm": str(lm), "adapter": None, "sae": str(saes), "translations": {"es": str(translations)}}
        settings |= {"outputs": {"es": str(tmp_path / "es.parquet")}, "layers": LAYERS, "seed": 0, "metadata": {}}
        encode(**grouped({**settings, "token_budget": 200, "dtype": dtype}, compute=Compute))
        # Not the activations: what is next to a threshold may fall on its other side.
        return numbers(read_table(tmp_path / "es.parquet"), ["pre_activation"])

    hold(measured)


def test_codes(lm, saes, translations, tmp_path):
    def measured(dtype: str) -> Tensor:
        settings = {"lm": str(lm), "sae": str(saes), "tables": {key: [str(translations)] for key in ["en", "es"]}}
        settings |= {"kind": "phrases", "reference": "en", "texts": 100, "feature_stride": 3, "layers": LAYERS}
        settings |= {"outputs": {"es": str(tmp_path / "es.parquet")}, "seed": 0, "metadata": {}}
        write_codes(**grouped({**settings, "token_budget": 200, "dtype": dtype}, compute=Compute))
        entries = read_table(tmp_path / "es.parquet").explode("features", "activations").drop_nulls("features")
        # The features' sums over texts, since what is next to a threshold may fall on its other side.
        sums = torch.zeros(len(LAYERS), 64, dtype=torch.float64)
        indices = tuple(torch.tensor(entries[name].to_list()) for name in ("layer", "features"))
        return sums.index_put(indices, torch.tensor(entries["activations"].to_list()).double(), accumulate=True)

    hold(measured, {"float32": 1e-3, "bfloat16": 0.1})


PROMPTS = [[2, *range(10, 10 + length)] for length in (2, 30, 17)]
CHOICES = [[[20], [21, 22], [21, 23, 24]]] * 3


def test_scores_at_all_layers(lm):
    def measured(dtype: str) -> Tensor:
        lens = lens_of(load_causal_model(lm, dtype=getattr(torch, dtype)))
        scored = score_continuations(lens, PROMPTS, CHOICES, layers=LAYERS, state_layers=[1], token_budget=64)
        return torch.stack([one.log_likelihoods for one in scored])

    hold(measured)


def test_steered_scores(lm):
    ways = [Addition(layer, gamma * torch.linspace(-1, 1, 32)) for layer in LAYERS for gamma in (-2.0, 3.0)]

    def measured(dtype: str) -> Tensor:
        model = load_causal_model(lm, dtype=getattr(torch, dtype))
        device = next(model.parameters()).device
        there = [way._replace(vector=way.vector.to(device)) for way in ways]
        return steered_scores(steering_lens(model), PROMPTS, CHOICES, there, token_budget=64)

    hold(measured)


def test_a_step_of_alignment(lm, saes):
    pairs = [Pair(PROMPTS[1], [2, *range(50 + row, 60 + row)], 5 + row, 1.0) for row in range(4)]

    def measured(dtype: str) -> Tensor:
        torch.manual_seed(0)
        model = load_causal_model(lm, last_layer=1, dtype=getattr(torch, dtype))
        device = next(model.parameters()).device
        model = with_lora(model, [0, 1], "all", rank=4, alpha=8.0, dropout=0.0)
        draw = torch.Generator().manual_seed(1)
        matrices = [matrix for matrix in model.parameters() if matrix.requires_grad]
        with torch.no_grad():
            for matrix in matrices:
                matrix.copy_(torch.randn(matrix.shape, generator=draw) * 0.1)
        encoder = load_encoder(saes / "layer_1").to(device)
        accumulate_gradient(model, encoder, 1, pairs, LossSettings(), 100)
        return torch.cat([matrix.grad.flatten().cpu() for matrix in matrices if matrix.grad is not None])

    hold(measured, {"float32": 1e-4, "bfloat16": 0.2})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_steps_as_graphs_train_what_single_kernels_do(lm, saes, dtype):
    """A shape is launched kernel by kernel once, then is a graph; two shapes share their memory."""
    draw = torch.Generator().manual_seed(0)

    def text(length: int) -> list[int]:
        return [2, *torch.randint(4, 320, (length,), generator=draw).tolist()]

    batches = [[Pair(text(width), text(width), row, 1.0) for row in range(4)] for width in (9, 9, 30, 9, 30, 30, 12)]

    def trained(graphs: bool) -> tuple[Tensor, Tensor, int]:
        torch.manual_seed(0)
        model = load_causal_model(lm, last_layer=1, dtype=getattr(torch, dtype), kernels="plain")
        model = with_lora(model, [0, 1], "all", rank=4, alpha=8.0, dropout=0.0)
        optimiser = LoraOptimiser(model, getattr(torch, dtype), rate=1e-3, iterations=100)
        encoder = load_encoder(saes / "layer_1").to(next(model.parameters()).device)
        gradient = BatchGradient(model, encoder, 1, LossSettings(), graphs=graphs)
        losses: list[Tensor] = []
        for step, pairs in enumerate(batches):
            losses.append(gradient.add(pairs, 1000).alignment)
            optimiser.step(step)
        optimiser.finish("here")
        matrices = [matrix.detach().flatten() for matrix in model.parameters() if matrix.requires_grad]
        return torch.stack(losses), torch.cat(matrices), len(gradient.shapes)

    (losses, matrices, none), (captured, from_graphs, shapes) = trained(False), trained(True)
    assert (none, shapes) == (0, 2)
    assert_close(captured, losses, rtol=1e-2, atol=1e-3)
    assert (from_graphs - matrices).norm() < (1e-3 if dtype == "float32" else 5e-2) * matrices.norm()


def own_residual(lm: Path, dtype: str) -> tuple[Tensor, Tensor]:
    """The residual after layer 1 of the prompts, and which of it is their own tokens."""
    model, batch = load_base_model(lm, dtype=getattr(torch, dtype)), collate(PROMPTS)
    read: list[Tensor] = []
    with torch.no_grad():
        visit_residuals(model, batch, [1], lambda _, residual: read.append(residual.clone()))
    return read[0], batch.content.to(read[0].device)


def test_peaks_of_the_search_for_phrases(lm, saes):
    def measured(dtype: str) -> Tensor:
        residual, content = own_residual(lm, dtype)
        encoder = load_encoder(saes / "layer_1").to(residual.device)
        return document_peaks(encoder, residual, content, torch.arange(0, 64, 3, device=residual.device)).activation

    hold(measured, {"float32": 1e-4, "bfloat16": 0.1})


def test_what_is_injected(lm, saes):
    def measured(dtype: str) -> Tensor:
        residual, content = own_residual(lm, dtype)
        dictionary = load_dictionary(saes / "layer_1", 1, d_model=32, device=residual.device)
        codes = encode_sparsely(dictionary.encoder, residual[content])
        mask = torch.arange(64, device=residual.device) % 2 == 0
        return decode_masked(dictionary, codes, mask, Decoding(bias=True, rescale=True))

    hold(measured, {"float32": 1e-4, "bfloat16": 0.3})  # another feature may be the k-th


def test_losses_without_features(lm, saes):
    sets = [torch.arange(0, 64, 2), torch.tensor([5])]

    def measured(dtype: str) -> Tensor:
        model = load_causal_model(lm, dtype=getattr(torch, dtype))
        dictionary = load_dictionary(saes / "layer_1", 1, d_model=32, device=next(model.parameters()).device)
        found = ablated_losses(model, 1, dictionary.encoder, dictionary.w_dec, PROMPTS, sets=sets, token_budget=64)
        return torch.cat([found.plain[None], found.losses])

    hold(measured, {"float32": 1e-4, "bfloat16": 0.05})


def test_sae_training(lm):
    """One step from the same start, and what the SAEs then leave unexplained: on a GPU they multiply in bfloat16."""
    recipe = Recipe(64, 8, 400, 100, 200, 1e-3, 1, 100)
    documents = [[2, *torch.randint(4, 320, (20,), generator=torch.Generator().manual_seed(row)).tolist()]
                 for row in range(30)]  # fmt: skip

    def measured(dtype: str) -> Tensor:
        model = load_base_model(lm, dtype=getattr(torch, dtype))
        chunks = lambda tokens: residual_chunks(  # noqa: E731
            model, iter(documents), LAYERS, tokens, group=200, token_budget=200
        )
        trainer: Any = train(
            lambda _: chunks(400), lambda first: make_trainer(recipe, LAYERS, first, 0), recipe, seed=0
        )
        meters = [(layer, trainer.meter(layer)) for layer in LAYERS]
        figures = measure_quality((chunk.vectors for chunk in chunks(200)), LAYERS, meters)
        return torch.tensor([[figure.fvu, figure.l0] for figure in figures])

    hold(measured, {"float32": 0.02, "bfloat16": 0.05})


def test_residuals_at_norm_one_stay_there():
    assert_close(unit_norm(torch.randn(5, 32, device="cuda")).norm(dim=-1).cpu(), torch.ones(5))


def test_benchmark_scoring(lm):
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance

    from isogloss.benchmarks.run import SharedPromptLM
    from isogloss.models.loading import load_tokenizer

    requests = [
        Instance("loglikelihood", {}, (prompt, f" {choice}"), number)
        for number, prompt in enumerate(TEXTS)
        for choice in ("Euro", "Hindi", "Euro of Austria")
    ]

    def measured(dtype: str) -> Tensor:
        model = load_causal_model(lm, dtype=getattr(torch, dtype))
        lm_eval_model = SharedPromptLM(model, load_tokenizer(lm), token_budget=200)
        return torch.tensor([value for value, _ in lm_eval_model.loglikelihood(requests, disable_tqdm=True)])

    hold(measured)


def test_the_same_bits_twice(lm, translations, tmp_path):
    def pooled() -> Tensor:
        settings = {"lm": str(lm), "adapter": None, "translations": {"es": [str(translations)]}, "layers": LAYERS}
        settings |= {"outputs": {"es": str(tmp_path / "es.parquet")}, "feature_stride": 2, "metadata": {}}
        capture(**grouped({**settings, "token_budget": 200, "dtype": "bfloat16"}, compute=Compute))
        return torch.tensor(read_table(tmp_path / "es.parquet")["pooled"].to_numpy().copy())

    assert torch.equal(pooled(), pooled())


def test_spans_of_the_explorer(lm, saes):
    spans = [
        Span(layer, feature, "phrase", 0, "es", "es", str(feature), TEXTS[feature % 6], None)
        for layer in LAYERS
        for feature in range(0, 64, 4)
    ]

    def measured(dtype: str) -> Tensor:
        compute = Compute.model_construct(token_budget=200, dtype=dtype)
        rows, _ = measured_spans(spans, lm=str(lm), sae=str(saes), compute=compute)
        return torch.tensor([value for row in rows for value in row["activations"]])

    hold(measured, {"float32": 1e-4})  # in bfloat16 a token next to a threshold may fall on its other side
