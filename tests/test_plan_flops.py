"""FLOPs of the plan against torch's counter on real models and on a run of stand-ins."""

import numpy as np
import polars as pl
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from isogloss.config.measures import Compute
from isogloss.disparity.alignment import LossSettings, Pair
from isogloss.disparity.gradient import accumulate_gradient
from isogloss.models.adapter import with_lora
from isogloss.models.batching import collate
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import load_base_model, load_causal_model
from isogloss.plan import assumptions as assumed
from isogloss.plan import flops
from isogloss.plan.costs import question, study_costs
from isogloss.plan.flops import Decoder, scored, swept
from isogloss.plan.planned_model import PlannedModel
from isogloss.residuals.capture import capture
from isogloss.sae.autoencoder import load_encoder
from isogloss.sae.encode import encode
from isogloss.scoring.continuations import score_continuations
from isogloss.scoring.lens import lens_of
from isogloss.scoring.sweep import Addition, steered_scores, steering_lens
from isogloss.tables import write_table
from planned_study import TINY, planned, pretrained
from standins import TEXTS, tiny_sae

LANGS = ["en", "es", "ml"]


def counted(work):
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


# FLOPs, against torch's counter on real models


def test_a_question_under_the_lens_costs_what_is_counted(lm_folder):
    lens = lens_of(load_causal_model(lm_folder))
    prompt, choices = torch.randint(3, 320, (40,)).tolist(), [[5, 6, 7, 8], [9, 10], [11, 12, 13]]
    found = counted(lambda: score_continuations(lens, [prompt], [choices], layers=[1, 2], token_budget=512))
    assert found == pytest.approx(scored(TINY, 40, [4, 2, 3], probed=2)[1], rel=0.02)


@pytest.mark.parametrize("choices", [[[5], [6]], [[5, 6, 7], [8, 9, 10]]])
def test_a_sweep_of_steering_costs_what_is_counted(lm_folder, choices):
    lens = steering_lens(load_causal_model(lm_folder))
    prompt = torch.randint(3, 320, (30,)).tolist()
    additions = [Addition(layer, gamma * torch.ones(32)) for layer in (0, 2) for gamma in (-2.0, 1.0, 2.0)]
    found = counted(lambda: steered_scores(lens, [prompt], [choices], additions, token_budget=512))
    lengths = [float(len(ids)) for ids in choices]
    assert found == pytest.approx(swept(TINY, 30, lengths, [0, 2], variants=3)[1], rel=0.05)


@pytest.mark.parametrize("last_layer", [0, 1, 2])
def test_a_truncated_forward_costs_its_share(lm_folder, last_layer):
    model = load_base_model(lm_folder, last_layer=last_layer)
    ids = torch.randint(3, 320, (5, 21))
    found = counted(lambda: model(ids, use_cache=False))
    expected = flops.forward(TINY, last_layer + 1, 5 * 21, 5 * 21**2)
    assert found == pytest.approx(expected, rel=0.02)
    whole = load_base_model(lm_folder)
    stopped = counted(lambda: visit_residuals(whole, collate(ids.tolist()), [last_layer], lambda *_: None))
    assert stopped == pytest.approx(expected, rel=0.02)


def test_logits_cost_the_head(lm_folder):
    model = load_causal_model(lm_folder)
    ids = torch.randint(3, 320, (2, 30))
    found = counted(lambda: model(ids, use_cache=False))
    assert found == pytest.approx(flops.forward(TINY, 3, 60, 2 * 900) + flops.head(TINY, 60), rel=0.02)


def test_weights_are_those_of_the_model(lm_folder):
    model = AutoModelForCausalLM.from_pretrained(lm_folder)
    norms = sum(weight.numel() for name, weight in model.named_parameters() if "norm" in name)
    assert TINY.parameters() + norms == sum(weight.numel() for weight in model.parameters())
    assert TINY.parameters(2) == TINY.parameters() - TINY.layer_parameters


def test_a_model_without_gated_mlp():
    from transformers import GPTNeoXConfig, GPTNeoXModel

    config = GPTNeoXConfig(
        vocab_size=64, hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
    )
    config._attn_implementation = "eager"  # the counter does not know the CPU's fused attention
    model = GPTNeoXModel(config).eval()
    found = counted(lambda: model(torch.randint(0, 64, (2, 20)), use_cache=False))
    decoder = Decoder(2, 32, 128, 4, 4, 8, 64, gated=False)
    assert found == pytest.approx(flops.forward(decoder, 2, 40, 800), rel=0.02)


@pytest.mark.parametrize(("target", "tuned"), [(2, [0, 1, 2]), (2, [1, 2]), (1, [1])])
@pytest.mark.parametrize("kind", ["jumprelu", "topk"])
def test_a_step_of_the_alignment(lm_folder, tmp_path, target, tuned, kind):
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = with_lora(load_causal_model(lm_folder, last_layer=target), tuned, modules, rank=1, alpha=8.0, dropout=0.0)
    encoder = load_encoder(tiny_sae(tmp_path, kind=kind))
    pairs = [Pair([2, *[5] * 20], [2, *[7] * 30], feature, 1.0) for feature in range(6)]
    found = counted(lambda: accumulate_gradient(model, encoder, target, pairs, LossSettings(), 10_000))
    tokens, products = 6 * (21 + 31), 6 * (21**2 + 31**2)
    expected = flops.aligned(TINY, target, min(tuned), tokens, products)
    expected += 2 * flops.sae_columns("standard", 32, 64, 1, tokens)
    expected += flops.sae_columns("topk", 32, 64, 0, tokens) if kind == "topk" else 0
    assert found == pytest.approx(expected, rel=0.1)


def test_a_question_and_its_choices_cost_what_is_counted(lm_folder):
    lens, study = lens_of(load_causal_model(lm_folder)), pretrained()
    study["benchmarks"] = {"tasks": {"arc": {"shots": 1}, "mmlu": {"shots": 0}}}
    model = planned(study)
    for task, tokens in (("arc", assumed.CHOICE_TOKENS["arc"]), ("mmlu", 1)):
        total, forward = question(model, task, "en")
        choices = [[5 + first, *[9] * (int(tokens) - 1)] for first in range(assumed.CHOICES)]
        prompt = [7] * int(total - assumed.CHOICES * (tokens - 1))
        found = counted(
            lambda prompt=prompt, choices=choices: score_continuations(
                lens, [prompt] * 3, [choices] * 3, layers=[2], token_budget=10_000, show_progress=False
            )
        )
        assert found == pytest.approx(3 * forward, rel=0.02)


# A stand-in run, counted


@pytest.fixture(scope="module", params=["jumprelu", "topk"])
def ran(request, lm_folder, tmp_path_factory):
    """Results of encode and capture on stand-ins, with what torch counted and how many tokens padding added."""
    from isogloss.models import hooks as stream

    root = tmp_path_factory.mktemp(f"run-{request.param}")
    folder, study = root / "results" / "tiny", pretrained()
    study["models"]["tiny"]["saes"]["kind"] = request.param
    folder.mkdir(parents=True)
    (folder / "lm").symlink_to(lm_folder)
    for layer in range(3):
        tiny_sae(folder / "sae" / f"layer_{layer}", kind=request.param, seed=layer)
        config = folder / "sae" / f"layer_{layer}" / "cfg.json"
        config.write_text(config.read_text().replace("blocks.0.hook", f"blocks.{layer}.hook"))
    rng = np.random.default_rng(0)
    owners = [(layer, feature) for layer in range(3) for feature in range(64)]
    measured = {"encode": 0, "capture": 0, "padded": 0, "lengths": {}}
    read = stream.visit_residuals

    def watched(model, batch, layers, visit):
        measured["padded"] += batch.input_ids.numel()
        read(model, batch, layers, visit)

    for lang in LANGS:
        draws = [rng.choice(sorted({*TEXTS[feature % 6].split(), *"xyz"}), 3, replace=False) for feature in range(64)]
        rows = {
            "phrase": range(len(owners)),
            "layer": [layer for layer, _ in owners],
            "feature": [feature for _, feature in owners],
            "text": [f"{feature} " + " ".join(np.roll(draws[feature], layer)) for layer, feature in owners],
        }
        frame = pl.DataFrame(rows, schema_overrides={"phrase": pl.Int64, "layer": pl.Int32, "feature": pl.Int32})
        path = folder / "translations" / "0-2" / f"{lang}.parquet"
        write_table(path, frame.with_columns(ids=None, status=pl.lit("ok"), chrf=pl.lit(None, pl.Float32)))
        common = {"lm": str(lm_folder), "adapter": None, "layers": [0, 1, 2]}
        common |= {"compute": Compute(token_budget=2000), "metadata": {"study": "stand-in"}}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("isogloss.sae.encode.visit_residuals", watched)
            output = str(folder / "activations" / "base" / "0-2" / lang / f"{lang}.parquet")
            work = {"sae": str(folder / "sae"), "translations": {lang: str(path)}, "outputs": {lang: output}, "seed": 0}
            measured["encode"] += counted(lambda work=work, common=common: encode(**common, **work))
        lengths = pl.read_parquet(output, columns=["layer", "n_tokens"]).filter(layer=0)["n_tokens"].to_numpy() + 1
        measured["lengths"][lang] = lengths.astype(float)
        output = str(folder / "residuals" / "base" / f"{lang}.parquet")
        work = {"translations": {lang: [str(path)]}, "outputs": {lang: output}, "feature_stride": 1}
        measured["capture"] += counted(lambda work=work, common=common: capture(**common, **work))
    return study, measured


def by_rule(study, measured, monkeypatch):
    """Costs by rule, the base model's first, with the lengths that the run's texts have; alike in all layers."""

    def texts(self, langs, number):
        lengths = np.concatenate([measured["lengths"][lang] for lang in langs])
        return number / self.phrases * lengths.sum(), number / self.phrases * (lengths**2).sum()

    monkeypatch.setattr(PlannedModel, "texts", texts)
    model = planned(study)
    return {cost.rule: cost for cost in reversed(list(study_costs(model.study, [model])))}


def test_the_plan_of_encode_is_what_torch_counted(ran, monkeypatch):
    study, measured = ran
    cost = by_rule(study, measured, monkeypatch)["encode"]
    padding = measured["padded"] / cost.tokens
    assert 1 <= padding < 1.2
    assert measured["encode"] == pytest.approx((cost.forward + cost.sae) * padding, rel=0.03)
    assert cost.forward + cost.sae <= measured["encode"]


def test_the_plan_of_capture_is_what_torch_counted(ran, monkeypatch):
    study, measured = ran
    cost = by_rule(study, measured, monkeypatch)["capture"]
    assert cost.forward <= measured["capture"] < 1.2 * cost.forward
