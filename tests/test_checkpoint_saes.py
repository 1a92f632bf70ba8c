import json
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from config_sections import grouped
from isogloss.config.bilingual import Bilingual
from isogloss.config.measures import Compute
from isogloss.config.model import SaeRecipe
from isogloss.errors import IsoglossError
from isogloss.models.loading import load_base_model
from isogloss.residuals.pooling import token_residuals
from isogloss.sae import checkpoint_saes
from isogloss.sae.autoencoder import activations, load_encoder, unit_norm
from isogloss.sae.buffer import ShuffleBuffer, draw_distinct
from isogloss.sae.checkpoint_saes import train_checkpoint_saes
from isogloss.sae.kinds.topk import SaeTrainer, TopKAutoencoder, strongest
from isogloss.sae.recipe import Recipe, geometric_median
from isogloss.tables import TableWriter, read_table, write_table
from isogloss.text.tokens import read_documents, tokenizer_digest
from standins import tiny_gemma2

RECIPE = {
    "features": 64,
    "k": 4,
    "tokens": 3000,
    "batch_tokens": 128,
    "buffer_tokens": 640,
    "learning_rate": 3e-3,
    "warmup_steps": 3,
    "held_out_tokens": 300,
}


def table_of_tokens(path: Path, documents: int, seed: int, lm: Path | None = None, length: int = 9) -> str:
    """Documents of random tokens, of 5 to `length` each, in row groups of 20, as `tokenise` writes them."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(4, length, (documents,), generator=generator).tolist()
    ids = [[2, *torch.randint(4, 320, (size,), generator=generator).tolist()] for size in lengths]
    frame = pl.DataFrame(
        {"document": [f"{row}" for row in range(documents)], "lang": ["en", "es"] * (documents // 2), "ids": ids},
        schema_overrides={"ids": pl.List(pl.Int32)},
    )
    about = {"documents": {"en": documents // 2, "es": documents // 2}, "tokens_per_document": length}
    if lm:
        about["tokenizer"] = tokenizer_digest(str(lm))
    with TableWriter(path, frame.to_arrow().schema, about) as writer:
        for start in range(0, documents, 20):
            writer.write(frame[start : start + 20])
    return str(path)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory, lm_folder):
    folder = tmp_path_factory.mktemp("tokens")
    return {
        "tokens": table_of_tokens(folder / "train.parquet", 300, 0, lm_folder),
        "evaluation": table_of_tokens(folder / "evaluation.parquet", 60, 1, lm_folder),
    }


def run(lm_folder: Path, tokens: dict[str, str], out: Path, recipe: dict | None = None, **changes) -> Path:
    settings = {
        "lm": str(lm_folder),
        **tokens,
        "sae": str(out / "sae"),
        "quality": str(out / "sae_quality.parquet"),
        "step": 1000,
        "layers": [2, 0],
        "recipe": SaeRecipe.model_construct(**{**RECIPE, **(recipe or {})}),
        "learning_rates": None,
        "token_budget": 512,
        "dtype": "float32",
        "seed": 1,
        "state_folder": str(out / "state"),
        "resume_every": 4,
        "metadata": {"study": "test"},
    }
    train_checkpoint_saes(**grouped(settings | changes, ("learning_rates",), compute=Compute, bilingual=Bilingual))
    return out


def weights(out: Path, layer: int = 0) -> dict[str, torch.Tensor]:
    return load_file(out / "sae" / f"layer_{layer}" / "sae_weights.safetensors")


def same(one: Path, two: Path) -> bool:
    return all(
        torch.equal(value, weights(two, layer)[name]) for layer in (0, 2) for name, value in weights(one, layer).items()
    )


def test_stage_trains_saes_of_all_layers_that_saelens_reads(lm_folder, tokens, tmp_path):
    from sae_lens import SAE

    run(lm_folder, tokens, tmp_path)
    quality = read_table(tmp_path / "sae_quality.parquet")
    assert quality.columns[:9] == [
        "step",
        "layer",
        "fvu",
        "l0",
        "dead_features",
        "features",
        "k",
        "n_tokens",
        "learning_rate",
    ]
    assert quality["step"].to_list() == [1000, 1000]
    assert quality["layer"].to_list() == [0, 2]
    assert quality["n_tokens"].to_list() == [300, 300]
    assert quality["l0"].max() <= 4
    assert not (tmp_path / "state").exists()

    ids = list(read_documents(tokens["evaluation"]))
    residual = token_residuals(load_base_model(lm_folder), ids, [2], token_budget=512)[0][:300]
    theirs = SAE.load_from_disk(tmp_path / "sae" / "layer_2", device="cpu")
    encoder = load_encoder(tmp_path / "sae" / "layer_2")
    assert encoder.unit_norm_input
    assert encoder.hook_name == "blocks.2.hook_resid_post"
    x = unit_norm(residual)
    assert_close(activations(encoder, residual), theirs.encode(x), atol=1e-6, rtol=1e-5)
    error = (x - theirs(x)).square()
    assert quality["loss"][1] == pytest.approx(error.sum(dim=1).mean().item(), rel=1e-5)
    assert quality["fvu"][1] == pytest.approx((error.sum() / (x - x.mean(dim=0)).square().sum()).item(), rel=1e-5)
    assert_close(theirs.W_dec.norm(dim=1), torch.ones(64))


def test_learning_lowers_what_is_left_unexplained(lm_folder, tokens, tmp_path):
    short = run(lm_folder, tokens, tmp_path / "a", {"tokens": 128})
    long = run(lm_folder, tokens, tmp_path / "b", {"tokens": 9000})
    before, after = (read_table(out / "sae_quality.parquet")["fvu"] for out in (short, long))
    assert (after < 0.8 * before).all()


def test_gradients_that_touch_k_rows_are_those_of_the_whole_width():
    sae = TopKAutoencoder(8, 20, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sae.b_enc.normal_(mean=-0.4, std=0.1)  # so that some tokens have fewer than k positives
        sae.b_enc[3] = -9  # and a feature is chosen by none
        sae.b_dec.normal_(std=0.1)
    x = unit_norm(torch.randn(30, 8))
    assert_close(sae.sparse_forward(x), sae(x))
    expected = torch.autograd.grad((x - sae(x)).square().sum(), list(sae.parameters()))
    found = torch.autograd.grad((x - sae.sparse_forward(x)).square().sum(), list(sae.parameters()))
    assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("special", ["none", "ties", "nan", "all"])
def test_the_strongest_are_those_of_torch(special):
    z = torch.randn(50, 40)
    if special == "ties":
        z = z.round()
    if special == "nan":
        z[3, 7] = float("nan")
    k = 40 if special == "all" else 6
    values, features = strongest(z, k)
    expected = z.topk(k, dim=1)
    assert_close(values.sort(dim=1).values, expected.values.sort(dim=1).values, equal_nan=True, rtol=0, atol=0)
    assert_close(z.gather(1, features), values, equal_nan=True, rtol=0, atol=0)
    assert all(len(row.unique()) == k for row in features)


def test_sparse_training_is_dense_adam_to_float_tolerance():
    first = unit_norm(torch.randn(2, 200, 16))
    recipe = Recipe(48, 4, 1, 1, 1, learning_rate=1e-3, warmup_steps=5, held_out_tokens=1)
    dense, sparse = (SaeTrainer([0, 3], first, recipe, seed=0, sparse=sparse) for sparse in (False, True))
    for _ in range(20):
        batch = unit_norm(torch.randn(2, 64, 16))
        one, two = dense.step(batch), sparse.step(batch)
        assert one == pytest.approx(two, rel=1e-4)
    for layer in (0, 3):
        assert_close(list(sparse.saes[layer].parameters()), list(dense.saes[layer].parameters()), atol=1e-4, rtol=1e-3)


def test_an_encoder_multiplied_in_bfloat16_keeps_float32_weights_and_gradients():
    sae = TopKAutoencoder(16, 48, 4, generator=torch.Generator().manual_seed(0))
    x = unit_norm(torch.randn(64, 16))
    exact, rounded = sae(x), sae.sparse_forward(x, torch.bfloat16)
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    assert (exact - rounded).square().mean() < 0.1 * exact.square().mean()
    rounded.square().sum().backward()
    assert {parameter.grad.dtype for parameter in sae.parameters()} == {torch.float32}


def test_the_first_bias_is_the_geometric_median_of_the_first_batch(lm_folder, tokens, tmp_path, monkeypatch):
    seen = []
    make = checkpoint_saes.make_trainer
    make_and_see = lambda *given: seen.append(given[2]) or make(*given)  # noqa: E731
    monkeypatch.setattr(checkpoint_saes, "make_trainer", make_and_see)
    run(lm_folder, tokens, tmp_path, {"tokens": 128, "learning_rate": 1e-30})
    assert_close(weights(tmp_path)["b_dec"], geometric_median(seen[0][0]))
    assert_close(seen[0].norm(dim=2), torch.ones(2, 128))


class _Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("kind", "after"),  # so many batches; at 21 the buffer is being emptied
    [("topk", 1), ("topk", 9), ("topk", 21), ("jumprelu", 21), ("batchtopk", 21), ("matryoshka", 9)],
)
def test_a_killed_training_that_starts_again_gives_the_bits_of_an_unbroken_one(
    lm_folder, tokens, tmp_path, monkeypatch, kind, after
):
    recipe = {"kind": kind, "tokens": 3000}
    whole = run(lm_folder, tokens, tmp_path / "whole", recipe)
    make = checkpoint_saes.make_trainer
    steps = 0

    def mortal(*arguments):
        trainer = make(*arguments)
        step = trainer.step

        def dying(batch):
            nonlocal steps
            steps += 1
            if steps > after:
                raise _Killed
            return step(batch)

        trainer.step = dying
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_saes, "make_trainer", mortal)
        with pytest.raises(_Killed):
            run(lm_folder, tokens, tmp_path / "broken", recipe)
    assert not (tmp_path / "broken" / "sae").exists()
    assert (tmp_path / "broken" / "state" / "state.pt").exists() == (after > 1)
    resumed = 0

    def counting(*arguments):
        trainer = make(*arguments)
        step = trainer.step

        def counted(batch):
            nonlocal resumed
            resumed += 1
            return step(batch)

        trainer.step = counted
        return trainer

    monkeypatch.setattr(checkpoint_saes, "make_trainer", counting)
    broken = run(lm_folder, tokens, tmp_path / "broken", recipe)
    assert same(whole, broken)
    assert read_table(whole / "sae_quality.parquet").equals(read_table(broken / "sae_quality.parquet"))
    assert (resumed < 24) == (after > 1)
    assert not (tmp_path / "broken" / "state").exists()


def test_a_state_of_other_settings_is_ignored(lm_folder, tokens, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_saes, "measure_quality", lambda *_, **__: (_ for _ in ()).throw(_Killed))
        with pytest.raises(_Killed):
            run(lm_folder, tokens, tmp_path / "a")
    assert (tmp_path / "a" / "state" / "state.pt").exists()
    other = {"learning_rate": 1e-3}
    assert same(run(lm_folder, tokens, tmp_path / "a", other), run(lm_folder, tokens, tmp_path / "b", other))


def test_documents_are_read_from_anywhere_and_again(tokens, caplog):
    whole = read_table(tokens["tokens"])["ids"].to_list()
    assert list(read_documents(tokens["tokens"])) == whole
    assert list(read_documents(tokens["tokens"], first=37)) == whole[37:]
    endless = read_documents(tokens["tokens"], first=640, again=True)
    assert [next(endless) for _ in range(400)] == whole[40:] + whole[:140]


def test_few_of_many_are_drawn_distinct_and_evenly():
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(4000)
    for _ in range(400):
        drawn = draw_distinct(4000, 100, generator)
        assert len(drawn.unique()) == 100
        counts[drawn] += 1
    assert counts.mean() == 10
    assert 0.9 < counts.var() / 9.75 < 1.1  # binomial: 400 * 0.025 * 0.975
    assert sorted(draw_distinct(10, 10, generator).tolist()) == list(range(10))


def test_a_buffer_goes_on_where_its_state_was_taken():
    def buffer() -> ShuffleBuffer:
        return ShuffleBuffer(64, 8, torch.Generator().manual_seed(0))

    vectors = torch.randn(2, 300, 4)
    one = buffer()
    list(one.add(vectors[:, :150]))
    state = {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in one.state().items()}
    two = buffer()
    two.load_state(state)
    rest = [list(shuffler.add(vectors[:, 150:])) + list(shuffler.drain()) for shuffler in (one, two)]
    assert all(torch.equal(a, b) for a, b in zip(*rest, strict=True))


@pytest.mark.parametrize("kind", ["jumprelu", "batchtopk", "matryoshka"])
def test_other_kinds_are_trained_by_saelens_and_read_by_both(lm_folder, tokens, tmp_path, kind):
    from sae_lens import SAE

    run(lm_folder, tokens, tmp_path, {"kind": kind, "tokens": 9000}, layers=[1])
    folder = tmp_path / "sae" / "layer_1"
    cfg = json.loads((folder / "cfg.json").read_text())
    assert cfg["architecture"] == "jumprelu"
    assert cfg["metadata"]["unit_norm_input"] is True
    assert cfg["metadata"]["training_architecture"] == {"matryoshka": "matryoshka_batchtopk"}.get(kind, kind)
    encoder = load_encoder(folder)
    assert encoder.unit_norm_input
    assert encoder.hook_name == "blocks.1.hook_resid_post"
    ids = list(read_documents(tokens["evaluation"]))
    residual = token_residuals(load_base_model(lm_folder), ids, [1], token_budget=512)[0][:300]
    x = unit_norm(residual)
    theirs = SAE.load_from_disk(folder, device="cpu")
    assert_close(activations(encoder, residual), theirs.encode(x), atol=1e-6, rtol=1e-5)
    quality = read_table(tmp_path / "sae_quality.parquet").row(0, named=True)
    active = theirs.encode(x) > 0
    assert quality["kind"] == kind
    assert quality["l0"] == pytest.approx(active.sum(dim=1).float().mean().item())
    assert quality["dead_features"] == int((~active.any(dim=0)).sum())
    assert quality["loss"] == pytest.approx((x - theirs(x)).square().sum(dim=1).mean().item(), rel=1e-4)
    assert quality["fvu"] < 0.9


def test_the_chosen_rate_takes_the_place_of_the_recipes(lm_folder, tokens, tmp_path):
    table = tmp_path / "rates.parquet"
    write_table(table, pl.DataFrame({"learning_rate": [1e-4, 2e-3], "chosen": [False, True]}))
    run(lm_folder, tokens, tmp_path / "a", {"tokens": 500}, learning_rates=str(table))
    run(lm_folder, tokens, tmp_path / "b", {"tokens": 500, "learning_rate": 2e-3})
    assert same(tmp_path / "a", tmp_path / "b")
    assert read_table(tmp_path / "a" / "sae_quality.parquet")["learning_rate"].to_list() == [2e-3, 2e-3]
    write_table(table, pl.DataFrame({"learning_rate": [1e-4], "chosen": [False]}))
    with pytest.raises(IsoglossError, match="0 rates are chosen"):
        run(lm_folder, tokens, tmp_path / "c", learning_rates=str(table))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": [1, 7]}, r"no layer 7; the model has layers 0 to 2"),
        ({"layers": [-1, 1]}, r"no layer -1; the model has layers 0 to 2"),
        ({"recipe": {"buffer_tokens": 100}}, r"sae\.buffer_tokens 100 is smaller than a batch \(sae\.batch_tokens 128"),
        ({"recipe": {"k": 65}}, r"sae\.k 65 is more than sae\.features 64"),
        ({"recipe": {"kind": "gated"}}, r"sae\.kind 'gated'; understood are topk, jumprelu, batchtopk, matryoshka"),
        (
            {"recipe": {"learning_rate": 1e30, "warmup_steps": 0}},
            r"^checkpoint of step 1000: layer 0, step \d+: the SAE's loss is",
        ),
    ],
)
def test_bad_input_is_one_line(lm_folder, tokens, tmp_path, changes, message):
    with pytest.raises(IsoglossError, match=message) as caught:
        run(lm_folder, tokens, tmp_path, **changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sae").exists()


def test_a_residual_that_is_not_finite_stops_with_layer_and_step(lm_folder, tokens, tmp_path):
    from transformers import Gemma2ForCausalLM

    from isogloss.models.loading import load_tokenizer

    model = Gemma2ForCausalLM.from_pretrained(lm_folder)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0] = float("nan")
    model.save_pretrained(tmp_path / "lm")
    load_tokenizer(lm_folder).save_pretrained(tmp_path / "lm")
    with pytest.raises(IsoglossError, match=r"^checkpoint of step 1000: layer 2: the residual stream is not finite"):
        run(tmp_path / "lm", tokens, tmp_path)


def test_documents_of_another_tokenizer_or_too_long_are_refused(lm_folder, tokens, tmp_path):
    from standins import tiny_tokenizer

    other = tiny_gemma2(tmp_path / "lm")
    tiny_tokenizer(300).save_pretrained(other)
    with pytest.raises(IsoglossError, match="its tokenizer is not the one that"):
        run(other, tokens, tmp_path)
    long = table_of_tokens(tmp_path / "long.parquet", 20, 0, length=600)
    with pytest.raises(IsoglossError, match="the model reads 512 tokens, but documents have up to 600"):
        run(lm_folder, {**tokens, "tokens": long}, tmp_path)
    empty = table_of_tokens(tmp_path / "empty.parquet", 0, 0)
    with pytest.raises(IsoglossError, match="no documents"):
        run(lm_folder, {**tokens, "tokens": empty}, tmp_path)
