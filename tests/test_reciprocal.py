"""The gap chosen both ways against loops over dense codes, by hand, and on codes of a tiny real model."""

import numpy as np
import pytest

from config_sections import grouped
from isogloss.config.measures import Statistics
from isogloss.disparity.reciprocal import derangement, measure_reciprocal
from isogloss.errors import IsoglossError
from isogloss.sae.codes import CODES
from isogloss.stats import Grouped, hierarchical_bootstrap, joint_bootstrap
from isogloss.tables import TableWriter, read_table, table_metadata
from isogloss.tables.contracts import CONTRACTS
from standins import tiny_sae
from test_codes import FEATURES, WORDS, chosen_texts, naive_codes, segments, tables_of
from test_codes import run as write_tiny_codes

MEASURES = [name for name in CONTRACTS["reciprocal_gap"] if not name.endswith(("_low", "_high"))][2:]


def write_dense(path, codes, wordings=None):
    """Dense codes by layer (texts x features) as the stage `codes` writes them; `wordings` by layer and text."""
    with TableWriter(path, CODES, {"pool": "segments", "n_texts": 3}) as writer:
        for layer, dense in codes.items():
            rows = [(number, 0, code) for number, code in enumerate(dense)]
            rows += [(number, 1, code) for number, code in (wordings or {}).get(layer, {}).items()]
            writer.write(
                {
                    "layer": [layer] * len(rows),
                    "text": [number for number, _, _ in rows],
                    "wording": [wording for _, wording, _ in rows],
                    "n_tokens": [5] * len(rows),
                    "features": [np.flatnonzero(code).tolist() for _, _, code in rows],
                    "activations": [code[np.flatnonzero(code)].tolist() for _, _, code in rows],
                }
            )


def run(folder, paths, **changes):
    """`paths` by language, each a path a block."""
    settings = {
        "codes": [path for of in paths.values() for path in of], "langs": [lang for lang in paths for _ in paths[lang]],
        "reciprocal_gap": str(folder / "out.parquet"), "reciprocal_gap_summary": str(folder / "summary.parquet"),
        "reference": "en", "per_feature": 3, "threshold": 0.8, "minimum_phrases": 1, "bootstrap": 200,
        "confidence": 0.9, "seed": 0, "metadata": {}, **changes,
    }  # fmt: skip
    measure_reciprocal(**grouped(settings, statistics=Statistics))
    return read_table(folder / "out.parquet"), read_table(folder / "summary.parquet")


def measured(folder, codes, wordings=None, **changes):
    paths = {lang: [str(folder / f"{lang}.parquet")] for lang in codes}
    for lang, path in paths.items():
        write_dense(path[0], codes[lang], wordings if lang == "en" else None)
    return run(folder, paths, **changes)


def naive_choice(codes, per_feature, threshold, minimum=1):
    """Texts by feature."""
    chosen = {}
    for feature in range(codes.shape[1]):
        column = [float(value) for value in codes[:, feature]]
        order = sorted(range(len(column)), key=lambda text: (-column[text], text))
        texts = [text for text in order[:per_feature] if column[text] > 0 and column[text] >= threshold * max(column)]
        if len(texts) >= minimum:
            chosen[feature] = texts
    return chosen


def naive_gap(chosen, own, other, kept=lambda feature, text: True):
    a, b = [], []
    for feature, texts in chosen.items():
        texts = [text for text in texts if kept(feature, text)]
        if texts:
            a.append(np.mean([own[text, feature] for text in texts], dtype=float))
            b.append(np.mean([other[text, feature] for text in texts], dtype=float))
    return (np.mean(a) - np.mean(b)) / np.mean(a) * 100 if a and np.mean(a) else None


def naive_ranks(asks, candidates):
    """Mean reciprocal rank by the cosine of centred codes; no two candidates are alike."""
    asks, candidates = (codes.astype(float) - codes.astype(float).mean(axis=0) for codes in (asks, candidates))
    ranks = []
    for row, query in enumerate(asks):
        scores = [query @ one / np.linalg.norm(query) / np.linalg.norm(one) for one in candidates]
        ranks.append(1 / (1 + sum(score > scores[row] for score in scores)))
    return float(np.mean(ranks))


def naive_row(en, lang, wordings, per_feature=3, threshold=0.8, minimum=1, seed=0):
    """Every measure of a layer from dense codes; `wordings` by text."""
    from_en, from_lang = (naive_choice(codes, per_feature, threshold, minimum) for codes in (en, lang))
    gap_en, gap_lang = naive_gap(from_en, en, lang), naive_gap(from_lang, lang, en)
    reworded = np.array([wordings.get(text, np.zeros(en.shape[1])) for text in range(len(en))])
    other = derangement(len(en), seed)
    centred = [codes.astype(float) - codes.astype(float).mean(axis=0) for codes in (en, lang)]
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(*centred, strict=True)]
    return {
        "gap_from_reference_pct": gap_en,
        "gap_from_lang_pct": gap_lang,
        "symmetric_gap_pct": (gap_en - gap_lang) / 2,
        "magnitude_from_reference_pct": naive_gap(from_en, en, lang, lambda f, t: lang[t, f] > 0),
        "magnitude_from_lang_pct": naive_gap(from_lang, lang, en, lambda f, t: en[t, f] > 0),
        "ceiling_pct": naive_gap(from_en, en, reworded, lambda _, t: t in wordings),
        "floor_pct": naive_gap(from_en, en, lang[other]),
        "firing_from_reference": np.mean([np.mean([lang[t, f] > 0 for t in ts]) for f, ts in from_en.items()]),
        "firing_from_lang": np.mean([np.mean([en[t, f] > 0 for t in ts]) for f, ts in from_lang.items()]),
        "code_retrieval": naive_ranks(lang, en),
        "code_retrieval_reverse": naive_ranks(en, lang),
        "code_centred": np.mean(cosines),
        "code_retrieval_chance": np.mean([1 / rank for rank in range(1, len(en) + 1)]),
        "n_features_reference": len(from_en),
        "n_features_lang": len(from_lang),
        "n_texts": len(en),
    }


def sparse(seed, texts=30, features=40, on=0.3):
    rng = np.random.default_rng(seed)
    return (rng.gamma(2.0, 1.0, (texts, features)) * (rng.random((texts, features)) < on)).astype(np.float32)


def alike(codes, seed, share=0.6):
    """Codes of a translation: of each activation a share, some lost, some new."""
    rng = np.random.default_rng(seed)
    kept = codes * (rng.random(codes.shape) < 0.8) * rng.uniform(share, 1.2, codes.shape)
    return np.where(rng.random(codes.shape) < 0.05, 2.0, kept).astype(np.float32)


@pytest.mark.parametrize("minimum", [1, 2])
def test_every_measure_is_that_of_loops_over_dense_codes(tmp_path, minimum):
    en = {layer: sparse(layer) for layer in (2, 5)}
    langs = {"es": {layer: alike(code, 7) for layer, code in en.items()}, "hi": {2: sparse(8), 5: sparse(9)}}
    wordings = {layer: {text: alike(code, 3)[text] for text in range(0, 30, 2)} for layer, code in en.items()}
    table, summary = measured(tmp_path, {"en": en, **langs}, wordings, minimum_phrases=minimum)
    assert table.select("layer", "lang").rows() == [(2, "es"), (2, "hi"), (5, "es"), (5, "hi")]
    for row in table.iter_rows(named=True):
        layer, lang = row["layer"], row["lang"]
        expected = naive_row(en[layer], langs[lang][layer], wordings[layer], minimum=minimum)
        assert {name: row[name] for name in MEASURES} == pytest.approx({name: expected[name] for name in MEASURES})
        for name in MEASURES[:12]:
            stem = name.removesuffix("_pct")
            assert row[f"{stem}_ci_low"] <= row[f"{stem}_ci_high"]
    assert summary["lang"].to_list() == ["es", "hi"]
    assert summary["n_layers"].to_list() == [2, 2]
    for name in MEASURES[:12]:
        means = [table.filter(lang=lang)[name].mean() for lang in summary["lang"]]
        assert summary[name].to_list() == pytest.approx(means)
    near, far = table.filter(layer=2).iter_rows(named=True)
    assert near["gap_from_reference_ci_high"] < far["gap_from_reference_ci_low"]
    assert near["code_retrieval_ci_low"] > far["code_retrieval_ci_high"]


def test_two_features_and_three_texts_by_hand(tmp_path):
    en = {0: np.array([[4, 0], [3.5, 2], [1, 0]], np.float32)}
    es = {0: np.array([[2, 1], [0, 1], [0, 0]], np.float32)}
    wordings = {0: {0: np.array([3, 0], np.float32)}}
    table, _ = measured(tmp_path, {"en": en, "es": es}, wordings)
    row = table.row(0, named=True)
    # English chooses texts 0 and 1 for feature 0 (3.5 >= .8 x 4) and text 1 for feature 1; Spanish text 0, and 0 and 1.
    assert row["gap_from_reference_pct"] == pytest.approx(100 * (1 - (1 + 1) / (3.75 + 2)))
    assert row["gap_from_lang_pct"] == pytest.approx(100 * (1 - (4 + 1) / (2 + 1)))
    assert row["symmetric_gap_pct"] == pytest.approx((row["gap_from_reference_pct"] - row["gap_from_lang_pct"]) / 2)
    assert row["firing_from_reference"] == pytest.approx((0.5 + 1) / 2)
    assert row["firing_from_lang"] == pytest.approx((1 + 0.5) / 2)
    assert row["magnitude_from_reference_pct"] == pytest.approx(100 * (1 - (2 + 1) / (4 + 2)))
    assert row["magnitude_from_lang_pct"] == pytest.approx(100 * (1 - (4 + 2) / (2 + 1)))
    assert row["ceiling_pct"] == pytest.approx(25)  # 4 against 3
    assert (row["n_features_reference"], row["n_features_lang"], row["n_texts"]) == (2, 2, 3)


def test_a_language_that_differs_in_what_it_fires_alone_has_no_symmetric_gap(tmp_path):
    """Two languages with features of their own: each side's choice makes the other look weaker by as much."""
    shared = sparse(1, texts=60, features=30)
    en, hi = (np.concatenate([shared, own], axis=1) for own in (sparse(2, 60, 60), sparse(3, 60, 60)))
    row = measured(tmp_path, {"en": {0: en}, "hi": {0: hi}}, bootstrap=500)[0].row(0, named=True)
    assert row["gap_from_reference_ci_low"] > 20
    assert row["gap_from_lang_ci_low"] > 20
    assert row["symmetric_gap_ci_low"] < 0 < row["symmetric_gap_ci_high"]
    weaker = measured(tmp_path, {"en": {0: en}, "hi": {0: hi * np.float32(0.5)}})[0].row(0, named=True)
    assert weaker["symmetric_gap_ci_low"] > 20


def test_codes_of_a_tiny_model_from_end_to_end(lm_folder, tmp_path):
    """The naive twin reads SAELens' codes of single texts: pool, codes and measures are all made again."""
    for layer in (0, 1):
        cfg = tiny_sae(tmp_path / "sae" / f"layer_{layer}", kind="jumprelu", seed=layer, features=FEATURES) / "cfg.json"
        cfg.write_text(cfg.read_text().replace("blocks.0.hook", f"blocks.{layer}.hook"))
    tables = tables_of(tmp_path, {lang: segments(lang) for lang in WORDS})
    for block in ([0], [1]):
        write_tiny_codes(lm_folder, tmp_path / "sae", tables, tmp_path / str(block[0]), layers=block)
    paths = {lang: [str(tmp_path / block / f"{lang}.parquet") for block in "01"] for lang in WORDS}
    table, _ = run(tmp_path, paths)
    for row in table.iter_rows(named=True):
        chosen = [chosen_texts("en")[0], chosen_texts(row["lang"])[0], chosen_texts("en")[1]]
        en, lang, reworded = (naive_codes(lm_folder, tmp_path / "sae", texts, row["layer"]) for texts in chosen)
        expected = naive_row(en, lang, dict(enumerate(reworded)))
        assert {name: row[name] for name in MEASURES} == pytest.approx(
            {name: expected[name] for name in MEASURES}, rel=1e-3, abs=1e-3
        )
    notes = table_metadata(tmp_path / "out.parquet")
    assert (notes["pool"], notes["n_texts"], notes["n_wordings"], notes["undefined"]) == ("segments", 5, 5, {})


def test_what_is_not_defined_is_null_and_says_why(tmp_path):
    silent, fires = np.zeros((4, 6), np.float32), sparse(1, 4, 6, on=0.9)
    table, summary = measured(tmp_path, {"en": {0: fires, 1: silent}, "es": {0: silent, 1: fires}})
    first, second = table.iter_rows(named=True)
    assert (first["gap_from_reference_pct"], first["gap_from_lang_pct"], first["symmetric_gap_pct"]) == (
        100,
        None,
        None,
    )
    assert (second["gap_from_reference_pct"], second["gap_from_lang_pct"]) == (None, 100)
    assert first["ceiling_pct"] is None
    assert first["code_retrieval"] is None
    assert summary["symmetric_gap_pct"].to_list() == [None]
    assert summary["n_layers"].to_list() == [0]
    undefined = table_metadata(tmp_path / "out.parquet")["undefined"]
    assert undefined["no feature fires in the language"] == {"0": ["es"]}
    assert undefined["no feature fires in the reference"] == {"1": ["es"]}
    assert undefined["no text has another wording"] == {"0": ["es"], "1": ["es"]}
    assert undefined["a text's code is the mean of its language"] == {"0": ["es"], "1": ["es"]}


def test_leaving_a_language_out_changes_no_other(tmp_path):
    codes = {"en": {0: sparse(1)}, "es": {0: sparse(2)}, "hi": {0: sparse(3)}}
    whole, _ = measured(tmp_path, codes)
    fewer, _ = measured(tmp_path, {lang: codes[lang] for lang in ("en", "hi")})
    assert whole.filter(lang="hi").equals(fewer)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ({"en": {0: sparse(1)}}, "codes of en alone; a gap takes the reference en and another language"),
        ({"es": {0: sparse(1)}}, "codes of es alone; a gap takes the reference en and another language"),
        (
            {"en": {0: sparse(1)}, "es": {0: sparse(2, texts=29)}},
            "its texts are not those of .*en.parquet; delete both",
        ),
        (
            {"en": {0: 0 * sparse(1)}, "es": {0: 0 * sparse(1)}},
            "no sampled feature has 1 texts that make it fire, in any language or layer; lower reciprocal",
        ),
        ({"en": {0: sparse(1)}, "es": {0: -sparse(2)}}, "es.parquet: layer 0 has .* an activation that is not above 0"),
    ],
)
def test_bad_input_ends_in_one_line(tmp_path, codes, message):
    with pytest.raises(IsoglossError, match=message) as raised:
        measured(tmp_path, codes)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out.parquet").exists()


def test_parts_are_resampled_together_and_each_as_by_itself():
    rng = np.random.default_rng(0)
    groups, values = np.repeat(np.arange(50), 4), rng.gamma(2.0, 1.0, (2, 200))
    single = Grouped(rng.random((1, 30)), np.arange(30))
    twice = Grouped(2 * single.values, single.groups)
    apart = Grouped(values, groups + 1000)
    empty = Grouped(np.empty((1, 0)), np.empty(0, int))
    one, two, _, none = joint_bootstrap([single, twice, apart, empty], replicates=300, seed=(1,))
    assert two == pytest.approx(2 * one)  # a value a group: the same groups are drawn for both
    assert one[0] == pytest.approx(single.values.mean(axis=1))
    assert np.isnan(none).all()
    (alone,) = joint_bootstrap([Grouped(values, groups)], replicates=4000, seed=(2,))
    plain = hierarchical_bootstrap(values, groups, replicates=4000, seed=(3,))
    assert alone[1:].mean(axis=0) == pytest.approx(plain.mean(axis=0), rel=0.01)
    assert alone[1:].std(axis=0) == pytest.approx(plain.std(axis=0), rel=0.06)
    shuffled = rng.permutation(200)
    again = joint_bootstrap([Grouped(values[:, shuffled], groups[shuffled])], replicates=50, seed=(2,))[0]
    assert again[0] == pytest.approx(alone[0])


@pytest.mark.parametrize("texts", [2, 3, 50])
def test_every_text_is_paired_with_another(texts):
    other = derangement(texts, 0)
    assert sorted(other) == list(range(texts))
    assert (other != np.arange(texts)).all()
