"""The alignment loss and its gradient against a naive twin."""

import itertools
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from alignment_world import COUNTRIES, LAYER, SENTENCES, residuals, unit_norm
from isogloss.disparity.alignment import LossSettings, Pair
from isogloss.disparity.gradient import accumulate_gradient
from isogloss.models.adapter import with_lora
from isogloss.models.batching import collate, encode_texts
from isogloss.models.loading import load_base_model, load_causal_model, load_tokenizer
from isogloss.sae.autoencoder import load_encoder, pre_activations


def mixed(sae: Path, lm: Path, texts: list[tuple[list[int], list[int]]], target: Path) -> Path:
    """A copy of an SAE with biases that put each feature's threshold amid its largest values on the texts."""
    shutil.copytree(sae, target)
    encoder = load_encoder(sae)
    batch = collate([ids for pair in texts for ids in pair])
    z = pre_activations(encoder, residuals(load_base_model(lm), batch, [LAYER])[LAYER])
    largest = z.masked_fill(~batch.content[..., None], -torch.inf).amax(dim=1)
    weights = load_file(target / "sae_weights.safetensors")
    weights["b_enc"] -= largest.quantile(0.4, dim=0)
    if encoder.threshold is not None:
        weights["b_enc"] += encoder.threshold
    save_file(weights, target / "sae_weights.safetensors")
    return target


def tuned_model(lm_folder: Path) -> torch.nn.Module:
    """The model with LoRA matrices that already do something."""
    model = with_lora(
        load_causal_model(lm_folder, last_layer=LAYER), [0, 1], ["down_proj", "q_proj"], rank=4, alpha=8.0, dropout=0.0
    )
    for name, matrix in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(matrix, std=0.2)
    return model


def naive_activation(sae, hidden: torch.Tensor, feature: int, inactive: str) -> tuple[torch.Tensor, bool]:
    """The feature on one unpadded text, through SAELens' own encoder; z by the formula."""
    x = hidden[1:]  # without BOS
    if sae.cfg.metadata.get("unit_norm_input"):
        x = torch.stack([row / row.norm() for row in x])
    f = sae.encode(x)[:, feature]
    subtracted = sae.b_dec if sae.cfg.apply_b_dec_to_input else 0
    z = (x - subtracted) @ sae.W_enc[:, feature] + sae.b_enc[feature]
    if f.max() > 0:
        return f.max(), True
    if inactive == "none":
        return f.max() * 0, False
    return (z.max() if inactive == "pre_activation" else z.max() - z.max().detach()), False


def naive_hidden(model, ids) -> torch.Tensor:
    """One text alone through transformers' own hidden states (the model is deeper: its last one is normed)."""
    return model(torch.tensor([list(ids)]), output_hidden_states=True, use_cache=False).hidden_states[LAYER + 1][0]


def naive_loss(model, sae, pairs: list[Pair], settings: LossSettings) -> torch.Tensor:
    def d(a, b):
        return (a - b) ** 2 if settings.distance == "squared" else abs(a - b)

    hidden = {tuple(ids): naive_hidden(model, ids) for pair in pairs for ids in (pair.reference, pair.translation)}
    total = torch.zeros(())
    for pair in pairs:
        english, _ = naive_activation(sae, hidden[tuple(pair.reference)], pair.feature, settings.inactive)
        translated, _ = naive_activation(sae, hidden[tuple(pair.translation)], pair.feature, settings.inactive)
        target = english.detach() if settings.detach_reference else english
        total = total + d(target, translated) + settings.weight * d(english, pair.recorded)
    return total / len(pairs)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters() if "lora" in n}
    model.zero_grad()
    return found


@pytest.fixture(scope="module")
def texts(lm_folder: Path) -> list[tuple[list[int], list[int]]]:
    tokenizer = load_tokenizer(lm_folder)
    english, other = (
        encode_texts(tokenizer, [SENTENCES[lang].format(c, i) for i, c in enumerate(COUNTRIES[:6])])
        for lang in ("en", "hi")
    )
    return list(zip(english, other, strict=True))


@pytest.mark.parametrize(("normed", "distance"), [(True, "squared"), (False, "absolute")])
def test_loss_and_gradient_are_those_of_the_naive_twin(lm_folder, sae_folder, texts, tmp_path, normed, distance):
    from sae_lens import SAE

    folder = unit_norm(sae_folder, tmp_path / "sae") if normed else sae_folder
    if load_encoder(folder).kind != "topk":
        folder = mixed(folder, lm_folder, texts, tmp_path / "mixed")
    encoder, sae = load_encoder(folder), SAE.load_from_disk(folder, device="cpu").requires_grad_(False)
    model = tuned_model(lm_folder)
    twin = with_lora(load_causal_model(lm_folder), [0, 1], ["down_proj", "q_proj"], rank=4, alpha=8.0, dropout=0.0)
    twin.load_state_dict(model.state_dict(), strict=False)

    by_case: dict[tuple[bool, ...], list[Pair]] = {}
    for english, other in texts[:2]:
        with torch.no_grad():
            hidden = [naive_hidden(twin, ids) for ids in (english, other)]
            for feature in range(64):
                case = tuple(naive_activation(sae, h, feature, "none")[1] for h in hidden)
                by_case.setdefault(case, []).append(Pair(english, other, feature, recorded=1.5))
    assert len(by_case) == 4, "both texts on, one of them, none"
    pairs = [pair for found in by_case.values() for pair in found[:2]]

    for inactive, (weight, detach) in itertools.product(
        ("none", "straight_through", "pre_activation"),
        ((0.0, False), (0.7, False), (0.7, True)),
    ):
        settings = LossSettings(distance, weight, inactive, detach)
        expected = naive_loss(twin, sae, pairs, settings)
        expected.backward()
        expected_gradient = gradients(twin)
        for budget in (10_000, 150):  # at once, and in several parts
            terms = accumulate_gradient(model, encoder, LAYER, pairs, settings, budget)
            assert_close((terms.alignment + weight * terms.retention).mean(), expected.detach(), rtol=1e-5, atol=1e-5)
            for name, gradient in gradients(model).items():
                assert_close(gradient, expected_gradient[name], rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_a_feature_that_is_off_gets_a_gradient_only_from_the_surrogates(lm_folder, sae_folder, texts):
    model, encoder = tuned_model(lm_folder), load_encoder(sae_folder)
    encoder = encoder._replace(b_enc=encoder.b_enc.index_fill(0, torch.tensor([5]), -100.0))
    pairs = [Pair(english, other, 5, 1.0) for english, other in texts]
    size = {}
    for inactive in ("none", "straight_through", "pre_activation"):
        # English is off too: lambda 0 leaves the alignment term alone.
        terms = accumulate_gradient(model, encoder, LAYER, pairs, LossSettings("squared", 0.0, inactive, True), 10_000)
        assert terms.inactive.all()
        size[inactive] = max(gradient.abs().max().item() for gradient in gradients(model).values())
        assert (terms.alignment == 0).all() == (inactive != "pre_activation")
    assert size["none"] == 0
    # Straight through, the pull is that of the gap as printed: none here, where English is at 0 too.
    assert size["straight_through"] == 0
    assert size["pre_activation"] > 0
    retained = {}
    for inactive in ("none", "straight_through", "pre_activation"):
        accumulate_gradient(model, encoder, LAYER, pairs, LossSettings("squared", 1.0, inactive, True), 10_000)
        retained[inactive] = max(gradient.abs().max().item() for gradient in gradients(model).values())
    assert retained["none"] == 0 < retained["straight_through"] < retained["pre_activation"]


def test_straight_through_pulls_an_inactive_translation_towards_an_active_reference(
    lm_folder, sae_folder, texts, tmp_path
):
    model, encoder = tuned_model(lm_folder), load_encoder(mixed(sae_folder, lm_folder, texts, tmp_path / "mixed"))
    pairs = [Pair(e, o, f, 1.0) for (e, o), f in itertools.product(texts, range(64))]
    terms = accumulate_gradient(model, encoder, LAYER, pairs, LossSettings("squared", 0.0, "none", True), 10_000)
    gradients(model)
    chosen = [p for p, off, gap in zip(pairs, terms.inactive, terms.alignment, strict=True) if off and gap > 0]
    assert chosen
    for inactive in ("none", "straight_through", "pre_activation"):
        settings = LossSettings("squared", 0.0, inactive, True)
        accumulate_gradient(model, encoder, LAYER, chosen, settings, 10_000)
        found = gradients(model)
        assert all((gradient == 0).all() for gradient in found.values()) == (inactive == "none")
