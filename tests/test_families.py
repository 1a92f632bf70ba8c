"""Every family of `families.py` through every instrument, held against transformers' own forwards."""

import ast
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import transformers
from peft import PeftModel
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForCausalLM

import families
from families import FAMILIES, LAYERS, Family
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.models import architecture
from isogloss.models.adapter import save_adapter, with_lora
from isogloss.models.architecture import hidden_of, with_hidden
from isogloss.models.batching import collate
from isogloss.models.decoding import decode_greedily, first_steps
from isogloss.models.hooks import body_of, changed_after, output_after, resumed_after, visit_residuals
from isogloss.models.loading import load_base_model, load_causal_model, load_tokenizer
from isogloss.residuals.capture import capture
from isogloss.sae.encode import encode
from isogloss.scoring.continuations import score_continuations
from isogloss.scoring.lens import lens_logits, lens_of
from isogloss.scoring.sweep import Addition, steered_scores, steering_lens
from isogloss.tables import read_table, write_table
from standins import TEXTS, tiny_sae, tiny_tokenizer

PACKAGE = Path(architecture.__file__).parents[1]
IDS = [[2, *range(10, 60)], [2, 77, 200], [2, *range(300, 270, -2)]]
PROMPTS = [[2, *range(10, 42)], [2, 9, 8], [2, *range(100, 118)]]  # beyond a window of 16 and within
CHOICES = [[[40, 50, 60], [40, 50, 90, 70], [80], [110, 120, 130, 140]]] * 3


def make(family: Family, folder: Path) -> Path:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(getattr(transformers, family.config)(**family.settings))
    for name, weight in model.named_parameters():  # what starts as ones and zeros could be left out unseen
        if weight.dim() == 1:
            weight.data.add_(0.2 * torch.randn_like(weight) if "A_log" not in name else 0)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


# Each stands for a kind: windows, soft caps, shared keys, experts, sinks, recurrent layers, positions of every sort.
FIRST = {"gemma2", "gemma3", "gemma4 with shared keys", "qwen3", "qwen3_5", "llama", "gpt_oss", "gpt_neox", "gpt2"}
FIRST |= {"bloom", "mamba"}
PARAMS = [pytest.param(name, marks=[] if name in FIRST else [pytest.mark.workflow]) for name in FAMILIES]


@pytest.fixture(scope="module", params=PARAMS)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def lm(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(family, tmp_path_factory.mktemp("family") / "lm")


@pytest.fixture(scope="module")
def full(lm: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(lm, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def model(lm: Path) -> nn.Module:
    return load_causal_model(lm)


@torch.no_grad()
def naive(full: Any, family: Family, ids: list[int]) -> Tensor:
    """transformers' hidden states of one text after each block [layers, tokens, d_model]; the last by a hook."""
    last: list[Any] = []
    hook = full.get_submodule(family.layers)[-1].register_forward_hook(lambda _, __, output: last.append(output))
    states = full(torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states
    hook.remove()
    end = last[0] if isinstance(last[0], Tensor) else last[0][0]
    assert len(states) == LAYERS + 1
    first = 1 if family.embedded else 0
    return torch.cat([*states[first:][: LAYERS - 1], end])


@torch.no_grad()
def logits(full: Any, ids: list[int]) -> Tensor:
    return full(torch.tensor([ids]), use_cache=False).logits[0]


def read(model: nn.Module, layers: range) -> list[Tensor]:
    """Residuals of each text, in one batch [layers, tokens, d_model]."""
    found: list[Tensor] = []
    with torch.no_grad():
        visit_residuals(model, collate(IDS), layers, lambda _, residual: found.append(residual))
    return [torch.stack(found)[:, row, : len(ids)] for row, ids in enumerate(IDS)]


def test_residuals_are_transformers_hidden_states_whole_and_cut_off(lm: Path, family: Family, full: Any, model: Any):
    expected = [naive(full, family, ids) for ids in IDS]
    cut = [(load_base_model(lm, last_layer=last), range(last + 1)) for last in (0, LAYERS - 2)]
    for each, layers in [(model, range(LAYERS)), (load_base_model(lm), range(LAYERS)), *cut]:
        assert len(architecture.decoder_of(each).layers) == len(layers)
        for found, states in zip(read(each, layers), expected, strict=True):
            assert_close(found, states[: len(layers)], atol=1e-4, rtol=1e-4)


def test_stages_give_the_means_and_codes_of_single_texts(lm: Path, family: Family, full: Any, tmp_path: Path):
    from sae_lens import SAE

    layer, text = 1, TEXTS[:4]
    rows = {"phrase": range(4), "layer": [layer] * 4, "feature": [3, 11, 40, 40], "text": text, "ids": None}
    kinds: dict[str, Any] = {"phrase": pl.Int64, "layer": pl.Int32, "feature": pl.Int32, "ids": pl.List(pl.Int32)}
    more = {"status": "ok", "chrf": None}
    frame = pl.DataFrame(rows | more, schema_overrides=kinds | {"chrf": pl.Float32})
    write_table(tmp_path / "es.parquet", frame)
    sae = tiny_sae(tmp_path / "sae" / f"layer_{layer}", kind="standard")
    config = (sae / "cfg.json").read_text().replace("blocks.0.", f"blocks.{layer}.")
    (sae / "cfg.json").write_text(config)
    compute = Compute(token_budget=40)
    common: dict[str, Any] = {"lm": str(lm), "adapter": None, "layers": [layer], "compute": compute, "metadata": {}}
    path = str(tmp_path / "es.parquet")
    outputs = {name: str(tmp_path / f"{name}.parquet") for name in ("pooled", "codes")}
    capture(**common, translations={"es": [path]}, outputs={"es": outputs["pooled"]}, feature_stride=1)
    encode(**common, sae=str(tmp_path / "sae"), translations={"es": path}, outputs={"es": outputs["codes"]}, seed=0)
    tokenizer, stock = load_tokenizer(lm), SAE.load_from_disk(sae, device="cpu")
    encoded = [[2, *tokenizer(each, add_special_tokens=False)["input_ids"]] for each in text]  # type: ignore[misc]
    residuals = [naive(full, family, ids)[layer, 1:] for ids in encoded]
    pooled = read_table(outputs["pooled"]).sort("phrase")["pooled"].to_list()
    assert_close(torch.tensor(pooled), torch.stack([each.mean(0) for each in residuals]), atol=1e-4, rtol=1e-4)
    codes = read_table(outputs["codes"]).sort("phrase")["activation"].to_list()
    with torch.no_grad():
        largest = torch.stack([stock.encode(each).amax(0) for each in residuals])
    assert_close(torch.tensor(codes), largest[range(4), rows["feature"]], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_lens_is_the_models_own_head_on_its_own_norm(family: Family, full: Any, model: nn.Module):
    ids, lens = IDS[0], lens_of(model)
    states = naive(full, family, ids)
    assert_close(lens_logits(lens, states[-1], LAYERS - 1), logits(full, ids), atol=1e-4, rtol=1e-4)
    for layer in range(LAYERS - 1):  # a forward of transformers that ends with a hidden layer's state
        norm = full.get_submodule(family.norm)
        hook = norm.register_forward_pre_hook(lambda _, __, layer=layer: (states[layer][None],))
        expected = logits(full, ids)
        hook.remove()
        assert_close(lens_logits(lens, states[layer], layer), expected, atol=1e-4, rtol=1e-4)


def by_choice(full: Any, prompt: list[int], choices: list[list[int]]) -> list[float]:
    scores = [logits(full, [*prompt, *ids]).double().log_softmax(1)[len(prompt) - 1 : -1] for ids in choices]
    return [float(each[range(len(ids)), ids].sum()) for each, ids in zip(scores, choices, strict=True)]


def test_choices_score_as_by_a_forward_each(family: Family, full: Any, model: nn.Module):
    lens = lens_of(model)
    assert lens.packed == (not family.unpacked)
    expected = [by_choice(full, *each) for each in zip(PROMPTS, CHOICES, strict=True)]
    for budget in (4096, 1):
        scored = score_continuations(
            lens, PROMPTS, CHOICES, layers=[0, LAYERS - 1], token_budget=budget, show_progress=False
        )
        found = torch.stack([each.log_likelihoods[1] for each in scored])
        assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-3, rtol=1e-4)


def test_steering_is_a_forward_with_a_hook_or_refused(family: Family, model: nn.Module):
    additions = [Addition(layer, torch.linspace(-2, 3, 32)) for layer in (2, 0, LAYERS - 1)]
    settings: Any = {"token_budget": 64, "show_progress": False}
    run = lambda: steered_scores(steering_lens(model), PROMPTS, CHOICES, additions, **settings)  # noqa: E731
    if family.unpacked:
        with pytest.raises(IsoglossError, match=r"packed after a cached prompt .* leave latent\.steering out"):
            run()
        return
    found = run()
    for prompt, choices, scores in zip(PROMPTS, CHOICES, found, strict=True):
        for number, addition in enumerate(additions):

            def change(residual: Tensor, vector: Tensor = addition.vector, at: int = len(prompt) - 1) -> Tensor:
                changed = residual.clone()
                changed[:, at] += vector
                return changed

            with changed_after(model, addition.layer, change):
                expected = torch.tensor(by_choice(model, prompt, choices)) / torch.tensor([len(ids) for ids in choices])
            assert_close(scores[1 + number], expected, atol=1e-3, rtol=1e-4)
            assert not torch.allclose(scores[1 + number], scores[0], atol=1e-2)


@torch.no_grad()
def test_a_forward_goes_on_from_a_changed_stream(full: Any, model: nn.Module):
    batch, layer = collate(IDS), 1
    change = lambda residual: 0.5 * residual + torch.linspace(-2, 3, 32)  # noqa: E731
    output = output_after(model, batch, layer)
    with resumed_after(model, layer, with_hidden(output, change(hidden_of(output)))):
        found = body_of(model)(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)[0]
    for row, ids in enumerate(IDS):
        with changed_after(full, layer, change):
            expected = full(torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states[-1][0]
        assert_close(found[row, : len(ids)], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_decoding_takes_the_most_probable_token_each_time(full: Any, model: nn.Module):
    none, found = torch.zeros(320, dtype=torch.bool), list[list[int]]([[]] * len(PROMPTS))
    for rows, start in first_steps(PROMPTS, range(len(PROMPTS)), models=[model]):
        for row, tokens in zip(rows, decode_greedily(model, start, stops=none, new_tokens=5), strict=True):
            found[row] = tokens
    for prompt, tokens in zip(PROMPTS, found, strict=True):
        ids = list(prompt)
        for _ in range(5):
            ids.append(int(logits(full, ids)[-1].argmax()))
        assert tokens == ids[len(prompt) :]


def test_an_adapter_trains_below_its_target_and_comes_back_unmerged(
    lm: Path, family: Family, full: Any, tmp_path: Path
):
    target = 1
    tuned = with_lora(load_causal_model(lm), [0, target], "all", rank=2, alpha=4.0, dropout=0.0)
    trained = {name: weight for name, weight in tuned.named_parameters() if weight.requires_grad}
    assert {name.split(f".{family.layers}.")[1].split(".")[0] for name in trained} == {"0", "1"}
    matrices = list(trained.values())
    optimiser, losses = torch.optim.Adam(matrices, lr=1e-2), []
    goal = read(load_base_model(lm), range(LAYERS))[1][target].flip(0)
    for _ in range(4):
        kept: list[Tensor] = []
        visit_residuals(tuned, collate(IDS[1:2]), [target], lambda _, residual, kept=kept: kept.append(residual[0]))
        loss = (kept[0] - goal).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    save_adapter(tuned, tmp_path / "adapter", "model")
    before = read(load_base_model(lm), range(LAYERS))
    stock = PeftModel.from_pretrained(full, str(tmp_path / "adapter")).eval()
    expected = read(stock, range(LAYERS))
    for last in (target, None):
        found = read(
            load_base_model(lm, last_layer=last, adapter=tmp_path / "adapter"), range((last or LAYERS - 1) + 1)
        )
        for one, other, plain in zip(found, expected, before, strict=True):
            assert_close(one, other[: len(one)], atol=1e-4, rtol=1e-4)
            assert not torch.allclose(one[target], plain[target], atol=1e-3)
    stock.unload()


def test_the_table_shows_what_is_tested():
    assert families.TABLE.read_text(encoding="utf-8") == families.table(), "run `make schema`"


def test_a_new_family_is_one_line_of_one_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No module but that of layouts names one; MPT goes through with its line alone."""
    known = set(transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES)
    for path in [each for room in ("models", "scoring", "residuals") for each in (PACKAGE / room).glob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in known}
        assert not named, f"{path}: {named}"
    line = ("blocks", "norm_f", "wte")
    others = tuple(each for each in architecture.LAYOUTS if each != line)
    assert len(others) == len(architecture.LAYOUTS) - 1
    monkeypatch.setattr(architecture, "LAYOUTS", others)
    config = transformers.MptConfig(vocab_size=320, d_model=32, n_layers=LAYERS, n_heads=4, initializer_range=0.2)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(IsoglossError, match="not found where a known architecture keeps them; add its names"):
        load_causal_model(tmp_path)
    monkeypatch.setattr(architecture, "LAYOUTS", (*others, line))
    mpt = Family("", "MptConfig", {}, layers="transformer.blocks", norm="transformer.norm_f")
    model, full = load_causal_model(tmp_path), AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    for found, ids in zip(read(model, range(LAYERS)), IDS, strict=True):
        assert_close(found, naive(full, mpt, ids), atol=1e-4, rtol=1e-4)
    lens = lens_of(model)
    assert not lens.packed  # ALiBi
    scored = score_continuations(lens, PROMPTS, CHOICES, layers=[3], token_budget=400, show_progress=False)
    expected = torch.tensor([by_choice(full, *each) for each in zip(PROMPTS, CHOICES, strict=True)]).double()
    assert_close(torch.stack([each.log_likelihoods[0] for each in scored]), expected, atol=1e-3, rtol=1e-4)


def test_the_configurations_are_of_the_families_they_are_called():
    made = {name: getattr(transformers, family.config)(**family.settings) for name, family in FAMILIES.items()}
    assert all(config.model_type.startswith(name.split()[0]) for name, config in made.items())
    assert {type(AutoConfig.for_model(config.model_type)) for config in made.values()} == {*map(type, made.values())}
