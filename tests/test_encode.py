import numpy as np
import polars as pl
import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

from config_sections import grouped
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.sae import encode as stage
from isogloss.sae.autoencoder import activations, load_encoder
from isogloss.sae.control_features import random_features, shuffled_features
from isogloss.sae.own_feature import measure
from isogloss.tables import TableWriter, open_table, read_table, table_metadata, write_table
from standins import TEXTS, tiny_sae

SCHEMA = {
    "phrase": pl.Int64,
    "layer": pl.Int32,
    "feature": pl.Int32,
    "ids": pl.List(pl.Int32),
    "chrf": pl.Float32,
}
VALUES = ["activation", "pre_activation", "shuffled_activation", "random_activation"]
OWNERS = [(layer, feature) for layer in range(3) for feature in range(0, 64, 3) for _ in range(2)]


@pytest.fixture(scope="module", params=["topk", "jumprelu", "standard"])
def saes(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"saes-{request.param}")
    for layer in range(3):
        cfg = tiny_sae(folder / f"layer_{layer}", kind=request.param, seed=layer) / "cfg.json"
        cfg.write_text(cfg.read_text().replace("blocks.0.hook", f"blocks.{layer}.hook"))
    return folder


@pytest.fixture(scope="module")
def translations(tmp_path_factory):
    frame = pl.DataFrame(
        {
            "phrase": range(len(OWNERS)),
            "layer": [layer for layer, _ in OWNERS],
            "feature": [feature for _, feature in OWNERS],
            "text": [f"{TEXTS[row % 5]}{' ' + TEXTS[row % 6] if row % 4 else ''}" for row in range(len(OWNERS))],
            "ids": None,
            "chrf": [row % 90 + 0.5 for row in range(len(OWNERS))],
        },
        schema_overrides=SCHEMA,
    )
    path = tmp_path_factory.mktemp("translations") / "es.parquet"
    write_table(path, frame)
    return path


def run(lm_folder, saes, texts, output, **changes):
    stage.encode(
        **grouped(
            {
                "lm": str(lm_folder),
                "adapter": None,
                "sae": str(saes),
                "translations": {"es": str(texts)},
                "outputs": {"es": str(output)},
                "layers": [0, 1, 2],
                "token_budget": 300,
                "dtype": "float32",
                "seed": 0,
                "metadata": {},
                **changes,
            },
            compute=Compute,
        )
    )
    return read_table(output)


def controls(layer):
    rows = [row for row, owner in enumerate(OWNERS) if owner[0] == layer]
    features, phrases = np.array([OWNERS[row][1] for row in rows], dtype=np.int32), np.array(rows)
    shuffled = shuffled_features(features, phrases, layer=layer, seed=0)
    drawn = random_features(features, phrases, layer=layer, dictionary=64, seed=0)
    return dict(zip(rows, zip(features.tolist(), shuffled.tolist(), drawn.tolist(), strict=True), strict=True))


def test_values_are_those_of_saelens_on_single_texts(lm_folder, saes, translations, tmp_path):
    from sae_lens import SAE

    found = run(lm_folder, saes, translations, tmp_path / "es.parquet")
    assert found["phrase"].to_list() == list(range(len(OWNERS)))
    assert (found["activation"] == 0).any()
    assert (found["activation"] > 0).any()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(lm_folder).eval(), AutoTokenizer.from_pretrained(lm_folder)
    theirs = [SAE.load_from_disk(saes / f"layer_{layer}", device="cpu") for layer in range(3)]
    expected = []
    for (phrase, layer, feature), text in zip(
        found.select("phrase", "layer", "feature").rows(), read_table(translations)["text"], strict=True
    ):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        states = []
        handle = model.model.layers[layer].register_forward_hook(lambda _m, _i, out, states=states: states.append(out))
        with torch.no_grad():
            model(torch.tensor([[tokenizer.bos_token_id, *ids]]))
        handle.remove()
        sae, x = theirs[layer], states[0][0, 1:]
        own, shuffled, drawn = controls(layer)[phrase]
        assert own == feature
        code = sae.encode(x).max(dim=0).values
        z = (sae.process_sae_in(x) @ sae.W_enc + sae.b_enc).max(dim=0).values
        expected.append([*(v.item() for v in (code[own], z[own], code[shuffled], code[drawn])), len(ids), len(text)])
    assert_close(torch.tensor(found.select(VALUES).to_numpy()), torch.tensor(expected)[:, :4], atol=1e-5, rtol=1e-5)
    assert found.select("n_tokens", "n_characters").rows() == [(row[4], row[5]) for row in expected]


def test_languages_of_one_job_are_those_of_a_job_each(lm_folder, saes, translations, tmp_path):
    fewer = tmp_path / "hi.parquet"
    write_table(fewer, read_table(translations)[5:])
    paths = {"es": str(translations), "hi": str(fewer)}
    outputs = {lang: str(tmp_path / "both" / f"{lang}.parquet") for lang in paths}
    run(lm_folder, saes, None, outputs["es"], translations=paths, outputs=outputs)
    for lang, path in paths.items():
        alone = run(lm_folder, saes, path, tmp_path / "alone.parquet")
        assert read_table(outputs[lang]).equals(alone)
        assert table_metadata(outputs[lang])["lang"] == lang


@pytest.mark.parametrize("changes", [{"token_budget": 1}, {"token_budget": 10_000}, {"chunk": 7}])
def test_batches_and_chunks_change_nothing(lm_folder, saes, translations, tmp_path, monkeypatch, changes):
    usual = run(lm_folder, saes, translations, tmp_path / "a.parquet")
    if "chunk" in changes:
        monkeypatch.setattr(stage, "_PHRASES", changes.pop("chunk"))
    other = run(lm_folder, saes, translations, tmp_path / "b.parquet", **changes)
    assert other.select(pl.exclude(VALUES)).equals(usual.select(pl.exclude(VALUES)))
    assert_close(other.select(VALUES).to_numpy(), usual.select(VALUES).to_numpy(), atol=1e-5, rtol=1e-5)


def test_blocks_put_together_are_the_whole(lm_folder, saes, translations, tmp_path):
    whole = run(lm_folder, saes, translations, tmp_path / "0-2.parquet")
    blocks = {"0-0": [0], "1-2": [1, 2]}
    parts = [run(lm_folder, saes, translations, tmp_path / name, layers=layers) for name, layers in blocks.items()]
    assert_close(pl.concat(parts).to_numpy(), whole.to_numpy(), atol=1e-5, rtol=1e-5)


def test_out_of_memory_changes_nothing(lm_folder, saes, translations, tmp_path, monkeypatch):
    usual = run(lm_folder, saes, translations, tmp_path / "a.parquet")
    sizes = []
    visit = stage.visit_residuals

    def scarce(model, batch, layers, reader):
        sizes.append(batch.input_ids.numel())
        if sizes[-1] > 100:
            raise torch.OutOfMemoryError("no room")
        visit(model, batch, layers, reader)

    monkeypatch.setattr(stage, "visit_residuals", scarce)
    other = run(lm_folder, saes, translations, tmp_path / "b.parquet")
    assert max(sizes) > 100
    assert_close(other.select(VALUES).to_numpy(), usual.select(VALUES).to_numpy(), atol=1e-5, rtol=1e-5)


def test_topk_in_chunks_of_texts(monkeypatch, tmp_path):
    encoder = load_encoder(tiny_sae(tmp_path, kind="topk"))
    residual, content = torch.randn(5, 4, 32), torch.ones(5, 4, dtype=torch.bool)
    content[:, 0] = False
    content[2, 2:] = False
    rows, features = torch.tensor([4, 1, 1, 2]), torch.tensor([[1, 2, 3], [4, 4, 60], [0, 5, 6], [7, 8, 9]])
    whole = measure(encoder, residual, content, rows, features)
    monkeypatch.setattr("isogloss.sae.own_feature._LARGEST", 1)
    assert_close(measure(encoder, residual, content, rows, features), whole)


@pytest.mark.parametrize("kind", ["jumprelu", "standard"])
def test_columns_in_chunks_of_pairs(monkeypatch, tmp_path, kind):
    encoder = load_encoder(tiny_sae(tmp_path, kind=kind))
    generator = torch.Generator().manual_seed(0)
    residual, content = torch.randn(5, 4, 32, generator=generator), torch.ones(5, 4, dtype=torch.bool)
    content[:, 0] = False
    content[2, 2:] = False
    rows = torch.tensor([4, *[1] * 300, 2])  # one text that many phrases have
    features = torch.randint(64, (302, 3), generator=generator)
    whole = measure(encoder, residual, content, rows, features)
    dense = activations(encoder, residual).masked_fill(~content[..., None], 0).amax(dim=1)
    assert_close(whole.activation, dense[rows[:, None], features])
    for held, most in ((1, 1), (7 * 7 * 32, 7)):  # four tokens and three columns of 32 numbers a pair
        monkeypatch.setattr("isogloss.sae.own_feature._LARGEST", held)
        copies = []
        einsum = torch.einsum

        def counted(equation, x, w, copies=copies, einsum=einsum):
            copies.append(len(x))
            return einsum(equation, x, w)

        with monkeypatch.context() as patch:
            patch.setattr(torch, "einsum", counted)
            assert_close(measure(encoder, residual, content, rows, features), whole)
        assert (max(copies), sum(copies)) == (most, 302)


def test_partners_are_other_features_and_depend_on_nothing_else():
    phrases = np.arange(100, 400)
    features = np.repeat(np.arange(60, dtype=np.int32), 5)
    shuffled = shuffled_features(features, phrases, layer=2, seed=0)
    drawn = random_features(features, phrases, layer=2, dictionary=64, seed=0)
    assert (shuffled != features).all()
    assert (drawn != features).all()
    assert set(shuffled) <= set(features)
    assert drawn.min() >= 0
    assert drawn.max() == 63
    assert len(set(drawn)) > 55
    assert len(set(shuffled)) > 50
    mixed = np.random.default_rng(0).permutation(300)
    assert (shuffled_features(features[mixed], phrases[mixed], layer=2, seed=0) == shuffled[mixed]).all()
    assert (random_features(features[mixed], phrases[mixed], layer=2, dictionary=64, seed=0) == drawn[mixed]).all()
    for other in ({"layer": 1, "seed": 0}, {"layer": 2, "seed": 1}):
        assert (shuffled_features(features, phrases, **other) != shuffled).any()
        assert (random_features(features, phrases, dictionary=64, **other) != drawn).any()


def test_partners_with_one_feature_in_the_majority_or_alone():
    features = np.array([3] * 9 + [4], dtype=np.int32)
    assert shuffled_features(features, np.arange(10), layer=0, seed=0).tolist() == [4] * 9 + [3]
    with pytest.raises(IsoglossError, match="layer 0: all phrases belong to feature 3"):
        shuffled_features(features[:9], np.arange(9), layer=0, seed=0)


def test_mistakes_are_named(lm_folder, saes, translations, tmp_path):
    with pytest.raises(IsoglossError, match=r"nowhere/layer_0: no cfg\.json"):
        run(lm_folder, tmp_path / "nowhere", translations, tmp_path / "es.parquet")
    tiny_sae(tmp_path / "wide" / "layer_0", d_model=16)
    with pytest.raises(IsoglossError, match="is for width 16"):
        run(lm_folder, tmp_path / "wide", translations, tmp_path / "es.parquet", layers=[0])
    tiny_sae(tmp_path / "few" / "layer_0", features=32)
    with pytest.raises(IsoglossError, match="layer 0 has phrases of feature 63, but its SAE has 32"):
        run(lm_folder, tmp_path / "few", translations, tmp_path / "es.parquet", layers=[0])


def test_a_nan_is_named(lm_folder, saes, translations, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(lm_folder)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    model.save_pretrained(tmp_path / "lm")
    AutoTokenizer.from_pretrained(lm_folder).save_pretrained(tmp_path / "lm")
    first = next(row for row, owner in enumerate(OWNERS) if owner[0] == 1)
    with pytest.raises(IsoglossError, match=f"layer 1, language es, phrase {first}: the activation is not finite"):
        run(tmp_path / "lm", saes, translations, tmp_path / "es.parquet")
    assert not (tmp_path / "es.parquet").exists()


def test_rows_are_written_chunk_by_chunk(lm_folder, saes, translations, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "_PHRASES", 50)
    run(lm_folder, saes, translations, tmp_path / "es.parquet")
    assert open_table(tmp_path / "es.parquet").num_row_groups == 3


def test_given_ids_are_read_as_they_are_and_equal_the_text_that_they_spell(lm_folder, saes, translations, tmp_path):
    usual = run(lm_folder, saes, translations, tmp_path / "usual.parquet")
    tokenizer = AutoTokenizer.from_pretrained(lm_folder)
    ids = read_table(translations)["text"].map_elements(
        lambda text: tokenizer(text, add_special_tokens=False)["input_ids"], pl.List(pl.Int64)
    )
    given = pl.when(pl.col("phrase") % 3 > 0).then(pl.lit(ids.cast(pl.List(pl.Int32)))).alias("ids")
    mute = pl.when(pl.col("phrase") % 3 > 0).then(pl.lit("?")).otherwise("text").alias("text")
    for name, changes in {"spelt": [given], "mute": [given, mute]}.items():
        write_table(tmp_path / f"{name}-es.parquet", read_table(translations).with_columns(changes))
        found = run(lm_folder, saes, tmp_path / f"{name}-es.parquet", tmp_path / f"{name}.parquet")
        assert_close(found.select(VALUES).to_numpy(), usual.select(VALUES).to_numpy(), atol=1e-5, rtol=1e-5)
        assert found["n_tokens"].equals(usual["n_tokens"])
    # The same text with other ids is another text.
    other = given.list.head(2)
    write_table(tmp_path / "other-es.parquet", read_table(translations).with_columns(other))
    found = run(lm_folder, saes, tmp_path / "other-es.parquet", tmp_path / "other.parquet")
    assert found.filter(pl.col("phrase") % 3 > 0)["n_tokens"].to_list() == [2] * (len(OWNERS) * 2 // 3)
    assert found.filter(pl.col("phrase") % 3 == 0)["n_tokens"].equals(
        usual.filter(pl.col("phrase") % 3 == 0)["n_tokens"]
    )


def test_bfloat16_reads_ids_and_text_alike_and_encodes_in_float32(lm_folder, saes, tmp_path):
    texts = [TEXTS[row % 6] for row in range(len(OWNERS))]
    tokenizer = AutoTokenizer.from_pretrained(lm_folder)
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    keys = {"phrase": range(len(OWNERS)), "layer": [o[0] for o in OWNERS], "feature": [o[1] for o in OWNERS]}
    found = {}
    for name, given in (("text", None), ("ids", ids)):
        frame = pl.DataFrame({**keys, "text": texts, "ids": given, "chrf": None}, schema_overrides=SCHEMA)
        write_table(tmp_path / "es.parquet", frame)
        found[name] = run(lm_folder, saes, tmp_path / "es.parquet", tmp_path / f"{name}.parquet", dtype="bfloat16")
    assert found["ids"].equals(found["text"])
    exact = run(lm_folder, saes, tmp_path / "es.parquet", tmp_path / "exact.parquet")
    off = (found["ids"]["pre_activation"] - exact["pre_activation"]).abs()
    assert 0 < off.mean() < 0.02 * exact["pre_activation"].abs().mean()
    # A pre-activation computed in bfloat16 would have 8 significant bits.
    values = torch.tensor(found["ids"]["pre_activation"].to_numpy())
    assert (values.bfloat16().float() != values).float().mean() > 0.9


def test_a_phrase_without_translation_is_null_and_changes_no_other(lm_folder, saes, translations, tmp_path):
    usual = run(lm_folder, saes, translations, tmp_path / "usual.parquet")
    absent = (pl.col("phrase") % 7 == 2) | pl.col("phrase").is_between(50, 70)
    gone = [pl.when(~absent).then(name).alias(name) for name in ("text", "chrf")]
    write_table(tmp_path / "es.parquet", read_table(translations).with_columns(gone))
    for chunk in (4096, 10):  # with ten, whole chunks are null
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stage, "_PHRASES", chunk)
            found = run(lm_folder, saes, tmp_path / "es.parquet", tmp_path / "out.parquet")
        measured = [name for name in found.columns if name not in ("phrase", "layer", "feature")]
        assert found.select("phrase", "layer", "feature").equals(usual.select("phrase", "layer", "feature"))
        assert all(column.is_null().all() for column in found.filter(absent).select(measured))
        here, there = found.filter(~absent), usual.filter(~absent)
        assert sum(here.null_count().row(0)) == 0
        assert_close(here.select(measured).to_numpy(), there.select(measured).to_numpy(), atol=1e-5, rtol=1e-5)


def test_rows_in_any_order_of_layers_have_the_same_values(lm_folder, saes, translations, tmp_path):
    usual = run(lm_folder, saes, translations, tmp_path / "usual.parquet")
    mixed = read_table(translations).sample(fraction=1, shuffle=True, seed=1)
    write_table(tmp_path / "es.parquet", mixed)
    found = run(lm_folder, saes, tmp_path / "es.parquet", tmp_path / "mixed.parquet", layers=[0, 2])
    assert found["phrase"].to_list() == mixed.filter(pl.col("layer") != 1)["phrase"].to_list()
    assert_close(found.sort("phrase").to_numpy(), usual.filter(pl.col("layer") != 1).to_numpy(), atol=1e-5, rtol=1e-5)


def test_a_block_reads_only_its_own_row_groups(lm_folder, saes, translations, tmp_path):
    """Row groups of other layers may even be damaged."""
    frame = read_table(translations)
    schema = frame.to_arrow().schema
    with TableWriter(tmp_path / "es.parquet", schema) as writer:
        for layer in range(3):
            writer.write(frame.filter(pl.col("layer") == layer))
    usual = run(lm_folder, saes, tmp_path / "es.parquet", tmp_path / "usual.parquet", layers=[1])
    assert usual["layer"].unique().to_list() == [1]
    content = bytearray((tmp_path / "es.parquet").read_bytes())
    for group in (0, 2):
        metadata = open_table(tmp_path / "es.parquet").metadata.row_group(group)
        for column in range(metadata.num_columns):
            chunk = metadata.column(column)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    (tmp_path / "es.parquet").write_bytes(bytes(content))
    assert run(lm_folder, saes, tmp_path / "es.parquet", tmp_path / "again.parquet", layers=[1]).equals(usual)
    with pytest.raises(IsoglossError, match=r"es\.parquet: damaged Parquet file .*; delete it and run"):
        run(lm_folder, saes, tmp_path / "es.parquet", tmp_path / "broken.parquet", layers=[0])
