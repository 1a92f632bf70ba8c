"""SAE codes of the same texts in every language against SAELens on single texts; which texts, and what is refused."""

import shutil

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from config_sections import grouped
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.residuals.retrieval import text_keys
from isogloss.sae.codes import write_codes
from isogloss.sae.pool import Pool
from isogloss.tables import open_table, read_table, table_metadata, write_table
from standins import tiny_sae

FEATURES, STRIDE, LAYERS = 64, 3, (0, 1, 2)
WORDS = {
    "en": ["The currency of {} is {}", "In {} one pays in {}"],
    "es": ["La moneda de {} es {}", "En {} se paga en {}"],
    "hi": ["{} की मुद्रा {} है", "{} में {} चलता है"],
}
FACTS = [("Austria", "Euro"), ("India", "rupee"), ("Russia", "ruble"), ("China", "yuan"), ("Nepal", "rupee")]


def segments(lang: str, wordings: int = 2) -> pl.DataFrame:
    """The toy world's table: each fact in two wordings."""
    return pl.DataFrame(
        [
            {"segment": f"currency/{place}#{number}", "fact": f"currency/{place}", "text": wording.format(place, money)}
            for place, money in FACTS
            for number, wording in enumerate(WORDS[lang][:wordings])
        ]
    )


@pytest.fixture(scope="module", params=["topk", "jumprelu", "standard"])
def saes(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"saes-{request.param}")
    for layer in LAYERS:
        cfg = tiny_sae(folder / f"layer_{layer}", kind=request.param, seed=layer, features=FEATURES) / "cfg.json"
        cfg.write_text(cfg.read_text().replace("blocks.0.hook", f"blocks.{layer}.hook"))
    return folder


def tables_of(folder, frames):
    paths = {lang: [str(folder / "segments" / f"{lang}.parquet")] for lang in frames}
    for lang, frame in frames.items():
        write_table(paths[lang][0], frame)
    return paths


def run(lm_folder, saes, tables, folder, langs=None, **changes):
    outputs = {lang: str(folder / f"{lang}.parquet") for lang in langs or tables}
    settings = {
        "lm": str(lm_folder), "sae": str(saes), "tables": tables, "kind": "segments", "outputs": outputs,
        "reference": "en", "layers": list(LAYERS), "texts": 100, "feature_stride": STRIDE, "token_budget": 60,
        "dtype": "float32", "seed": 0, "metadata": {}, **changes,
    }  # fmt: skip
    write_codes(**grouped(settings, compute=Compute))
    return {lang: read_table(path) for lang, path in outputs.items()}


def dense(frame, layer, wording=0):
    """The codes of a layer, with a column for each sampled feature."""
    rows = frame.filter(layer=layer, wording=wording).sort("text")
    codes = np.zeros((len(rows), -(-FEATURES // STRIDE)), np.float32)
    for code, row in zip(codes, rows.iter_rows(named=True), strict=True):
        code[np.array(row["features"], int) // STRIDE] = row["activations"]
    return codes


def naive_codes(lm_folder, saes, texts, layer):
    """SAELens' code of each text alone, all features, then the maximum over tokens of those sampled."""
    from sae_lens import SAE

    model, tokenizer = AutoModelForCausalLM.from_pretrained(lm_folder).eval(), AutoTokenizer.from_pretrained(lm_folder)
    sae, codes = SAE.load_from_disk(saes / f"layer_{layer}", device="cpu"), []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"] if isinstance(text, str) else text
        states = []
        handle = model.model.layers[layer].register_forward_hook(lambda _m, _i, out, states=states: states.append(out))
        with torch.no_grad():
            model(torch.tensor([[tokenizer.bos_token_id, *ids]]))
            codes.append(sae.encode(states[0][0, 1:]).max(dim=0).values[::STRIDE].numpy())
        handle.remove()
    return np.array(codes)


def chosen_texts(lang):
    """One wording of each fact, that with the lower key in the reference, in the order of the table."""
    frame = segments("en").with_columns(pl.Series("key", text_keys(segments("en")["text"], 0)))
    names = [min(group.iter_rows(named=True), key=lambda row: row["key"])["segment"] for _, group in
             frame.group_by("fact", maintain_order=True)]  # fmt: skip
    texts = dict(segments(lang).select("segment", "text").iter_rows())
    other = {name: name[:-1] + str(1 - int(name[-1])) for name in names}
    return [texts[name] for name in names], [texts[other[name]] for name in names]


def test_codes_are_those_of_saelens_on_single_texts(lm_folder, saes, tmp_path):
    tables = tables_of(tmp_path, {lang: segments(lang) for lang in WORDS})
    found = run(lm_folder, saes, tables, tmp_path / "codes")
    tokenizer = AutoTokenizer.from_pretrained(lm_folder)
    for lang, frame in found.items():
        texts, others = chosen_texts(lang)
        for layer in LAYERS:
            expected = naive_codes(lm_folder, saes, texts, layer)
            assert (expected > 0).any()
            np.testing.assert_allclose(dense(frame, layer), expected, rtol=4e-5, atol=1e-5)
        if lang == "en":
            np.testing.assert_allclose(
                dense(frame, 1, 1), naive_codes(lm_folder, saes, others, 1), rtol=4e-5, atol=1e-5
            )
        else:
            assert frame["wording"].sum() == 0
        lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
        assert frame.filter(layer=0, wording=0)["n_tokens"].to_list() == lengths
        assert frame["layer"].is_sorted()
        assert all(row == sorted(row) for row in frame["features"].to_list())
        notes = table_metadata(tmp_path / "codes" / f"{lang}.parquet")
        assert (notes["pool"], notes["n_texts"], notes["lang"]) == ("segments", len(FACTS), lang)
        assert notes["n_wordings"] == (len(FACTS) if lang == "en" else 0)
        assert notes["n_alike"] == len(FACTS)
    assert open_table(tmp_path / "codes" / "en.parquet").num_row_groups == len(LAYERS)


def test_budgets_blocks_and_jobs_change_nothing(lm_folder, saes, tmp_path):
    tables = tables_of(tmp_path, {lang: segments(lang) for lang in WORDS})
    whole = run(lm_folder, saes, tables, tmp_path / "whole")
    parts = [run(lm_folder, saes, tables, tmp_path / "part", langs=["es"], layers=part) for part in ([0], [1, 2])]
    one = pl.concat([part["es"] for part in parts])
    wide = run(lm_folder, saes, tables, tmp_path / "wide", langs=["es"], token_budget=10_000)["es"]
    for other in (one, wide):
        for layer in LAYERS:
            np.testing.assert_allclose(dense(other, layer), dense(whole["es"], layer), rtol=4e-5, atol=1e-6)


def test_phrases_are_drawn_by_their_text_and_read_by_their_ids(lm_folder, saes, tmp_path):
    schema = {"phrase": pl.Int64, "layer": pl.Int32, "text": pl.String, "ids": pl.List(pl.Int32)}
    texts = [segments("en", 1)["text"][row] for row in (0, 1, 0, 2)]
    ids = [[40, 41], [50, 51, 52], [40, 41], [60]]
    tables = {lang: [str(tmp_path / f"{block}-{lang}.parquet") for block in (0, 1)] for lang in ("en", "es")}
    spanish = [None, *segments("es", 1)["text"][1:3], ""]
    for lang, phrases, given in (("en", texts, ids), ("es", spanish, [None] * 4)):
        for block, path in enumerate(tables[lang]):
            here = slice(2 * block, 2 * block + 2)
            rows = {"phrase": [0, 1, 2, 3][here], "layer": [block] * 2, "text": phrases[here], "ids": given[here]}
            write_table(path, pl.DataFrame(rows, schema=schema))
    found = run(lm_folder, saes, tables, tmp_path / "codes", kind="phrases")
    assert found["en"].filter(layer=0)["n_tokens"].to_list() == [3, 2]  # phrases 1 and 2; 0 and 3 lack a translation
    np.testing.assert_allclose(
        dense(found["en"], 2), naive_codes(lm_folder, saes, [ids[1], ids[2]], 2), rtol=4e-5, atol=1e-5
    )
    assert table_metadata(tmp_path / "codes" / "es.parquet")["n_lacking"] == {"en": 0, "es": 2}


def test_the_pool_has_no_text_twice_and_goes_by_the_seed(tmp_path):
    frame = pl.DataFrame({"segment": [f"s{row}" for row in range(60)], "text": [f"t{row // 2}" for row in range(60)]})
    tables = tables_of(tmp_path, {"en": frame, "es": frame.with_columns(text=pl.lit("the same")).head(50)})
    pools = [Pool.sample(tables, "segments", reference="en", most=most, seed=seed) for most, seed in
             ((100, 0), (10, 0), (10, 1))]  # fmt: skip
    assert pools[0].names == [f"s{row}" for row in range(0, 50, 2)]
    assert (pools[0].lacking, pools[0].alike) == ({"en": 0, "es": 10}, 25)
    keys = dict(zip(frame["segment"], text_keys(frame["text"], 0).tolist(), strict=True))
    lowest = sorted(pools[0].names, key=keys.__getitem__)[:10]
    assert set(pools[1].names) == set(lowest)
    assert pools[1].names != pools[2].names
    assert pools[1].others == [None] * 10


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hi": pl.col("segment") + "x"}, "none of the segments has a text in every language, hi lacks 10 of 10; give"),
        ({"es": pl.lit("currency/India#0")}, "is there twice; a segment has one text a language"),
        ({}, "es, 'currency/Austria#.' has 9[0-9][0-9] tokens, but the model reads 512; shorten it, or leave it out"),
    ],
)  # fmt: skip
def test_texts_that_cannot_be_used_end_in_one_line(lm_folder, tmp_path, changed, message):
    frames = {lang: segments(lang).with_columns(segment=changed.get(lang, pl.col("segment"))) for lang in WORDS}
    if not changed:
        frames["es"] = frames["es"].with_columns(text=pl.col("text").str.pad_end(950, "q"))
    sae = tmp_path / "sae"
    tiny_sae(sae / "layer_0", kind="jumprelu")
    with pytest.raises(IsoglossError, match=message) as raised:
        run(lm_folder, sae, tables_of(tmp_path, frames), tmp_path / "codes", layers=[0])
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "codes" / "hi.parquet").exists()


def test_a_reference_without_text_ends_in_one_line(lm_folder, tmp_path):
    blank = segments("en").with_columns(text=pl.lit(" "))
    tables = tables_of(tmp_path, {"en": blank, "es": segments("es")})
    with pytest.raises(IsoglossError, match="no segments in en, the reference; give it some text"):
        Pool.sample(tables, "segments", reference="en", most=10, seed=0)


def test_a_nan_names_layer_language_and_text(lm_folder, tmp_path):
    lm = shutil.copytree(lm_folder, tmp_path / "lm")
    weights = load_file(lm / "model.safetensors")
    weights["model.layers.0.mlp.down_proj.weight"][0, 0] = torch.nan
    save_file(weights, lm / "model.safetensors", metadata={"format": "pt"})
    tiny_sae(tmp_path / "sae" / "layer_0", kind="jumprelu")
    tables = tables_of(tmp_path, {lang: segments(lang) for lang in ("en", "es")})
    message = "layer 0, language en, text currency/.*: the activation is not finite; .* or the SAE is damaged"
    with pytest.raises(IsoglossError, match=message):
        run(lm, tmp_path / "sae", tables, tmp_path / "codes", layers=[0])
