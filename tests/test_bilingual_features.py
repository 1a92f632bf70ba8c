from collections import Counter
from math import log

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM

from config_sections import grouped
from isogloss.bilingual import examples as examples_module
from isogloss.bilingual import patterns as patterns_module
from isogloss.bilingual.examples import PART, choose_features, token_strings
from isogloss.bilingual.features import describe_features
from isogloss.config.bilingual import Bilingual
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.models.loading import load_base_model, load_tokenizer
from isogloss.sae.autoencoder import load_encoder
from isogloss.tables import read_table, table_metadata, write_table
from standins import TEXTS, tiny_gemma2, tiny_sae
from test_bilingual_entropy import greedy_twin
from test_bilingual_patterns import LANGUAGES, every_activation, write_tokens


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return write_tokens(tmp_path_factory.mktemp("tokens") / "evaluation.parquet")


def saes(folder, layers=(0, 2), **settings):
    """Random SAEs that belong to their layers."""
    for layer in layers:
        cfg = tiny_sae(folder / f"layer_{layer}", seed=layer, **settings) / "cfg.json"
        cfg.write_text(cfg.read_text().replace("blocks.0.hook", f"blocks.{layer}.hook"))
    return folder


@pytest.fixture(scope="module")
def sae(tmp_path_factory):
    return saes(tmp_path_factory.mktemp("sae"))


def describe(lm, sae, tokens, out, **changes) -> tuple[pl.DataFrame, pl.DataFrame]:
    settings = {
        "lm": str(lm),
        "embeddings": str(lm),
        "sae": str(sae),
        "evaluation": str(tokens),
        "features": str(out / "features.parquet"),
        "examples": str(out / "examples.parquet"),
        "step": 100,
        "layers": [2, 0],
        "languages": LANGUAGES,
        "threshold": 0.6,
        "pattern_threshold": 0.7,
        "similarity": 0.1,
        "similarity_quantile": 0.9,
        "permutations": 3,
        "clustering": "greedy",
        "single_token": 1.0,
        "examples_per_class": 3,
        "token_budget": 256,
        "dtype": "float32",
        "seed": 0,
        "metadata": {"study": "test"},
    }
    keep = ("languages", "embeddings")
    describe_features(**grouped(settings | changes, keep, settings=Bilingual, compute=Compute))
    return read_table(out / "features.parquet"), read_table(out / "examples.parquet")


def entropy(counts) -> float:
    total = sum(counts)
    return -sum(count / total * log(count / total) for count in counts)


def plain_row(entries: list[tuple], embeddings: torch.Tensor, threshold: float, part: float) -> dict:
    """A feature's row from everything that it is active on, in plain loops."""
    maximum = max((row[-1] for row in entries), default=0.0)
    counted = sorted(row[1:5] for row in entries if row[-1] > part * maximum)
    row = {"maximum": maximum, "n_activations": len(counted), "class": "silent"}
    if not counted:
        return row
    shares = [sum(entry[3] == number for entry in counted) / len(counted) for number in range(3)]
    row |= {f"p_{lang}": share for lang, share in zip(LANGUAGES, shares, strict=True)}
    row["class"] = next((lang for lang, share in zip(LANGUAGES, shares, strict=True) if share > threshold), "mixed")
    tokens = Counter(entry[2] for entry in counted)
    ordered = sorted(tokens, key=lambda token: (-tokens[token], token))
    merged: Counter[int] = Counter()
    for token, leader in zip(ordered, greedy_twin(ordered, embeddings, 0.1), strict=True):
        merged[leader] += tokens[token]
    row["n_tokens_distinct"] = len(tokens)
    row["token_entropy"], row["semantic_entropy"] = entropy(tokens.values()), entropy(merged.values())
    single = len(tokens) == 1
    row["monosemanticity"] = 1.0 if single else 1 - row["semantic_entropy"] / row["token_entropy"]
    row["monosemanticity_other_reading"] = 0.0 if single else row["monosemanticity"]
    runs = sum((feature[0], feature[1] - 1) not in {entry[:2] for entry in counted} for feature in counted)
    row["span_length"] = len(counted) / runs
    row["n_firings"] = len(entries)
    shares = [sum(entry[4] == number for entry in entries) / len(entries) for number in range(3)]
    row |= {f"p_firings_{lang}": share for lang, share in zip(LANGUAGES, shares, strict=True)}
    by_firings = [lang for lang, share in zip(LANGUAGES, shares, strict=True) if share > threshold]
    row["class_firings"] = by_firings[0] if by_firings else "mixed"
    return row


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
def test_every_column_against_plain_loops_in_three_languages(kind, lm_folder, tokens, tmp_path):
    folder = saes(tmp_path / "sae", kind=kind)
    found, _ = describe(lm_folder, folder, tokens, tmp_path)
    assert found.columns[:7] == ["step", "layer", "feature", "class", "p_en", "p_es", "p_ml"]
    assert found["layer"].to_list() == [0] * 64 + [2] * 64
    assert found["feature"].to_list() == list(range(64)) * 2
    assert found["step"].unique().to_list() == [100]
    embeddings = load_base_model(lm_folder).get_input_embeddings().weight.detach()
    for layer in (0, 2):
        plain = every_activation(lm_folder, load_encoder(folder / f"layer_{layer}"), tokens, layer)
        for row in found.filter(pl.col("layer") == layer).iter_rows(named=True):
            expected = plain_row([entry for entry in plain if entry[0] == row["feature"]], embeddings, 0.6, 0.7)
            for column, value in expected.items():
                assert row[column] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-4, abs=1e-6))
    assert len(found["class"].unique()) > 3
    assert found.filter(pl.col("n_tokens_distinct") == 1).height


def test_groups_ranges_and_token_budget_change_no_row(lm_folder, sae, tokens, tmp_path, monkeypatch):
    usual, usual_examples = describe(lm_folder, sae, tokens, tmp_path)
    for documents, held, budget in ((7, 40, 64), (1, 1, 999)):
        monkeypatch.setattr(patterns_module, "_DOCUMENTS", documents)
        monkeypatch.setattr(patterns_module, "_ENTRIES", held)
        monkeypatch.setattr(patterns_module, "_RANGE", held)
        monkeypatch.setattr(examples_module, "_LARGEST", 64 * 24 * documents)
        found, examples = describe(lm_folder, sae, tokens, tmp_path, token_budget=budget)
        assert found.drop("maximum").equals(usual.drop("maximum"))
        assert found["maximum"].to_list() == pytest.approx(usual["maximum"].to_list(), rel=1e-5)
        assert examples.drop("activations").equals(usual_examples.drop("activations"))
    assert {path.name for path in tmp_path.iterdir()} == {"features.parquet", "examples.parquet"}


# Tokens that mean the same have the same direction in a model whose residual stream is its embedding.
DIRECTION = {10: 0, 11: 0, 20: 0, 21: 0, 12: 1, 13: 1, 22: 2, 23: 2, 30: 3, 31: 4}
ENGLISH, SPANISH = [10, 11, 12, 13, 30, 31], [20, 21, 22, 23, 30, 31]


def planted(folder):
    """A model without attention or MLP, and an SAE whose features are planted (returns both folders and the tokens)."""
    tiny_gemma2(folder / "lm")
    model = AutoModelForCausalLM.from_pretrained(folder / "lm")
    with torch.no_grad():
        weight = model.model.embed_tokens.weight
        weight.zero_()
        weight[:, 31] = 1.0  # every other token, BOS too
        for token, direction in DIRECTION.items():
            weight[token] = 0.0
            weight[token, direction] = 1.0 + token / 1000
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    model.save_pretrained(folder / "lm")
    sae = saes(folder / "sae", layers=(1,), kind="standard", features=8)
    from safetensors.torch import load_file, save_file

    tensors = load_file(sae / "layer_1" / "sae_weights.safetensors")
    for tensor in tensors.values():
        tensor.zero_()
    readers = [[0], [1], [2], [1, 2], [3, 4], [3], []]  # directions that features 0 to 6 read; 7 reads none
    for feature, directions in enumerate(readers):
        tensors["W_enc"][directions, feature] = 1.0
    save_file(tensors, sae / "layer_1" / "sae_weights.safetensors")
    rng = np.random.default_rng(0)
    rows = []
    for row in range(60):
        lang, words = ("en", ENGLISH) if row % 2 else ("es", SPANISH)
        rows.append((f"d/{row // 2}", lang, [2, *rng.choice(words, size=12).tolist()]))
    write_table(
        folder / "tokens.parquet",
        pl.DataFrame(rows, schema={"document": pl.String, "lang": pl.String, "ids": pl.List(pl.Int32)}, orient="row"),
    )
    return folder / "lm", sae, folder / "tokens.parquet"


def test_planted_features_are_classed_right(tmp_path):
    lm, sae, tokens = planted(tmp_path)
    settings = {"languages": ["en", "es"], "layers": [1], "threshold": 0.9, "permutations": 20}
    found, examples = describe(lm, sae, tokens, tmp_path, **settings)
    # 0: a concept of both languages; 1, 2: of one; 3: two concepts, one a language; 4: two that both share;
    # 5: one token of both.
    assert found["class"].to_list() == ["mixed", "en", "es", "mixed", "mixed", "mixed", "silent", "silent"]
    mono = found["monosemanticity"].to_list()
    assert mono[:3] == pytest.approx([1, 1, 1])
    assert mono[3] == pytest.approx(0.5, abs=0.03)  # four tokens in two clusters: 1 - log 2 / log 4
    assert mono[4] == pytest.approx(0)  # two tokens, two meanings
    assert (mono[5], found["monosemanticity_other_reading"][5]) == (1, 0)
    assert found["n_tokens_distinct"].to_list() == [4, 2, 2, 4, 2, 1, 0, 0]
    assert found.filter(pl.col("class") == "silent").select("p_en", "token_entropy", "span_length").null_count().row(
        0
    ) == (2, 2, 2)
    assert found["maximum"].to_list()[6:] == [0, 0]
    notes = table_metadata(tmp_path / "features.parquet")
    assert notes.pop("kernels")["norms"] == "transformers"
    similarity = notes.pop("similarity")
    assert similarity["similarity"] == 0.1
    assert similarity["distinct_tokens"] == 10
    # Four tokens of a direction make six pairs, two pairs of tokens one each: 8 of 45.
    assert similarity["random_pairs_above_similarity"] == pytest.approx(8 / 45, abs=0.01)
    assert notes == {
        "study": "test",
        "evaluated": {"documents_en": 30, "tokens_en": 360, "documents_es": 30, "tokens_es": 360},
    }
    # The features of one concept have more than any tokens would, those of two concepts are no better than chance.
    excess = found["monosemanticity_excess"].to_list()
    assert min(excess[:3]) > 0.4
    assert excess[4] < 0
    assert excess[5:] == [None] * 3  # one token, and silent
    assert found["monosemanticity_null"][0] == pytest.approx(mono[0] - excess[0])
    assert found["semantic_entropy_excess"][0] < 0
    assert found["class_firings"].to_list() == found["class"].to_list()  # each activation is about as strong
    # Mixed features are shown in both languages, the others in their own.
    langs = examples.group_by("feature").agg(pl.col("lang").unique().sort())
    assert dict(langs.iter_rows()) == {
        feature: ["en", "es"] if name == "mixed" else [name]
        for feature, name in enumerate(found["class"])
        if feature in langs["feature"]
    }
    assert {1, 2} <= set(langs["feature"])
    other, _ = describe(lm, sae, tokens, tmp_path, **settings, single_token=0.0)
    assert (other["monosemanticity"][5], other["monosemanticity_other_reading"][5]) == (0, 1)
    chained, _ = describe(lm, sae, tokens, tmp_path, **settings, clustering="components")
    assert chained["semantic_entropy"].to_list() == pytest.approx(found["semantic_entropy"].to_list())


def test_a_share_at_the_threshold_is_mixed(tmp_path):
    lm, sae, _ = planted(tmp_path)
    ids = [[2, 10]] * 9 + [[2, 20]]
    langs = ["en"] * 9 + ["es"]
    tokens = pl.DataFrame({"document": [str(row) for row in range(10)], "lang": langs, "ids": ids})
    write_table(tmp_path / "tokens.parquet", tokens)
    settings = {"languages": ["en", "es"], "layers": [1]}
    for threshold, expected in ((0.9, "mixed"), (0.89, "en")):
        found, _ = describe(lm, sae, tmp_path / "tokens.parquet", tmp_path, **settings, threshold=threshold)
        assert found.row(0, named=True)["p_en"] == 0.9
        assert found["class"][0] == expected


def test_examples_show_the_strongest_contexts_with_their_activations(lm_folder, sae, tokens, tmp_path):
    found, examples = describe(lm_folder, sae, tokens, tmp_path)
    ids = {
        (name, lang): token_ids
        for name, lang, token_ids in read_table(tokens).select("document", "lang", "ids").iter_rows()
    }
    assert len(examples) > 40
    for layer in (0, 2):
        plain = {
            entry[:3]: entry[-1]
            for entry in every_activation(lm_folder, load_encoder(sae / f"layer_{layer}"), tokens, layer)
        }
        order = list(read_table(tokens).select("document", "lang").iter_rows())
        for row in examples.filter(pl.col("layer") == layer).iter_rows(named=True):
            document = order.index((row["document"], row["lang"]))
            window = range(
                max(1, row["position"] - 8), min(len(ids[row["document"], row["lang"]]), row["position"] + 9)
            )
            values = [plain.get((row["feature"], document, position), 0.0) for position in window]
            assert row["activations"] == pytest.approx(values, rel=1e-4, abs=1e-5)
            assert len(row["tokens"]) == len(values)
            assert row["activations"][row["position"] - window[0]] == max(row["activations"])
            if row["rank"] == 0:
                in_lang = [
                    value
                    for (feature, number, _), value in plain.items()
                    if feature == row["feature"] and order[number][1] == row["lang"]
                ]
                assert max(values) == pytest.approx(max(in_lang), rel=1e-4)
    keys = examples.group_by("layer", "feature", "lang", maintain_order=True).agg("rank")
    assert all(ranks == list(range(len(ranks))) for ranks in keys["rank"].to_list())
    features = examples.unique(["layer", "feature"]).join(found, on=["layer", "feature"], validate="1:1")
    assert (features["class"] == features["class_right"]).all()
    assert (features["monosemanticity"] == features["monosemanticity_right"]).all()
    per_class = features.group_by("layer", "class").len()["len"]
    assert per_class.max() == 3
    for row in features.filter(pl.col("class") == "mixed").iter_rows(named=True):
        shown = examples.filter((pl.col("layer") == row["layer"]) & (pl.col("feature") == row["feature"]))["lang"]
        assert set(shown) == {lang for lang in LANGUAGES if row[f"p_{lang}"] > 0}
    none = describe(lm_folder, sae, tokens, tmp_path, examples_per_class=0)[1]
    assert none.is_empty()
    assert none.columns == examples.columns


def test_contexts_of_the_same_tokens_are_shown_once(tmp_path):
    lm, sae, _ = planted(tmp_path)
    ids = [[2, 10, 12]] * 6 + [[2, 12, 10]] + [[2, 20]]
    langs = ["en"] * 7 + ["es"]
    tokens = pl.DataFrame({"document": [str(row) for row in range(8)], "lang": langs, "ids": ids})
    write_table(tmp_path / "tokens.parquet", tokens)
    settings = {"languages": ["en", "es"], "layers": [1], "threshold": 0.95}
    _, examples = describe(lm, sae, tmp_path / "tokens.parquet", tmp_path, **settings)
    shown = examples.filter(pl.col("feature") == 0).select("lang", "rank", "document", "position")
    assert shown.rows() == [("en", 0, "0", 1), ("en", 1, "6", 2), ("es", 0, "7", 1)]


def test_features_are_chosen_from_the_top_and_from_the_middle():
    mono = np.array([0.1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.99, 1.0, np.nan, 0.2])
    n = np.array([50, 50, 60, 50, 50, 50, 50, 50, 2, 50, 0, 50])
    distinct = np.array([3, 3, 3, 3, 3, 3, 3, 3, 2, 1, 0, 3])
    classes = ["en"] * 10 + ["silent", "mixed"]
    # 8 fires too rarely and 9 on one token only; 7 is in the pool's lower half.
    assert choose_features(classes, mono, n, distinct, 4) == {1: "top", 2: "top", 4: "median", 5: "median", 11: "top"}
    assert choose_features(classes, mono, n, distinct, 1) == {1: "top", 11: "top"}
    every = choose_features(classes, mono, n, distinct, 99)
    assert sorted(every) == [*range(10), 11]
    assert choose_features(classes, mono, n, distinct, 0) == {}


def test_token_strings_are_readable_and_add_up_to_the_text(lm_folder):
    tokenizer = load_tokenizer(lm_folder)
    for text in [*TEXTS, "日本 ट ok 🙂"]:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        strings = token_strings(tokenizer, ids)
        assert len(strings) == len(ids)
        assert "".join(strings).replace(PART, "") == text
        assert "\ufffd" not in "".join(strings)
    ids = tokenizer("日", add_special_tokens=False)["input_ids"]
    assert token_strings(tokenizer, ids) == [PART, PART, "日"]
    assert token_strings(tokenizer, ids[:2]) == [PART, PART]  # never completed
    assert (
        "".join(token_strings(tokenizer, [*ids[:2], *tokenizer(" ok", add_special_tokens=False)["input_ids"]]))
        == f"{PART}{PART}\ufffd ok"
    )


def test_mistakes_are_named_in_one_line(lm_folder, sae, tokens, tmp_path):
    tiny_gemma2(tmp_path / "other", layers=1, vocabulary=330)

    def mistake(match, **changes):
        with pytest.raises(IsoglossError, match=match) as caught:
            describe(**{"lm": lm_folder, "sae": sae, "tokens": tokens, "out": tmp_path / "out"}, **changes)
        assert "\n" not in str(caught.value)
        assert not list((tmp_path / "out").glob("*"))

    mistake("its embedding has 330 tokens, but .* has 320", embeddings=str(tmp_path / "other"))
    mistake("documents in ml, but bilingual.languages", languages=["en", "es"])
    mistake("no document in ru", languages=[*LANGUAGES, "ru"])
    mistake(r"layer_1: no cfg\.json", layers=[1])
    mistake("no layer 9; the model has layers 0 to 2", layers=[9])
    for name, ids, match in (
        ("long", [2] * 513, "document a has 513 tokens, but the model reads 512"),
        ("foreign", [2, 320], "document a has token 320, but the model knows 320"),
    ):
        write_table(tmp_path / f"{name}.parquet", pl.DataFrame({"document": ["a"], "lang": ["en"], "ids": [ids]}))
        mistake(match, evaluation=str(tmp_path / f"{name}.parquet"), languages=["en"])


def test_a_nan_is_named_with_layer_and_document(lm_folder, sae, tokens, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(lm_folder)
    with torch.no_grad():
        model.model.layers[2].mlp.down_proj.weight[0, 0] = torch.nan
    model.save_pretrained(tmp_path / "lm")
    with pytest.raises(IsoglossError, match=r"layer 2, document doc/\d+: the activation is not finite"):
        describe(tmp_path / "lm", sae, tokens, tmp_path / "out", embeddings=str(lm_folder))
    assert not list((tmp_path / "out").glob("*"))


def test_bfloat16_differs_little(lm_folder, sae, tokens, tmp_path):
    exact, _ = describe(lm_folder, sae, tokens, tmp_path)
    found, _ = describe(lm_folder, sae, tokens, tmp_path, dtype="bfloat16")
    assert (found["maximum"] - exact["maximum"]).abs().mean() < 0.02 * exact["maximum"].mean()
    assert (found["class"] == exact["class"]).mean() > 0.8
