"""The explorer's tables against transformers and SAELens on single texts; which features and texts, what is refused."""

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from config_sections import grouped
from isogloss.config.explorer import Explorer
from isogloss.config.measures import Compute, Statistics
from isogloss.explorer.choice import LARGEST, MONOSEMANTIC, ONE_LANGUAGE, SMALLEST, Candidates, choose
from isogloss.explorer.explore import explore
from isogloss.explorer.measured import histograms, means
from isogloss.explorer.spans import SHOWN
from isogloss.sae.codes import write_codes
from isogloss.sae.encode import encode
from isogloss.tables import open_table, read_table, table_metadata, write_table
from isogloss.tables.explorer import EXPLORER, EXPLORER_FEATURES
from standins import tiny_sae
from synthetic import settings as synthetic

FEATURES, STRIDE, LAYER = 64, 2, 1
LANGS = ("en", "es", "hi")
WORDS = {"en": "The currency of {} is {}", "es": "La moneda de {} es {}", "hi": "{} की मुद्रा {} है"}
FACTS = [("Austria", "Euro"), ("India", "rupee"), ("Russia", "ruble"), ("China", "yuan"), ("Nepal", "rupee"), ("", "")]
LONG = " Euro" * 90


def text_of(lang: str, number: int) -> str:
    return WORDS[lang].format(*FACTS[number]) if number < 5 else WORDS[lang].format("Peru", "sol") + LONG


@pytest.fixture(scope="module", params=["topk", "jumprelu"])
def made(request, lm_folder, tmp_path_factory):
    """What the stage reads, made by the stages before it: every second feature has two phrases, one has no Hindi."""
    folder = tmp_path_factory.mktemp(request.param)
    cfg = tiny_sae(folder / "sae" / f"layer_{LAYER}", kind=request.param, features=FEATURES) / "cfg.json"
    cfg.write_text(cfg.read_text().replace("blocks.0.hook", f"blocks.{LAYER}.hook"))
    paths: dict[str, dict[str, str]] = {
        kind: {lang: str(folder / kind / f"{lang}.parquet") for lang in LANGS}
        for kind in ("segments", "translations", "activations", "codes")
    }
    owners = [feature for feature in range(0, FEATURES // 2, STRIDE) for _ in range(2)]
    for lang in LANGS:
        names = [f"currency/{number}" for number in range(len(FACTS))]
        texts = [text_of(lang, number) for number in range(len(FACTS))]
        write_table(paths["segments"][lang], pl.DataFrame({"segment": names, "text": texts}))
        write_table(
            paths["translations"][lang],
            pl.DataFrame(
                {
                    "phrase": range(len(owners)),
                    "layer": LAYER,
                    "feature": owners,
                    "text": [
                        None if (lang, row) == ("hi", 3) else text_of(lang, row % 5) for row in range(len(owners))
                    ],
                    "ids": None,
                    "chrf": None,
                },
                schema_overrides={
                    "layer": pl.Int32, "feature": pl.Int32, "ids": pl.List(pl.Int32), "chrf": pl.Float32
                },
            ),
        )  # fmt: skip
    shared = {"lm": str(lm_folder), "sae": str(folder / "sae"), "layers": [LAYER], "seed": 0, "metadata": {}}
    shared |= {"token_budget": 300, "dtype": "float32"}
    own = {"adapter": None, "translations": paths["translations"], "outputs": paths["activations"]}
    encode(**grouped(shared | own, compute=Compute))
    own = {"tables": {lang: [path] for lang, path in paths["segments"].items()}, "outputs": paths["codes"]}
    own |= {"kind": "segments", "reference": "en", "texts": 100, "feature_stride": STRIDE}
    write_codes(**grouped(shared | own, compute=Compute))
    return folder, paths


def by_path(tables: dict[str, str]) -> dict[str, str]:
    return {path: lang for lang, path in tables.items()}


def run(lm_folder, made, out, **changes) -> tuple[pl.DataFrame, pl.DataFrame]:
    folder, paths = made
    arguments: dict[str, Any] = {
        "lm": str(lm_folder), "sae": str(folder / "sae"), "activations": by_path(paths["activations"]),
        "codes": by_path(paths["codes"]), "translations": by_path(paths["translations"]),
        "pool_tables": {lang: [path] for lang, path in paths["segments"].items()}, "kind": "segments",
        "features": None, "examples": None, "own_saes": True, "neuronpedia": "some-model/{layer}-res",
        "explorer": str(out / "explorer.parquet"), "explorer_features": str(out / "explorer_features.parquet"),
        "reference": "en", "layers": [LAYER], "texts": 100, "feature_stride": STRIDE, "minimum_phrases": 1,
        "settings": Explorer(features=5), "statistics": Statistics(bootstrap=100),
        "compute": Compute(token_budget=200), "seed": 0, "metadata": {}, **changes,
    }  # fmt: skip
    explore(**arguments)
    return read_table(arguments["explorer"]), read_table(arguments["explorer_features"])


@pytest.fixture(scope="module")
def explored(lm_folder, made, tmp_path_factory):
    return run(lm_folder, made, tmp_path_factory.mktemp("explored"))


@pytest.fixture(scope="module")
def naive(lm_folder, made):
    """All features' activations at a text's tokens, BOS left out: transformers' states, SAELens' SAE, a text alone."""
    from sae_lens import SAE

    model, tokenizer = AutoModelForCausalLM.from_pretrained(lm_folder), AutoTokenizer.from_pretrained(lm_folder)
    sae = SAE.load_from_disk(str(made[0] / "sae" / f"layer_{LAYER}"))
    known: dict[str, np.ndarray] = {}

    @torch.no_grad()
    def values(text: str) -> np.ndarray:
        if text not in known:
            states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
            known[text] = sae.encode(states[LAYER + 1])[0, 1:].numpy()
        return known[text]

    return values


def test_every_token_has_its_activation(explored, naive):
    texts, _ = explored
    assert texts.height > 50
    for row in texts.drop_nulls("text").iter_rows(named=True):
        expected = naive(row["text"])[:, row["feature"]]
        shown = expected[row["first"] :][:SHOWN]
        np.testing.assert_allclose(row["activations"], shown, atol=1e-5)
        assert row["activation"] == pytest.approx(expected.max(), abs=1e-5)
        assert row["n_tokens"] == len(expected)
        assert expected.argmax() - row["first"] in range(SHOWN)


def test_tokens_are_the_text(explored):
    texts, _ = explored
    whole = texts.filter(pl.col("n_tokens") <= SHOWN)
    assert {"en", "es", "hi"} == set(whole["lang"])
    for row in whole.iter_rows(named=True):
        assert "".join(row["tokens"]).replace("◌", "") == row["text"]
    cut = texts.filter(pl.col("n_tokens") > SHOWN)
    assert cut.height
    for row in cut.iter_rows(named=True):
        assert len(row["tokens"]) == len(row["activations"]) == SHOWN
        assert "".join(row["tokens"]).replace("◌", "") in row["text"]


def test_phrases_come_with_all_translations_and_say_where_one_lacks(explored):
    texts, _ = explored
    phrases = texts.filter(kind="phrase")
    assert all(rows["lang"].to_list() == list(LANGS) for _, rows in phrases.sort("lang").group_by("feature", "item"))
    lacking = phrases.filter(pl.col("text").is_null())
    assert set(lacking.select("name", "lang").iter_rows()) <= {("3", "hi")}
    assert lacking["tokens"].null_count() == lacking["activation"].null_count() == lacking.height


def test_contexts_are_the_strongest_texts_of_each_language(explored, naive):
    texts, features = explored
    for feature in set(features["feature"]):
        for lang in LANGS:
            peaks = sorted((naive(text_of(lang, number))[:, feature].max() for number in range(6)), reverse=True)
            rows = texts.filter(feature=feature, lang=lang, kind="context").sort("item")
            wanted = [peak for peak in peaks[:2] if peak > 0] if feature % STRIDE == 0 else []
            assert rows["activation"].to_list() == pytest.approx(wanted, rel=1e-4)


def test_what_is_measured_of_a_feature(explored, made, naive):
    _, features = explored
    owners = read_table(made[1]["translations"]["hi"])
    for (feature,), rows in features.group_by("feature"):
        peaks = {lang: np.array([naive(text_of(lang, n))[:, feature].max() for n in range(6)]) for lang in LANGS}
        fired = {lang: int((of > 0).sum()) for lang, of in peaks.items()}
        assert dict(rows.select("lang", "n_fired").iter_rows()) == fired
        assert {sum(counts) for counts in rows.filter(lang="es")["histogram"]} == {fired["es"]}
        assert rows["histogram_max"][0] == pytest.approx(max(of.max() for of in peaks.values()), rel=1e-4)
        largest = max(fired.values()) / sum(fired.values())
        assert rows["largest_share"][0] == pytest.approx(largest)
        if rows["measured"][0] == "texts":
            some = np.array(list(peaks.values())).any(axis=0)
            means_of = {lang: of[some].mean() for lang, of in peaks.items()}
        else:
            own = owners.filter(pl.col("text").is_not_null(), feature=feature)["phrase"].to_list()
            means_of = {lang: np.mean([naive(text_of(lang, n % 5))[:, feature].max() for n in own]) for lang in LANGS}
            other = (means_of["es"] + means_of["hi"]) / 2
            gap = 100 * (means_of["en"] - other) / means_of["en"] if means_of["en"] > 0 else None
            assert rows["gap_pct"][0] == (gap if gap is None else pytest.approx(gap, rel=1e-3, abs=1e-3))
        for row in rows.iter_rows(named=True):
            assert row["mean_activation"] == pytest.approx(means_of[row["lang"]], rel=1e-4, abs=1e-5)
            if row["n"] > 1:
                assert row["ci_low"] - 1e-6 <= row["mean_activation"] <= row["ci_high"] + 1e-6
        assert rows["neuronpedia"][0] == f"some-model/{LAYER}-res/{feature}"


def test_a_feature_without_phrases_shows_its_strongest_texts_in_every_language(explored):
    texts, features = explored
    without = set(features.filter(measured="texts")["feature"])
    assert without
    for feature in without:
        rows = texts.filter(feature=feature, kind="phrase")
        assert set(rows["lang"]) == set(LANGS)
        first = rows.filter(item=0)
        strongest = first.sort("activation", descending=True).row(0, named=True)
        assert {strongest["lang"]} == set(first["origin"])


def test_both_tables_keep_their_contract(lm_folder, made, tmp_path):
    run(lm_folder, made, tmp_path)
    for name, contract in (("explorer", EXPLORER), ("explorer_features", EXPLORER_FEATURES)):
        assert open_table(tmp_path / f"{name}.parquet").schema_arrow.names == list(contract)
        assert table_metadata(tmp_path / f"{name}.parquet")["kernels"]["attention"] == "transformers"


def test_lists_are_by_gap_language_and_monosemanticity():
    gap, nan = np.array([5.0, np.nan, 90.0, -3.0, 90.0]), np.nan
    fired = np.array([[9, 1, 0], [0, 0, 20], [1, 1, 1], [30, 10, 10], [0, 0, 0]])
    candidates = Candidates(np.array([3, 4, 8, 9, 12]), gap, fired, np.array([nan, 0.2, nan, 0.7, -0.1]))
    chosen = choose(candidates, 2)
    lists = {name: [f for f, of in chosen.items() if name in of] for name in (LARGEST, SMALLEST, ONE_LANGUAGE)}
    assert lists[LARGEST] == [3, 9]  # 8 and 12 have larger gaps, but hardly fire
    assert set(lists[SMALLEST]) == {9, 3}
    assert set(lists[ONE_LANGUAGE]) == {4, 3}  # one of Hindi, then one of English; 8 fires in too few texts
    assert {f for f, of in chosen.items() if MONOSEMANTIC in of} == {9, 4}
    assert [candidates.class_of(row, LANGS) for row in range(5)] == ["en", "hi", "several", "en", None]
    assert {f for f, of in choose(candidates, 3).items() if LARGEST in of} == {3, 9, 8}
    assert choose(candidates, 0) == {}


def test_means_of_one_value_have_no_interval_and_of_none_no_mean():
    rows = means(np.array([[2.0], [0.0]]), bootstrap=100, confidence=0.95, seed=(0,))
    assert [(row["mean_activation"], row["ci_low"], row["n"]) for row in rows] == [(2.0, None, 1), (0.0, None, 1)]
    rows = means(np.empty((2, 0)), bootstrap=100, confidence=0.95, seed=(0,))
    assert [(row["mean_activation"], row["n"]) for row in rows] == [(None, 0), (None, 0)]
    assert histograms(np.zeros((2, 3), dtype=np.float32)) == ([[0] * 12, [0] * 12], 0.0)


def test_features_of_paper_c_with_saes_of_their_own_stand_beside(lm_folder, made, tmp_path):
    described = pl.DataFrame(
        {
            "step": [1, 9, 9], "layer": [LAYER] * 3, "feature": [7, 7, 8], "class": ["mixed", "en", "mixed"],
            "monosemanticity": [0.1, 0.9, None], "monosemanticity_excess": [0.0, 0.5, None],
            "p_firings_en": [0.5, 0.8, None], "p_firings_es": [0.5, 0.2, None],
        },
        schema_overrides={"layer": pl.Int32, "feature": pl.Int32},
    )  # fmt: skip
    examples = pl.DataFrame(
        {
            "step": [9, 1], "layer": [LAYER] * 2, "feature": [7, 7], "rank": [0, 0], "lang": ["en", "en"],
            "document": ["d", "d"], "tokens": [["a", "b"], ["x", "y"]], "activations": [[0.0, 2.0], [1.0, 0.0]],
        },
        schema_overrides={"layer": pl.Int32, "feature": pl.Int32, "rank": pl.Int32},
    )  # fmt: skip
    for name, frame in (("features", described), ("examples", examples)):
        write_table(tmp_path / f"{name}.parquet", frame)
    of_c = {name: str(tmp_path / f"{name}.parquet") for name in ("features", "examples")}
    texts, features = run(lm_folder, made, tmp_path, **of_c)
    own = features.filter(sae="bilingual")
    assert own.select("feature", "lang", "class", "share", "monosemanticity_excess").rows() == [
        (7, "en", "en", 0.8, 0.5),
        (7, "es", "en", 0.2, 0.5),
    ]
    assert texts.filter(sae="bilingual")["tokens"].to_list() == [["a", "b"]]
    assert features.filter(sae="phrases")["monosemanticity"].null_count() == features.filter(sae="phrases").height
    texts, features = run(lm_folder, made, tmp_path, **of_c, own_saes=False)  # of the same SAEs: joined
    assert set(texts["sae"]) == {"phrases"}
    seven = features.filter(feature=7)
    assert not seven.height or seven["monosemanticity_excess"][0] == 0.5


@pytest.mark.parametrize(
    ("explorer", "message"),
    [
        ({"layers": [9]}, r"explorer\.layers: models\.skewed has no analysed layer 9; allowed: 0, 1, 2, 3"),
        ({"layers": [1, 1]}, "named twice: 1"),
        ({"features": -1}, "explorer.features"),
        ({"phrases": 0}, "explorer.phrases"),
    ],
)
def test_mistakes_in_the_configuration(explorer, message):
    with pytest.raises(Exception, match=message):
        synthetic(explorer=explorer)


def test_layers_shown():
    assert Explorer().shown([0, 1, 2, 3]) == [1]
    assert Explorer(layers=[3, 0]).shown([0, 1, 2, 3]) == [0, 3]
    synthetic(explorer={"features": 0, "layers": [9]})  # off: says nothing of layers
