import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, GPT2Config, GPTJConfig, GPTJForCausalLM, MambaConfig

from isogloss.bilingual.dose import injected_norms, scales_to
from isogloss.bilingual.generation import Injection, continue_greedily
from isogloss.bilingual.injection import (
    Decoding,
    Models,
    add_scaled,
    decode_masked,
    encode_sparsely,
    load_dictionary,
)
from isogloss.bilingual.perplexity import document_losses
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of, hidden_of, with_hidden
from isogloss.models.batching import collate
from isogloss.models.decoding import stopping_tokens
from isogloss.models.hooks import changed_after, head_logits, output_after, resumed_after
from isogloss.models.loading import load_base_model, load_causal_model, load_tokenizer
from isogloss.models.losses import token_losses
from isogloss.sae.autoencoder import unit_norm
from standins import FAMILIES, tiny_gemma2, tiny_model, tiny_sae, tiny_tokenizer

DOCUMENTS = [[2, 40, 41, 60], [2, *range(50, 75)], [2, 99], [2, *range(300, 260, -1)], [2, 7, 7, 8, 9, 30]]
EVERYTHING = Decoding(bias=True, rescale=True)


def sae_for(folder: Path, layer: int = 1, *, kind: str = "topk", unit: bool = True, seed: int = 0) -> Path:
    tiny_sae(folder, kind=kind, seed=seed)
    cfg = json.loads((folder / "cfg.json").read_text())
    cfg["metadata"] |= {"hook_name": f"blocks.{layer}.hook_resid_post", "unit_norm_input": unit}
    (folder / "cfg.json").write_text(json.dumps(cfg))
    return folder


def gptj(folder: Path) -> Path:
    """Its layers give tuples."""
    GPTJForCausalLM(
        GPTJConfig(vocab_size=320, n_embd=32, n_layer=3, n_head=2, rotary_dim=8, n_positions=128, bos_token_id=2)
    ).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("kind", ["topk", "topk, rescaled", "jumprelu", "standard"])
def test_encoder_and_decoder_are_those_of_saelens(tmp_path, kind, unit):
    from sae_lens import SAE

    folder = sae_for(tmp_path, kind=kind.split(",")[0], unit=unit)
    if kind.endswith("rescaled"):
        cfg = json.loads((folder / "cfg.json").read_text()) | {"rescale_acts_by_decoder_norm": True}
        (folder / "cfg.json").write_text(json.dumps(cfg))
        weights = load_file(folder / "sae_weights.safetensors")
        weights["W_dec"] *= torch.rand(64, 1) + 0.5
        save_file(weights, folder / "sae_weights.safetensors")
    theirs = SAE.load_from_disk(folder, device="cpu")
    dictionary = load_dictionary(folder, 1, d_model=32, device=torch.device("cpu"))
    x = 5 * torch.randn(40, 32)
    codes = encode_sparsely(dictionary.encoder, x)
    z = theirs.encode(unit_norm(x) if unit else x)
    assert (z > 0).any()
    dense = torch.zeros_like(z).scatter_add(1, codes.features, codes.values)
    assert_close(dense, z, atol=1e-5, rtol=1e-5)
    norms = x.norm(dim=1, keepdim=True) if unit else torch.ones(40, 1)  # such an SAE's output is at the stream's scale

    mask = torch.rand(64) < 0.5
    masked = theirs.decode(z * mask)
    for decoding, expected in {
        Decoding(bias=True, rescale=True): masked * norms,
        Decoding(bias=False, rescale=True): (masked - theirs.b_dec) * norms,
        Decoding(bias=True, rescale=False): masked,
        Decoding(bias=False, rescale=False): masked - theirs.b_dec,
    }.items():
        assert_close(decode_masked(dictionary, codes, mask, decoding), expected, atol=1e-4, rtol=1e-4)
    assert not decode_masked(dictionary, codes, torch.zeros(64, dtype=torch.bool), Decoding(False, True)).any()


def test_codes_are_the_same_in_small_chunks(tmp_path, monkeypatch):
    encoder = load_dictionary(sae_for(tmp_path, kind="jumprelu"), 1, d_model=32, device=torch.device("cpu")).encoder
    x = torch.randn(23, 32)
    whole = encode_sparsely(encoder, x)
    monkeypatch.setattr("isogloss.bilingual.injection._ENTRIES", 5 * 64)
    parts = encode_sparsely(encoder, x)
    for codes in (whole, parts):
        assert codes.features.shape == codes.values.shape
    dense = [torch.zeros(23, 64).scatter_add(1, sparse.features, sparse.values) for sparse in (whole, parts)]
    assert_close(*dense)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("family", [*FAMILIES, "gpt-j"])
def test_going_on_from_a_layer_is_the_whole_forward_in_every_architecture(tmp_path, family, layer):
    folder = gptj(tmp_path) if family == "gpt-j" else tiny_model(tmp_path, family=family)
    model = load_causal_model(folder)
    batch = collate([[2, *range(30, 60)], [2, 50, 60, 70]])
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "use_cache": False}
    with torch.inference_mode():
        plain = model(**inputs).logits
        output = output_after(model, batch, layer)
        added = torch.randn(int(batch.content.sum()), 32)
        for alpha in (0.0, 0.7):
            changed = with_hidden(output, add_scaled(hidden_of(output), batch.content, added, alpha))
            with resumed_after(model, layer, changed):
                resumed = model(**inputs).logits
                hidden = model.base_model(**inputs).last_hidden_state

            def naive(residual, alpha=alpha):
                delta = torch.zeros_like(residual)
                delta[batch.content] = added
                return residual + alpha * delta

            with changed_after(model, layer, naive):
                hooked = model(**inputs).logits
            assert torch.equal(resumed, hooked)
            assert torch.equal(resumed, plain) == (alpha == 0)
            assert torch.equal(head_logits(model, hidden.flatten(0, 1)), resumed.flatten(0, 1))
        assert torch.equal(model(**inputs).logits, plain)  # nothing is left behind


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """An unfinished model, the fully trained one cut off after layer 1, and its SAE."""
    folder = tmp_path_factory.mktemp("pair")
    mid, full = tiny_gemma2(folder / "mid", seed=1), tiny_gemma2(folder / "full", seed=2)
    dictionary = load_dictionary(sae_for(folder / "sae"), 1, d_model=32, device=torch.device("cpu"))
    return load_causal_model(mid), load_base_model(full, last_layer=1), dictionary, folder


def models_of(pair, decoding=EVERYTHING) -> Models:
    model, full, dictionary, _ = pair
    return Models(model, full, 1, dictionary, decoding)


def losses(pair, masks, alphas, *, ids=DOCUMENTS, token_budget=8192, decoding=EVERYTHING):
    return document_losses(models_of(pair, decoding), ids, masks=masks, alphas=alphas, token_budget=token_budget)


def masks_of(count: int) -> list[torch.Tensor]:
    return [torch.rand(64) < 0.5 for _ in range(count)]


def test_loss_is_transformers_own_of_each_document_alone(pair):
    model = pair[0]
    expected = [model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss.item() for ids in DOCUMENTS]
    assert losses(pair, [], [0.1]).plain.tolist() == pytest.approx(expected, rel=1e-5)


def test_injection_at_strength_zero_changes_no_bit(pair):
    found = losses(pair, masks_of(2), [0.0, 0.3])
    assert torch.equal(found.injected[:, 0], found.plain.expand(2, -1))
    assert not torch.equal(found.injected[:, 1], found.plain.expand(2, -1))
    model = pair[0]
    ids = torch.tensor([DOCUMENTS[1]])
    with torch.inference_mode():
        plain = functional.cross_entropy(model(input_ids=ids).logits[0, :-1], ids[0, 1:], reduction="none")
        hidden = model.base_model(input_ids=ids).last_hidden_state[0, :-1]
        assert torch.equal(token_losses(model, hidden, ids[0, 1:]), plain)
    alone = losses(pair, masks_of(1), [0.0], ids=[DOCUMENTS[1]])
    assert alone.injected[0, 0, 0] == plain.double().mean()


def test_many_injections_at_once_are_each_alone_and_ragged_batches_single_documents(pair):
    masks, alphas = masks_of(3), [0.1, 0.5]
    together = losses(pair, masks, alphas)
    for index, mask in enumerate(masks):
        for strength, alpha in enumerate(alphas):
            alone = losses(pair, [mask], [alpha]).injected[0, 0]
            assert torch.equal(together.injected[index, strength], alone)
    for document, ids in enumerate(DOCUMENTS):
        single = losses(pair, masks, alphas, ids=[ids])
        assert_close(single.injected[:, :, 0], together.injected[:, :, document], atol=1e-5, rtol=1e-5)
    assert_close(losses(pair, masks, alphas, token_budget=20).injected, together.injected, atol=1e-5, rtol=1e-5)


def test_norms_are_those_of_what_is_added_and_scales_multiply_it(pair):
    masks = masks_of(3)
    models = models_of(pair)
    expected = np.zeros(3)
    for ids in DOCUMENTS:
        batch = collate([ids])
        with torch.inference_mode():
            codes = encode_sparsely(pair[2].encoder, hidden_of(output_after(pair[1], batch, 1))[batch.content])
            added = [decode_masked(pair[2], codes, mask, EVERYTHING) for mask in masks]
        expected += [float(vector.norm(dim=1).sum()) for vector in added]
    tokens = sum(len(ids) - 1 for ids in DOCUMENTS)
    for budget in (20, 8192):
        norms = injected_norms(models, DOCUMENTS, masks=masks, token_budget=budget)
        assert norms == pytest.approx(expected / tokens, rel=1e-4)
    assert scales_to(np.array([2.0, 3.0]), np.array([4.0, 0.0])).tolist() == [0.5, 1]
    scaled = document_losses(models, DOCUMENTS, masks=masks, alphas=[0.2], token_budget=8192, scales=[1.0, 2.0, 0.5])
    for number, alpha in enumerate((0.2, 0.4, 0.1)):
        alone = losses(pair, [masks[number]], [alpha]).injected[0]
        assert torch.equal(scaled.injected[number], alone)


def test_logits_in_small_chunks_give_the_same_losses(pair, monkeypatch):
    whole = losses(pair, masks_of(1), [0.2])
    monkeypatch.setattr("isogloss.models.losses._LOGITS", 3 * 320)
    assert_close(losses(pair, masks_of(0), [0.2]).plain, whole.plain, atol=1e-6, rtol=1e-6)


def test_full_reconstruction_of_a_model_injected_into_itself_is_the_equation(pair):
    from sae_lens import SAE

    _, _, dictionary, folder = pair
    model = load_causal_model(folder / "full")
    theirs = SAE.load_from_disk(folder / "sae", device="cpu")
    found = document_losses(
        Models(model, load_base_model(folder / "full", last_layer=1), 1, dictionary, EVERYTHING),
        DOCUMENTS,
        masks=[torch.ones(64, dtype=torch.bool)],
        alphas=[1.0],
        token_budget=512,
    )

    def equation(_module, _inputs, output):
        h = output[:, 1:]  # not at BOS
        norm = h.norm(dim=-1, keepdim=True)
        return torch.cat([output[:, :1], h + norm * theirs.decode(theirs.encode(h / norm))], dim=1)

    handle = decoder_of(model).layers[1].register_forward_hook(equation)
    expected = [model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss.item() for ids in DOCUMENTS]
    handle.remove()
    assert found.injected[0, 0].tolist() == pytest.approx(expected, rel=1e-5)
    assert not torch.allclose(found.injected[0, 0], found.plain)


def test_a_feature_that_speaks_for_a_token_makes_documents_with_it_likelier(tmp_path):
    model = load_causal_model(tiny_model(tmp_path / "lm", family="llama"))
    dictionary = load_dictionary(sae_for(tmp_path / "sae", layer=2), 2, d_model=32, device=torch.device("cpu"))
    head = model.lm_head.weight
    token = 77
    direction = functional.normalize(head[token] - head.mean(dim=0), dim=0)
    encoder = dictionary.encoder
    b_enc = torch.full_like(encoder.b_enc, -9.0)
    b_enc[5] = 1.0
    encoder = encoder._replace(b_enc=b_enc, w_enc=torch.zeros_like(encoder.w_enc))
    w_dec = dictionary.w_dec.clone()
    w_dec[5] = direction
    dictionary = dictionary._replace(encoder=encoder, w_dec=w_dec)
    found = document_losses(
        Models(model, load_base_model(tmp_path / "lm"), 2, dictionary, Decoding(bias=False, rescale=True)),
        [[0, 77, 77, 77, 77], [0, 10, 20, 30, 40, 50]],
        masks=[torch.arange(64) == 5, torch.arange(64) != 5],
        alphas=[0.5, 1.0],
        token_budget=512,
    )
    with_token, without = (found.injected[0] - found.plain).T
    assert with_token[1] < with_token[0] < -0.1
    assert (without > with_token).all()
    assert torch.equal(found.injected[1], found.plain.expand(2, -1))  # the others never fire


def naive_generation(pair, prompt, injection, stops, new_tokens, decoding):
    """One prompt, no cache, the whole text each time."""
    model, full, dictionary, _ = pair
    ids = list(prompt)
    for _ in range(new_tokens):
        batch = collate([ids])
        with torch.inference_mode():
            h = hidden_of(output_after(full, batch, 1))[batch.content]
            decoded = decode_masked(dictionary, encode_sparsely(dictionary.encoder, h), injection.mask, decoding)
            with changed_after(model, 1, lambda r, b=batch, d=decoded: add_scaled(r, b.content, d, injection.alpha)):
                token = int(model(input_ids=batch.input_ids).logits[0, -1].argmax())
        if stops[token]:
            break
        ids.append(token)
    return ids[len(prompt) :]


@pytest.fixture(params=["gemma2", "gpt2", "mamba"])
def either_pair(request, pair, tmp_path):
    """Gemma's sliding windows, GPT-2's absolute positions, or Mamba, whose texts are read again at every token."""
    if request.param == "gemma2":
        return pair
    configs = {
        "gpt2": GPT2Config(vocab_size=320, n_embd=32, n_layer=3, n_head=2, initializer_range=0.3),
        "mamba": MambaConfig(vocab_size=320, hidden_size=32, num_hidden_layers=3, state_size=8, initializer_range=0.3),
    }
    for name in ("mid", "full"):
        AutoModelForCausalLM.from_config(configs[request.param]).save_pretrained(tmp_path / name)
    tiny_tokenizer().save_pretrained(tmp_path / "mid")
    return load_causal_model(tmp_path / "mid"), load_base_model(tmp_path / "full", last_layer=1), pair[2], tmp_path


def test_generation_with_caches_and_padding_is_the_naive_one(either_pair):
    pair, folder = either_pair, either_pair[3]
    stops = stopping_tokens(load_tokenizer(folder / "mid"))
    prompts = [[2, *range(30, 52)], [2, 90, 91], [2, *range(100, 107)], [2, 5]]  # longer than the window of 16, too
    first, second = masks_of(2)
    injections = [None, Injection(first, 0.6), Injection(second, 0.6), Injection(first, 0.0)]
    found = continue_greedily(
        models_of(pair),
        prompts,
        injections=injections,
        stops=stops,
        new_tokens=24,
        token_budget=5000,  # all in one batch
    )
    nothing = Injection(first, 0.0)
    for injection, texts in zip(injections, found, strict=True):
        for prompt, text in zip(prompts, texts, strict=True):
            assert text == naive_generation(pair, prompt, injection or nothing, stops, 24, EVERYTHING)
    assert found[3] == found[0]
    assert found[1] != found[0]
    assert any(len(text) == 24 for texts in found for text in texts)


def test_a_translation_ends_at_a_line_break_or_eos(pair):
    tokenizer = load_tokenizer(pair[3] / "mid")
    stops = stopping_tokens(tokenizer)
    assert stops[tokenizer.eos_token_id]
    assert stops[tokenizer("\n", add_special_tokens=False)["input_ids"]].all()  # type: ignore[index]
    assert not stops[tokenizer("a b", add_special_tokens=False)["input_ids"]].any()  # type: ignore[index]
    settings = {"injections": [None], "new_tokens": 6, "token_budget": 64}
    said = continue_greedily(models_of(pair), [[2, 40]], stops=torch.zeros(320) > 0, **settings)[0][0]
    assert len(said) == 6
    later = torch.zeros(320, dtype=torch.bool)
    later[said[3]] = True
    stopped = continue_greedily(models_of(pair), [[2, 40]], stops=later, **settings)[0][0]
    assert stopped == said[: said.index(said[3])]


def test_an_sae_of_another_width_or_layer_is_refused(tmp_path):
    folder = sae_for(tmp_path)
    with pytest.raises(IsoglossError, match="the SAE is for width 32, the model's residual stream has 64"):
        load_dictionary(folder, 1, d_model=64, device=torch.device("cpu"))
    with pytest.raises(IsoglossError, match="not to layer 0"):
        load_dictionary(folder, 0, d_model=32, device=torch.device("cpu"))
