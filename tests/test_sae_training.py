import json
import logging
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.testing import assert_close

from config_sections import grouped
from isogloss.config.measures import Compute
from isogloss.config.model import SaeRecipe
from isogloss.errors import IsoglossError
from isogloss.models.batching import encode_texts
from isogloss.models.loading import load_base_model, load_tokenizer
from isogloss.residuals.pooling import token_residuals
from isogloss.sae.autoencoder import activations, load_encoder, unit_norm
from isogloss.sae.buffer import ShuffleBuffer
from isogloss.sae.kinds import topk
from isogloss.sae.kinds.topk import SaeTrainer, TopKAutoencoder, save_saelens
from isogloss.sae.quality import QualityMeter
from isogloss.sae.recipe import Recipe, geometric_median
from isogloss.sae.train import interleave, train_saes
from isogloss.sae.trainer import Chunk, train
from isogloss.tables import read_table, table_metadata, write_table
from isogloss.text.tokens import is_held_out
from standins import TEXTS


def test_geometric_median_against_a_general_minimiser():
    from scipy.optimize import minimize

    points = torch.randn(40, 3) ** 3
    found = geometric_median(points, iterations=1000, tolerance=1e-9)
    best = minimize(lambda m: np.linalg.norm(points.numpy() - m, axis=1).sum(), np.zeros(3), tol=1e-12)
    assert_close(found, torch.from_numpy(best.x).float(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("chunks", [[100], [7] * 14 + [2], [1, 50, 3, 46]])
@pytest.mark.parametrize("batch", [1, 8, 16])
def test_buffer_loses_and_doubles_nothing_and_stays_small(chunks, batch):
    buffer = ShuffleBuffer(16, batch, torch.Generator().manual_seed(0))
    out, start = [], 0
    for size in chunks:
        numbers = torch.arange(start, start + size).float()
        start += size
        for vectors in buffer.add(torch.stack([numbers, numbers + 1000])[:, :, None]):
            assert buffer.held.shape[1] <= 16
            out.append(vectors)
    out += buffer.drain()
    assert {vectors.shape[1] for vectors in out[:-1]} == {batch}
    drawn = torch.cat(out, dim=1)[:, :, 0]
    assert sorted(drawn[0].tolist()) == list(range(100))
    assert drawn[0].tolist() != sorted(drawn[0].tolist())
    assert_close(drawn[1], drawn[0] + 1000)  # layers stay aligned


def planted(tokens: int, directions: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Unit vectors made of three of the directions each."""
    chosen = torch.rand(tokens, len(directions), generator=generator).topk(3).indices
    strength = torch.rand(tokens, 3, generator=generator) + 0.5
    return unit_norm((directions[chosen] * strength[:, :, None]).sum(dim=1))


def trained(steps: int) -> tuple[TopKAutoencoder, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    directions = torch.nn.functional.normalize(torch.randn(64, 64, generator=generator), dim=1)
    first = planted(2048, directions, generator)[None]
    recipe = Recipe(96, 3, 1, 1, 1, learning_rate=5e-3, warmup_steps=20, held_out_tokens=1)
    trainer = SaeTrainer([0], first, recipe, seed=0)
    for _ in range(steps):
        trainer.step(planted(256, directions, generator)[None])
    return trainer.saes[0], directions, planted(2000, directions, generator)


def recovered(sae: TopKAutoencoder, directions: torch.Tensor) -> float:
    return ((directions @ sae.W_dec.detach().T).max(dim=1).values > 0.9).float().mean().item()


def unexplained(sae: TopKAutoencoder, x: torch.Tensor) -> float:
    meter = QualityMeter(sae)
    meter.add(x)
    return meter.result().fvu


def test_training_recovers_planted_directions():
    untrained, directions, fresh = trained(steps=0)
    assert recovered(untrained, directions) == 0
    assert unexplained(untrained, fresh) > 0.5
    sae, directions, fresh = trained(steps=600)
    assert recovered(sae, directions) > 0.9
    assert unexplained(sae, fresh) < 0.05
    assert_close(sae.W_dec.norm(dim=1), torch.ones(96))
    assert sae.b_enc.abs().max() > 0


def test_two_runs_give_the_same_bits():
    (one, _, _), (two, _, _) = trained(steps=30), trained(steps=30)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_forward_and_gradients_against_the_dense_formula():
    sae = TopKAutoencoder(8, 20, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sae.b_enc.normal_(mean=-0.4, std=0.1)  # so that some tokens have fewer than k positives
        sae.b_dec.normal_(std=0.1)
    x = unit_norm(torch.randn(30, 8))
    z = (x - sae.b_dec) @ sae.W_enc + sae.b_enc
    assert ((z > 0).sum(dim=1) < 5).any()
    kth = z.detach().sort(dim=1, descending=True).values[:, 4:5]
    dense = torch.where(z >= kth, z.relu(), torch.zeros_like(z)) @ sae.W_dec + sae.b_dec
    assert_close(sae(x), dense)
    expected = torch.autograd.grad((x - dense).square().sum(), list(sae.parameters()))
    found = torch.autograd.grad((x - sae(x)).square().sum(), list(sae.parameters()))
    assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_quality_against_a_plain_calculation():
    sae = TopKAutoencoder(8, 40, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sae.b_enc[:] = -0.3
        sae.b_enc[7] = -9.0
    x = unit_norm(torch.randn(200, 8) + 0.5)
    meter = QualityMeter(sae)
    for part in x.split(33):
        meter.add(part)
    z = ((x - sae.b_dec) @ sae.W_enc + sae.b_enc).detach()
    z[z < z.topk(3, dim=1).values[:, -1:]] = 0
    z = z.relu()
    error = (x - z @ sae.W_dec.detach() - sae.b_dec.detach()).square().sum() / (x - x.mean(dim=0)).square().sum()
    found = meter.result()
    assert found.fvu == pytest.approx(error.item(), rel=1e-5)
    assert found.l0 == pytest.approx((z > 0).sum(dim=1).float().mean().item())
    assert found.dead_features == int((z == 0).all(dim=0).sum()) >= 1
    assert found.n_tokens == 200


def test_files_are_those_of_saelens(tmp_path):
    from sae_lens import SAE, TopKSAE, TopKSAEConfig

    sae = TopKAutoencoder(8, 20, 5, generator=torch.Generator().manual_seed(0))
    save_saelens(tmp_path / "ours", sae, {"hook_name": "blocks.1.hook_resid_post", "unit_norm_input": True})
    theirs = TopKSAE(TopKSAEConfig(d_in=8, d_sae=20, k=5, dtype="float32", device="cpu"))
    theirs.cfg.metadata.hook_name = "blocks.1.hook_resid_post"
    theirs.cfg.metadata.unit_norm_input = True
    theirs.load_state_dict(sae.state_dict())
    theirs.save_model(tmp_path / "theirs")
    ours, reference = (json.loads((tmp_path / name / "cfg.json").read_text()) for name in ("ours", "theirs"))
    assert ours == reference
    loaded = SAE.load_from_disk(tmp_path / "ours", device="cpu")
    assert all(torch.equal(value, sae.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_shares_are_kept_and_ended_streams_drop_out():
    def stream(length):
        return iter([[2] * (length + 1)] * 400)

    drawn = {3: 0, 5: 0, 9: 0}
    documents = interleave({"en": stream(3), "es": stream(5), "ml": stream(9)}, {"en": 0.6, "es": 0.3, "ml": 0.1})
    for _, document in zip(range(300), documents, strict=False):
        drawn[len(document) - 1] += len(document) - 1
    total = sum(drawn.values())
    assert [drawn[length] / total for length in (3, 5, 9)] == pytest.approx([0.6, 0.3, 0.1], abs=0.02)
    assert sum(1 for _ in documents) == 900


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    paths = {}
    for lang in ("en", "es"):
        texts = [f"{lang} {TEXTS[row % 3]} {row}" for row in range(120)]
        paths[lang] = str(folder / f"{lang}.parquet")
        write_table(paths[lang], pl.DataFrame({"document": [f"statement/{row}" for row in range(120)], "text": texts}))
    return paths


RECIPE = SaeRecipe(
    features=64,
    k=4,
    tokens=6000,
    batch_tokens=256,
    buffer_tokens=1024,
    learning_rate=3e-3,
    warmup_steps=3,
    held_out_tokens=500,
).model_dump()


def run(lm_folder: Path, world: dict[str, str], out: Path, **changes) -> Path:
    settings = {
        "lm": str(lm_folder),
        "documents": world,
        "sae": str(out / "sae"),
        "quality": str(out / "tables" / "sae_quality.parquet"),
        "layers": [2, 0],
        "shares": {"en": 0.7, "es": 0.3},
        "recipe": RECIPE,
        "token_budget": 512,
        "dtype": "float32",
        "seed": 1,
        "metadata": {"study": "test"},
    }
    settings = grouped({**settings, **changes}, compute=Compute)
    train_saes(**{**settings, "recipe": SaeRecipe.model_construct(**settings["recipe"])})
    return out


def test_stage_trains_saes_that_saelens_reads(lm_folder, world, tmp_path):
    from sae_lens import SAE

    run(lm_folder, world, tmp_path)
    quality = read_table(tmp_path / "tables" / "sae_quality.parquet")
    assert quality.columns == ["layer", "fvu", "l0", "dead_features", "features", "k", "n_tokens"]
    assert quality["layer"].to_list() == [0, 2]
    assert quality["fvu"].max() < 0.5
    assert quality["l0"].max() <= 4
    assert quality["n_tokens"].to_list() == [500, 500]
    assert sorted(path.name for path in (tmp_path / "sae").iterdir()) == ["layer_0", "layer_2"]

    ids = encode_texts(load_tokenizer(lm_folder), TEXTS)
    residual = token_residuals(load_base_model(lm_folder), ids, [2], token_budget=512)[0]
    encoder = load_encoder(tmp_path / "sae" / "layer_2")
    assert encoder.unit_norm_input
    assert encoder.hook_name == "blocks.2.hook_resid_post"
    theirs = SAE.load_from_disk(tmp_path / "sae" / "layer_2", device="cpu")
    assert_close(activations(encoder, residual), theirs.encode(unit_norm(residual)), atol=1e-6, rtol=1e-5)


def test_stage_gives_the_same_bits_again_and_hardly_depends_on_the_token_budget(lm_folder, world, tmp_path):
    first = load_encoder(run(lm_folder, world, tmp_path / "a") / "sae" / "layer_0").w_enc
    again = load_encoder(run(lm_folder, world, tmp_path / "b") / "sae" / "layer_0").w_enc
    assert torch.equal(first, again)
    short = {**RECIPE, "tokens": 1024}
    small = run(lm_folder, world, tmp_path / "c", recipe=short, token_budget=64)
    large = run(lm_folder, world, tmp_path / "d", recipe=short, token_budget=9999)
    w_small, w_large = (load_encoder(out / "sae" / "layer_0").w_enc for out in (small, large))
    assert_close(w_small, w_large, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("changes", [{"buffer_tokens": 256}, {"tokens": 200}])
def test_one_batch_that_empties_the_buffer_is_enough_to_start_from(lm_folder, world, tmp_path, changes):
    run(lm_folder, world, tmp_path, recipe={**RECIPE, **changes})
    quality = read_table(tmp_path / "tables" / "sae_quality.parquet")
    assert quality["fvu"].is_between(0, 1).all()
    assert load_encoder(tmp_path / "sae" / "layer_0").w_enc.isfinite().all()


def test_the_first_bias_is_the_median_of_all_that_was_read_so_far():
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(1, 40, 4, generator=generator)
    settings = Recipe(8, 2, 40, 16, 40, learning_rate=1e-30, warmup_steps=0, held_out_tokens=1)
    trainer = train(
        lambda _: [Chunk(vectors, 1)],
        lambda first: SaeTrainer([0], first, settings, seed=0),
        settings,
        seed=0,
        start_from="buffer",
    )
    assert_close(trainer.saes[0].b_dec.detach(), geometric_median(unit_norm(vectors[0])))


def test_the_recipe_is_that_of_the_config():
    assert set(Recipe._fields) == set(SaeRecipe.model_fields)


def test_documents_cut_at_the_context_are_counted(lm_folder, world, tmp_path, caplog):
    tokenizer = load_tokenizer(lm_folder)
    long = "The currency of Austria is Euro. " * 80
    assert len(encode_texts(tokenizer, [long])[0]) > 512  # the model's context
    texts = pl.DataFrame({"document": [f"statement/{row}" for row in range(120)], "text": [long] * 120})
    write_table(tmp_path / "es.parquet", texts)
    documents = {**world, "es": str(tmp_path / "es.parquet")}
    with caplog.at_level(logging.INFO):
        run(lm_folder, documents, tmp_path, recipe={**RECIPE, "tokens": 3000, "held_out_tokens": 100})
    found = table_metadata(tmp_path / "tables" / "sae_quality.parquet")["documents_cut"]
    assert found.keys() == {"es"}
    # 30 % of 3000 tokens are two documents of 511 tokens; the quality takes at most one more.
    assert found["es"] in (2, 3)
    assert f"es: {found['es']} documents were cut at the model's context of 512 tokens" in caplog.text
    run(lm_folder, world, tmp_path / "short", recipe={**RECIPE, "tokens": 1024})
    assert table_metadata(tmp_path / "short" / "tables" / "sae_quality.parquet")["documents_cut"] == {}


def test_documents_of_which_the_tokenizer_makes_nothing_are_passed_over(lm_folder, world, tmp_path):
    table = read_table(world["es"])
    emptied = pl.when(pl.int_range(pl.len()) % 2 == 1).then(pl.lit("")).otherwise("text")
    write_table(tmp_path / "es.parquet", table.with_columns(text=emptied))
    recipe = {**RECIPE, "held_out_tokens": 100}
    run(lm_folder, {**world, "es": str(tmp_path / "es.parquet")}, tmp_path, recipe=recipe)
    assert read_table(tmp_path / "tables" / "sae_quality.parquet")["n_tokens"].to_list() == [100, 100]
    write_table(tmp_path / "none.parquet", table.with_columns(text=pl.lit("")))
    with pytest.raises(IsoglossError, match=r"none\.parquet: too few documents, none is left to train on"):
        run(lm_folder, {**world, "es": str(tmp_path / "none.parquet")}, tmp_path / "none")


def test_one_document_in_ten_is_held_out_whatever_the_language():
    held = [is_held_out(f"statement/{number}", 0) for number in range(5000)]
    assert 0.08 < sum(held) / 5000 < 0.12
    assert held != [is_held_out(f"statement/{number}", 1) for number in range(5000)]


def test_a_loss_that_is_not_finite_stops_with_layer_and_step(lm_folder, world, tmp_path):
    recipe = {**RECIPE, "learning_rate": 1e30, "warmup_steps": 0}
    with pytest.raises(IsoglossError, match=r"layer 0, step \d+: the SAE's loss is"):
        run(lm_folder, world, tmp_path, recipe=recipe)
    assert not (tmp_path / "sae").exists()


def test_another_kind_than_topk_is_refused(lm_folder, world, tmp_path):
    with pytest.raises(IsoglossError, match=r"sae\.kind 'jumprelu'"):
        run(lm_folder, world, tmp_path, recipe={**RECIPE, "kind": "jumprelu"})


def test_a_step_in_chunks_is_the_step_at_once(monkeypatch):
    """However few pre-activations are held at a time, the last chunk being smaller."""
    x = torch.nn.functional.normalize(torch.randn(2, 50, 16), dim=-1)
    recipe = Recipe(64, 4, 0, 50, 50, 1e-2, 1, 0)
    ends = []
    for most in (10**9, 64 * 7, 1):
        monkeypatch.setattr(topk, "_LARGEST", most)
        trainer = SaeTrainer([0, 1], x, recipe, seed=0, sparse=True)
        losses = [trainer.step(x) for _ in range(3)]
        ends.append((losses, [sae.state_dict() for sae in trainer.saes.values()]))
    for other in ends[1:]:
        assert_close(other, ends[0], rtol=1e-4, atol=1e-5)


def test_an_encoder_laid_out_as_its_gradient_learns_the_same_without_turning_it():
    """As on a GPU."""
    x = torch.nn.functional.normalize(torch.randn(2, 50, 16), dim=-1)
    trainers = [SaeTrainer([0, 1], x, Recipe(64, 4, 0, 50, 50, 1e-2, 1, 0), seed=0, sparse=True) for _ in range(2)]
    for sae in trainers[1].saes.values():
        sae.put_features_first()
        assert sae.W_enc.stride() == (1, 16)
    ends, copies = [], []
    for trainer in trainers:
        losses = [trainer.step(x) for _ in range(3)]
        ends.append((losses, [sae.state_dict() for sae in trainer.saes.values()]))
        loss = trainer.saes[0].sparse_forward(x[0]).square().sum()
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            loss.backward()
        copies.append(sum(event.count for event in seen.key_averages() if event.key == "aten::copy_"))
    assert_close(ends[1], ends[0], rtol=1e-4, atol=1e-5)
    assert copies[0] - copies[1] == 1
    trainers[1].load_state(trainers[1].state())
    assert {sae.W_enc.stride() for sae in trainers[1].saes.values()} == {(1, 16)}
