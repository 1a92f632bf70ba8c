"""What stages hold beside weights and batches, as planned from shapes, against the allocations of their own code."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from allocated import peak_bytes
from isogloss.bilingual.injection import encode_sparsely
from isogloss.bilingual.patterns import strong_activations
from isogloss.config import load_study
from isogloss.disparity import alignment
from isogloss.disparity.alignment import own_activations
from isogloss.explorer import spans as explorer
from isogloss.explorer.spans import Span
from isogloss.models import losses
from isogloss.models.loading import load_causal_model
from isogloss.phrases.reproduction import feature_activation
from isogloss.plan import peaks, sizes
from isogloss.plan.assumptions import Settings
from isogloss.plan.jobs import STAGES
from isogloss.plan.memory import job_memory
from isogloss.plan.peaks import JobMemory
from isogloss.plan.planned_model import planned_model
from isogloss.sae import own_feature, quality, top_windows
from isogloss.sae.autoencoder import load_encoder
from isogloss.sae.kinds.encoder import Encoder, unit_norm
from isogloss.sae.kinds.topk import TopKAutoencoder
from isogloss.sae.own_feature import measure
from isogloss.sae.quality import DenseQualityMeter, QualityMeter
from isogloss.sae.recipe import Recipe
from isogloss.sae.top_windows import document_peaks
from isogloss.sae.trainer import make_trainer
from planned_study import pretrained
from standins import tiny_gemma2
from test_kernels import NO_LANGUAGE_MODEL, rules_with_a_gpu

WIDTH, D_MODEL, TEXTS, LENGTH = 4096, 32, 8, 128
NUMBERS = float(TEXTS * LENGTH * WIDTH)  # of all activations; a quarter of it at once
WIDE = 2**20
KINDS = ["topk", "jumprelu", "standard"]


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Sixteenths of what stages hold at once, here and in the plan."""
    for module in (top_windows, own_feature, alignment, explorer):
        monkeypatch.setattr(module, "_LARGEST", WIDE)
    monkeypatch.setattr("isogloss.bilingual.patterns._LARGEST", WIDE)
    monkeypatch.setattr("isogloss.bilingual.injection._ENTRIES", WIDE)
    monkeypatch.setattr(quality, "_VALUES", WIDE)
    monkeypatch.setattr(sizes, "WIDE", WIDE)


def encoder(kind: str) -> Encoder:
    weight = torch.randn(D_MODEL, WIDTH, generator=torch.Generator().manual_seed(0)) * 0.3
    threshold = torch.full((WIDTH,), 0.5) if kind == "jumprelu" else None
    k = 32 if kind == "topk" else None
    return Encoder(kind, weight, torch.zeros(WIDTH), None, threshold, k, unit_norm_input=False, hook_name=None)


def stream() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(TEXTS, LENGTH, D_MODEL), torch.ones(TEXTS, LENGTH, dtype=torch.bool)


def planned_study(kind: str, stride: int, budget: int = TEXTS * LENGTH) -> peaks.PlannedModel:
    study = pretrained(compute={"dtype": "float32", "token_budget": budget})
    study["phrases"]["feature_stride"] = stride
    model = study["models"]["tiny"]
    model["architecture"] |= {"d_model": D_MODEL}
    model["saes"] |= {"features": WIDTH, "kind": kind}
    return planned_model(load_study(study), "tiny", Settings())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stride", [1, 2, 4, 16])
def test_texts_whose_features_are_sampled(kind, stride):
    """Stages codes and phrases."""
    whole, (residual, content) = encoder(kind), stream()
    planned = peaks._sampled(planned_study(kind, stride), "codes", [0], stride, LENGTH)
    features = torch.arange(0, WIDTH, stride)
    seen = peak_bytes(lambda: document_peaks(whole, residual, content, features))
    # Of few columns all texts are one chunk, beside which there is none before: 17 bytes instead of 21.
    assert planned.buffers * 0.75 < seen < planned.buffers * 1.1
    if stride < 4 or kind == "topk":
        assert seen == pytest.approx(planned.buffers, rel=0.1)


@pytest.mark.parametrize(("kind", "close"), [("topk", 0.1), ("jumprelu", 0.25)])  # few dimensions: z counts, too
def test_features_of_phrases(kind, close):
    """Stage encode: TopK in the whole width; else columns and copies of what they are multiplied by."""
    residual, content = stream()
    rows, features = torch.arange(TEXTS).repeat(200), torch.randint(0, WIDTH, (200 * TEXTS, 3))
    whole, planned = encoder(kind), peaks._encoding(planned_study(kind, 1), [0])
    seen = peak_bytes(lambda: measure(whole, residual, content, rows, features))
    assert seen == pytest.approx(planned.buffers, rel=close)


@pytest.mark.parametrize(("kind", "each"), [("topk", sizes.PRE_ACTIVATIONS), ("jumprelu", sizes.PATTERNS)])
def test_patterns_of_whole_dictionaries(kind, each):
    """Stage describe_features."""
    vectors = stream()[0].flatten(0, 1)
    language = torch.zeros(len(vectors), dtype=torch.long)
    whole = encoder(kind)
    seen = peak_bytes(lambda: strong_activations(whole, vectors, torch.zeros(WIDTH), 0.7, language, 2))
    kept = 0 if kind == "topk" else 10e6  # of random SAEs, half of whose features fire above a part of their maximum
    assert each * WIDE * 0.9 < seen < each * WIDE * 1.1 + kept


def test_one_feature_of_a_record():
    """Stage reproduce: of TopK a text in the whole width."""
    text = stream()[0][0]
    planned = sizes.PRE_ACTIVATIONS * LENGTH * WIDTH
    topk, jumprelu = encoder("topk"), encoder("jumprelu")
    assert peak_bytes(lambda: feature_activation(topk, text, 5)) == pytest.approx(planned, rel=0.1)
    assert peak_bytes(lambda: feature_activation(jumprelu, text, 5)) < 0.01 * planned


def test_codes_of_an_injection():
    """Stage intervene."""
    whole, vectors = encoder("topk"), stream()[0].flatten(0, 1)
    seen = peak_bytes(lambda: encode_sparsely(whole, vectors))
    assert seen == pytest.approx(sizes.PRE_ACTIVATIONS * WIDE, rel=0.1)


def test_pairs_of_alignment(monkeypatch):
    residual, content = stream()
    features = torch.arange(TEXTS)
    monkeypatch.setattr(sizes, "_PAIRS_WIDE", WIDE)
    planned = sizes.pairs_bytes("topk", WIDTH, TEXTS * LENGTH)
    whole = encoder("topk")
    seen = peak_bytes(lambda: own_activations(whole, residual, content, features, "none"))
    assert seen == pytest.approx(planned, rel=0.1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_losses_of_a_head(tmp_path, monkeypatch, dtype):
    """Stages ablate and intervene: logits of a soft-capped head, some tokens at a time."""
    monkeypatch.setattr(losses, "_LOGITS", WIDE)
    model = load_causal_model(tiny_gemma2(tmp_path, vocabulary=2000), dtype=getattr(torch, dtype))
    hidden, targets = torch.randn(4000, 32, dtype=getattr(torch, dtype)), torch.randint(0, 2000, (4000,))
    planned = sizes.LOSSES * WIDE / 2**25
    assert peak_bytes(lambda: losses.token_losses(model, hidden, targets)) == pytest.approx(planned, rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_measuring_an_sae_of_saelens(kind, tmp_path, monkeypatch):
    """Stage measure_saes."""
    from sae_lens import SAE

    from standins import tiny_sae

    sae = SAE.load_from_disk(tiny_sae(tmp_path, kind=kind, d_model=D_MODEL, features=WIDTH))
    monkeypatch.setattr(sizes, "_METER_WIDE", WIDE)
    planned = sizes.meter_bytes(kind, WIDTH, TEXTS * LENGTH)
    meter, vectors = DenseQualityMeter(sae), stream()[0].flatten(0, 1)
    assert peak_bytes(lambda: meter.add(vectors)) == pytest.approx(planned, rel=0.1)


def test_measuring_an_sae_that_was_trained_here():
    meter = QualityMeter(TopKAutoencoder(D_MODEL, WIDTH, 8, generator=torch.Generator()))
    vectors = stream()[0].flatten(0, 1)
    assert peak_bytes(lambda: meter.add(vectors)) == pytest.approx(sizes.PRE_ACTIVATIONS * WIDE, rel=0.1)


@pytest.mark.parametrize("kind", sizes.TRAINED)
def test_a_training_step_of_saelens(kind):
    """Stages train_checkpoint_saes and search_learning_rate where the recipe's kind is not topk."""
    recipe = Recipe(WIDTH, 16, 1, 1024, 1024, 1e-3, 1, 100, kind)
    batch = unit_norm(torch.randn(1, 1024, D_MODEL))
    trainer = make_trainer(recipe, [0], batch, 0)
    trainer.step(batch)
    planned = sizes.training_bytes(D_MODEL, WIDTH, 1, 1024, 1024, "float32", kind).step
    with torch.enable_grad():
        seen = peak_bytes(lambda: torch.enable_grad()(trainer.step)(batch))
    assert seen == pytest.approx(planned, rel=0.1)


@pytest.mark.parametrize("stride", [1, 3, 16])
def test_columns_that_are_held(tmp_path, stride):
    cfg = {"architecture": "jumprelu", "d_in": D_MODEL, "d_sae": WIDTH, "apply_b_dec_to_input": False}
    (tmp_path / "cfg.json").write_text(json.dumps(cfg))
    parts = {"W_enc": torch.randn(D_MODEL, WIDTH), "b_enc": torch.zeros(WIDTH), "threshold": torch.ones(WIDTH)}
    save_file(parts, tmp_path / "sae_weights.safetensors")
    features = torch.arange(0, WIDTH, stride)
    held = load_encoder(tmp_path, features)
    tensors = [each for each in held if isinstance(each, torch.Tensor)]
    assert sum(each.nbytes for each in tensors) == sizes.encoder_bytes(D_MODEL, WIDTH, len(features))


def test_spans_of_the_explorer(lm_folder, tmp_path):
    """Stage explore, whole: of TopK a chunk in the whole width."""
    cfg = {"architecture": "topk", "d_in": D_MODEL, "d_sae": WIDTH, "apply_b_dec_to_input": False, "k": 8}
    (tmp_path / "layer_0").mkdir()
    (tmp_path / "layer_0" / "cfg.json").write_text(json.dumps(cfg))
    parts = {"W_enc": torch.randn(D_MODEL, WIDTH), "b_enc": torch.zeros(WIDTH), "b_dec": torch.zeros(D_MODEL)}
    save_file(parts, tmp_path / "layer_0" / "sae_weights.safetensors")
    spans = [Span(0, 7, "phrase", 0, "es", "es", "", None, None)] * TEXTS
    ids = [(2, *range(10 + row, 10 + row + LENGTH - 1)) for row in range(TEXTS)]
    from isogloss.models.loading import load_base_model

    model, own = load_base_model(lm_folder, last_layer=0), {0: load_encoder(tmp_path / "layer_0")}
    seen = peak_bytes(lambda: explorer.token_activations(model, own, spans, ids, token_budget=TEXTS * LENGTH))
    assert seen == pytest.approx(sizes.PRE_ACTIVATIONS * WIDE, rel=0.25)  # and what the batch leaves


def test_every_rule_that_runs_a_model_has_its_memory_planned():
    """By the code of `peaks`; of translators and COMET the sizes are their authors'."""
    text = Path(peaks.__file__).read_text(encoding="utf-8")
    rules = rules_with_a_gpu().keys() - NO_LANGUAGE_MODEL | {"train_seed_saes", "describe_seed_features"}
    assert [rule for rule in sorted(rules) if f'"{rule}"' not in text] == []
    assert {rule for stage in STAGES.values() for rule in stage.split()} >= rules


def test_columns_of_wide_saes_are_planned_and_topk_is_whole():
    few, every = ({job.rule: job for job in job_memory([planned_study(kind, 16)])} for kind in ("jumprelu", "topk"))
    for rule in ("encode", "codes", "explore"):
        assert isinstance(few[rule], JobMemory)
        assert few[rule].saes < 0.7 * every[rule].saes
        assert every[rule].saes == every[rule].layers * sizes.encoder_bytes(D_MODEL, WIDTH)
