import json
import logging
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from config_sections import grouped
from isogloss.bilingual.dose import match_draws
from isogloss.bilingual.draws import Draw, distinct_masks, draw_features, read_layer
from isogloss.bilingual.intervention import intervene
from isogloss.bilingual.intervention_tables import Variant, summarise
from isogloss.bilingual.translation_tasks import translation_tasks
from isogloss.config.bilingual import Intervention, TranslationTest
from isogloss.config.measures import Compute, Statistics
from isogloss.errors import IsoglossError
from isogloss.models.batching import encode_texts
from isogloss.models.loading import load_causal_model, load_tokenizer
from isogloss.tables import read_table, table_metadata, write_table
from isogloss.text.translation_score import score_translations
from standins import TEXTS, tiny_gemma2, tiny_model, tiny_sae

CLASSES = ["en"] * 20 + ["ja"] * 12 + ["mixed"] * 8 + ["silent"] * 24
NAMES = {"en": "English", "ja": "Japanese"}
SENTENCES = {
    "en": ["Vienna is a city", "Tea is hot", "The sea is wide", "Two and two", "A red house", "Good evening"],
    "ja": ["ウィーンは都市", "お茶は熱い", "海は広い", "二足す二", "赤い家", "こんばんは"],
}


def describe(path: Path, classes: list[str], *, step: int = 100, layer: int = 1) -> str:
    firings = [0 if name == "silent" else 1 + number % 7 for number, name in enumerate(classes)]
    by_firings = ["mixed" if name == "en" and number % 4 == 0 else name for number, name in enumerate(classes)]
    rows = {"step": step, "layer": layer, "feature": range(len(classes)), "class": classes}
    rows |= {"n_firings": firings, "class_firings": by_firings}
    write_table(path, pl.DataFrame(rows, schema_overrides={"step": pl.Int64, "layer": pl.Int32, "feature": pl.Int32}))
    return str(path)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two checkpoints, the SAE of the later one, what its features are, documents and segments."""
    folder = tmp_path_factory.mktemp("world")
    tiny_gemma2(folder / "mid", seed=1)
    tiny_gemma2(folder / "full", seed=2)
    tiny_sae(folder / "sae" / "layer_1")
    cfg = json.loads((folder / "sae" / "layer_1" / "cfg.json").read_text())
    cfg["metadata"] |= {"hook_name": "blocks.1.hook_resid_post", "unit_norm_input": True}
    (folder / "sae" / "layer_1" / "cfg.json").write_text(json.dumps(cfg))
    describe(folder / "features.parquet", CLASSES)
    describe(folder / "other.parquet", CLASSES, layer=0)
    texts = [f"{text} {number}" for number in range(3) for text in TEXTS]
    ids = [sequence[:24] for sequence in encode_texts(load_tokenizer(folder / "mid"), texts)]
    documents = {
        "document": [f"statement/{number // 2}" for number in range(18)],
        "lang": ["en", "ja"] * 9,
        "ids": ids,
    }
    write_table(folder / "evaluation.parquet", pl.DataFrame(documents))
    for lang, sentences in SENTENCES.items():
        table = pl.DataFrame({"segment": [f"s{number}" for number in range(6)], "text": sentences})
        write_table(folder / f"{lang}.parquet", table)
    return folder


def run(world: Path, out: Path, **changes) -> tuple[pl.DataFrame, pl.DataFrame]:
    settings = {
        "lm": str(world / "mid"),
        "full": str(world / "full"),
        "sae": str(world / "sae"),
        "features": [str(world / "other.parquet"), str(world / "features.parquet")],
        "evaluation": str(world / "evaluation.parquet"),
        "output": str(out / "intervention.parquet"),
        "summary": str(out / "intervention_summary.parquet"),
        "step": 10,
        "layer": 1,
        "languages": ["en", "ja"],
        "classes": None,
        "alphas": [0.1, 0.4],
        "n_features": [6, 10],
        "repeats": 2,
        "bias": False,
        "rescale": True,
        "documents": 7,
        "translations": None,
        "segments": {},
        "names": NAMES,
        "bootstrap": 60,
        "confidence": 0.95,
        "token_budget": 200,
        "dtype": "float32",
        "seed": 5,
        "metadata": {"study": "test"},
    }
    sections = {"settings": Intervention, "statistics": Statistics, "compute": Compute}
    intervene(**grouped(settings | changes, ("step", "layer"), **sections))
    return read_table(out / "intervention.parquet"), read_table(out / "intervention_summary.parquet")


def own_perplexities(world: Path, lang: str, most: int) -> list[float]:
    """Of the unfinished model by transformers' own loss, a document at a time."""
    model = load_causal_model(world / "mid")
    rows = read_table(world / "evaluation.parquet").filter(pl.col("lang") == lang).head(most)
    batches = [torch.tensor([ids]) for ids in rows["ids"].to_list()]
    with torch.inference_mode():
        return [model(input_ids=ids, labels=ids).loss.exp().item() for ids in batches]


def test_stage_writes_a_row_for_each_injection_and_language(world, tmp_path):
    table, summary = run(world, tmp_path)
    grid = table.select("class", "alpha", "n_features", "repeat").unique()
    assert len(grid) == 1 + 5 * 2 * 2 * 2
    assert len(table) == 3 * len(grid)
    assert table["class"].unique(maintain_order=True).to_list() == ["none", "en", "ja", "mixed", "random", "matched"]
    assert table["lang"][:3].to_list() == ["en", "ja", "all"]
    assert set(table["step"]) == {10}
    used = {(row["class"], row["n_features"]): row["n_used"] for row in table.iter_rows(named=True)}
    assert used["mixed", 6] == 6
    assert used["mixed", 10] == 8
    assert used["en", 10] == used["random", 10] == 10
    assert set(table["n"]) == {7, 14}

    plain = {lang: own_perplexities(world, lang, 7) for lang in ("en", "ja")}
    baseline = table.filter(pl.col("class") == "none").select("lang", "perplexity").rows()
    expected = {**plain, "all": plain["en"] + plain["ja"]}
    assert dict(baseline) == pytest.approx({lang: np.mean(values) for lang, values in expected.items()}, rel=1e-5)
    assert table["chrf"].null_count() == table["bleu"].null_count() == table["comet"].null_count() == len(table)
    assert table_metadata(tmp_path / "intervention.parquet")["full_step"] == 100

    assert len(summary) == 3 * (1 + 5 * 2 * 2)
    none = summary.filter(pl.col("class") == "none")
    assert none.select("change", "ci_low", "ci_high").rows() == [(0, 0, 0)] * 3
    for row in summary.filter(pl.col("class") != "none").iter_rows(named=True):
        same = (
            (pl.col("class") == row["class"])
            & (pl.col("alpha") == row["alpha"])
            & (pl.col("n_features") == row["n_features"])
            & (pl.col("lang") == row["lang"])
        )
        assert row["repeats"] == 2
        assert row["perplexity"] == pytest.approx(table.filter(same)["perplexity"].mean(), rel=1e-9)
        assert row["change"] == pytest.approx(row["perplexity"] - dict(baseline)[row["lang"]], abs=1e-6)
        assert row["ci_low"] <= row["change"] <= row["ci_high"]
        assert row["ci_low"] < row["ci_high"]
        control = summary.filter(
            (pl.col("class") == "random")
            & (pl.col("alpha") == row["alpha"])
            & (pl.col("n_features") == row["n_features"])
            & (pl.col("lang") == row["lang"])
        )
        if row["class"] == "random":
            assert row["beyond_random"] is None
        else:
            assert row["beyond_random"] == pytest.approx(row["change"] - control["change"][0], abs=1e-6)
            assert row["beyond_random_low"] <= row["beyond_random"] <= row["beyond_random_high"]


def test_stage_gives_the_same_numbers_again_and_another_seed_other_draws(world, tmp_path):
    first, summary = run(world, tmp_path / "a")
    again, summary_again = run(world, tmp_path / "b")
    assert first.equals(again)
    assert summary.equals(summary_again)
    other, _ = run(world, tmp_path / "c", seed=6)
    values = {name: table.filter(pl.col("class") == "en")["perplexity"] for name, table in (("a", first), ("c", other))}
    assert not values["a"].equals(values["c"])
    whole = first.filter(pl.col("class") == "mixed", pl.col("n_features") == 10)
    assert whole.filter(pl.col("repeat") == 0)["perplexity"].equals(
        whole.filter(pl.col("repeat") == 1)["perplexity"]
    )  # the whole class each time


def test_interval_of_the_change_is_paired_and_of_documents():
    generator = np.random.default_rng(0)
    plain = generator.uniform(10, 100, size=30)
    gain = np.repeat([1.0, 3.0], 15)
    variants = [
        Variant("none", 0.0, 0, 0, 0, None),
        Variant("en", 0.1, 5, 0, 5, 0),
        Variant("en", 0.1, 5, 1, 5, 1),
        Variant("random", 0.1, 5, 0, 5, 2),
    ]
    values = np.stack([plain, plain - 1, plain - 3, plain - gain])
    names = [f"document {number}" for number in range(30)]
    none, en, random = summarise("en", variants, values, names, [{}] * 4, bootstrap=4000, confidence=0.95, seed=1)
    assert (none["change"], none["ci_low"], none["ci_high"]) == (0, 0, 0)
    assert (en["change"], en["ci_low"], en["ci_high"]) == pytest.approx((-2, -2, -2))  # the same for every document
    margin = 1.96 * gain.std() / np.sqrt(30)
    assert (random["ci_low"], random["ci_high"]) == pytest.approx((-2 - margin, -2 + margin), abs=0.05)
    assert (en["beyond_random_low"], en["beyond_random_high"]) == pytest.approx((-margin, margin), abs=0.05)
    assert (en["n_used"], en["repeats"], random["beyond_random"]) == (5, 2, None)


def test_draws_are_by_seed_and_repeat_whatever_else_is_drawn():
    members = {"en": np.arange(0, 40), "random": np.arange(0, 90)}
    draws = {
        (draw.name, draw.n_features, draw.repeat): draw.features for draw in draw_features(members, [5, 20, 60], 3, 1)
    }
    alone = list(draw_features({"random": members["random"]}, [20], 2, 1))
    assert all(np.array_equal(draws["random", 20, draw.repeat], draw.features) for draw in alone)
    assert set(draws["en", 5, 0]) < set(draws["en", 20, 0]) < set(members["en"])
    assert np.array_equal(draws["en", 60, 2], members["en"])
    assert not np.array_equal(draws["en", 20, 0], draws["en", 20, 1])
    assert not np.array_equal(draws["en", 20, 0], next(draw_features(members, [20], 1, 2)).features)
    assert len(set(draws["random", 60, 0])) == 60
    drawn = [Draw("en", 2, repeat, np.array(features)) for repeat, features in enumerate([[1, 4], [0, 1], [1, 4]])]
    masks, which = distinct_masks(drawn, 5, torch.device("cpu"))
    assert which == [0, 1, 0]
    assert [mask.nonzero().squeeze(1).tolist() for mask in masks] == [[1, 4], [0, 1]]


def test_silent_features_are_never_drawn(world):
    described = read_layer([str(world / "features.parquet")], 1, features=64)
    assert {name: len(features) for name, features in described.members.items()} == {
        "en": 20,
        "ja": 12,
        "mixed": 8,
        "random": 40,
        "matched": 32,
    }
    assert described.members["random"].max() == 39


def test_an_empty_class_is_left_out_and_named_unless_it_was_asked_for(world, tmp_path, caplog):
    features = [describe(tmp_path / "features.parquet", ["en"] * 30 + ["ja"] * 34)]
    with caplog.at_level(logging.WARNING):
        table, _ = run(world, tmp_path, features=features)
    assert set(table["class"]) == {"none", "en", "ja", "random"}
    assert table_metadata(tmp_path / "intervention.parquet")["classes_left_out"] == ["mixed", "matched"]
    assert "class mixed has no features" in caplog.text
    with pytest.raises(IsoglossError, match="class mixed has no features to inject"):
        run(world, tmp_path, features=features, classes=["en", "mixed"])


def test_translations_both_ways_are_scored_and_written_for_comet(world, tmp_path):
    segments = {lang: str(world / f"{lang}.parquet") for lang in SENTENCES}
    translations = TranslationTest(shots=2, sentences=3, new_tokens=5)
    path = tmp_path / "hypotheses.parquet"
    table, summary = run(
        world,
        tmp_path,
        translations=translations,
        segments=segments,
        hypotheses=str(path),
        alphas=[0.4],
        n_features=[6],
        classes=["mixed", "random"],
    )
    said = read_table(path)
    assert len(said) == (1 + 2 * 2) * 2 * 3
    for row in table.iter_rows(named=True):
        rows = said.filter(*(pl.col(name) == row[name] for name in ("class", "alpha", "n_features", "repeat", "lang")))
        if row["lang"] == "all":
            assert row["chrf"] is None
            assert len(rows) == 0
            continue
        assert set(rows["source"]) == {"en", "ja"} - {row["lang"]}
        expected = score_translations(rows["hypothesis"].to_list(), rows["reference"].to_list(), row["lang"])
        assert (row["chrf"], row["bleu"]) == pytest.approx(expected)
    for row in summary.filter(pl.col("lang") != "all").iter_rows(named=True):
        same = table.filter(pl.col("class") == row["class"], pl.col("lang") == row["lang"])
        assert row["chrf"] == pytest.approx(same["chrf"].mean())


def test_prompts_hold_their_examples_and_never_what_is_tested(tmp_path):
    paths = {}
    for lang, sentences in SENTENCES.items():
        texts = [sentences[0].replace(" ", "\n"), *sentences[1:], "  "]
        table = pl.DataFrame({"segment": [f"s{number}" for number in range(7)], "text": texts})
        paths[lang] = str(tmp_path / f"{lang}.parquet")
        write_table(paths[lang], table)
    there, back = translation_tasks(paths, NAMES, shots=2, sentences=3, seed=0)
    assert (there.source, there.target, back.source, back.target) == ("en", "ja", "ja", "en")
    assert there.segments == back.segments
    assert there.texts == back.references
    assert len(there.prompts) == 3
    for text, reference, prompt in zip(there.texts, there.references, there.prompts, strict=True):
        *examples, last = prompt.split("\n\n")
        assert last == f"English: {text}\nJapanese:"
        assert len(examples) == 2
        for example in examples:
            english, japanese = example.split("\n")
            index = SENTENCES["en"].index(english.removeprefix("English: "))
            assert japanese.removeprefix("Japanese: ") == SENTENCES["ja"][index]
        assert reference not in prompt
        assert prompt.count(text) == 1
    other = translation_tasks(paths, NAMES, shots=2, sentences=3, seed=1)
    assert other[0].segments != there.segments
    assert len(translation_tasks(paths, NAMES, shots=2, sentences=99, seed=0)[0].segments) == 4
    with pytest.raises(IsoglossError, match=r"only 6 segments are in all of en, ja, and 6 of them are examples"):
        translation_tasks(paths, NAMES, shots=6, sentences=1, seed=0)
    with pytest.raises(IsoglossError, match="language es: no parallel segments"):
        translation_tasks(paths, {"en": "English", "es": "Spanish"}, shots=1, sentences=1, seed=0)


def test_scores_are_those_of_sacrebleu_and_japanese_is_counted_in_characters():
    from sacrebleu import corpus_bleu, corpus_chrf

    hypotheses, references = ["ウィーンは大都市です"], ["ウィーンは都市です"]
    found = score_translations(hypotheses, references, "ja")
    assert found.bleu == pytest.approx(corpus_bleu(hypotheses, [references], tokenize="char").score)
    assert found.chrf == pytest.approx(corpus_chrf(hypotheses, [references]).score)
    assert found.bleu > 0 == score_translations(hypotheses, references, "en").bleu
    assert (
        found
        == score_translations(hypotheses, references, "zh-TW")
        == score_translations(hypotheses, references, "yue")
    )
    assert score_translations(hypotheses, references, "ja-Latn").bleu == 0
    assert score_translations(references, references, "ja") == pytest.approx((100, 100))


def renumbered(folder: Path) -> None:
    """Let the tokenizer in `folder` give another token than before for some id."""
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    path.write_text(json.dumps(tokenizer))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": 3}, r"mid: no layer 3; the model has layers 0 to 2"),
        ({"layer": 2}, r"layer_2: no cfg\.json there"),
        ({"classes": ["en", "xx"]}, "'xx' is none of en, ja, mixed, random"),
        ({"languages": ["en", "fr"], "classes": ["en"]}, "no documents of language fr"),
        ({"step": 100}, "the features are those of step 100, which is not after step 100"),
        ({"step": 200}, "the features are those of step 100, which is not after step 200"),
    ],
)
def test_what_does_not_fit_ends_in_one_line(world, tmp_path, change, message):
    with pytest.raises(IsoglossError, match=message) as caught:
        run(world, tmp_path, **change)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "intervention.parquet").exists()


def test_checkpoints_saes_and_tables_of_other_models_are_refused(world, tmp_path):
    tiny_gemma2(tmp_path / "wide", d_model=64)
    with pytest.raises(IsoglossError, match=r"its residual stream has width 32, that of .* 64"):
        run(world, tmp_path, full=str(tmp_path / "wide"))
    with pytest.raises(IsoglossError, match="different tokenizers"):
        run(world, tmp_path, full=str(tiny_model(tmp_path / "llama", family="llama")))
    renumbered(tiny_gemma2(tmp_path / "renumbered"))
    with pytest.raises(IsoglossError, match="different tokenizers"):
        run(world, tmp_path, full=str(tmp_path / "renumbered"))
    with pytest.raises(IsoglossError, match=r"full: no layer 1; the model has layers 0 to 0"):
        run(world, tmp_path, full=str(tiny_gemma2(tmp_path / "full", layers=1)))
    with pytest.raises(IsoglossError, match="the SAE is for width 16"):
        run(world, tmp_path, sae=str(tiny_sae(tmp_path / "narrow" / "layer_1", d_model=16).parent))
    few = describe(tmp_path / "few.parquet", CLASSES[:50])
    with pytest.raises(IsoglossError, match="50 features of layer 1, but the SAE has 64"):
        run(world, tmp_path, features=[few])
    with pytest.raises(IsoglossError, match="no features of layer 1 there"):
        run(world, tmp_path, features=[str(world / "other.parquet")])
    two = [str(world / "features.parquet"), describe(tmp_path / "two.parquet", CLASSES, step=50)]
    with pytest.raises(IsoglossError, match=r"layer 1 is described at steps \[50, 100\]"):
        run(world, tmp_path, features=two)
    documents = read_table(world / "evaluation.parquet").with_columns(ids=pl.concat_list(pl.lit(5, pl.Int64), "ids"))
    write_table(tmp_path / "documents.parquet", documents)
    with pytest.raises(IsoglossError, match="was made with another tokenizer"):
        run(world, tmp_path, evaluation=str(tmp_path / "documents.parquet"))
    foreign = {"tokenizer": "that of another model"}
    write_table(tmp_path / "foreign.parquet", read_table(world / "evaluation.parquet"), foreign)
    with pytest.raises(IsoglossError, match="its tokenizer is not the one"):
        run(world, tmp_path, evaluation=str(tmp_path / "foreign.parquet"))


def test_an_sae_of_another_step_than_its_tables_is_refused(world, tmp_path):
    shutil.copytree(world / "sae", tmp_path / "sae")
    path = tmp_path / "sae" / "layer_1" / "cfg.json"
    cfg = json.loads(path.read_text())
    cfg["metadata"]["step"] = 90
    path.write_text(json.dumps(cfg))
    with pytest.raises(IsoglossError, match="the SAE is of step 90, the tables of features are of step 100"):
        run(world, tmp_path, sae=str(tmp_path / "sae"))


def test_a_model_may_be_injected_into_itself(world, tmp_path):
    table, _ = run(world, tmp_path, lm=str(world / "full"), step=100, classes=["random"])
    assert set(table["class"]) == {"none", "random"}


def test_a_loss_that_is_not_finite_names_the_injection_and_document(world, tmp_path):
    with pytest.raises(IsoglossError, match=r"layer 1, class en, alpha 1e\+39, document statement/\d in (en|ja)"):
        run(world, tmp_path, alphas=[1e39], classes=["en"])


def test_bfloat16_gives_nearly_the_same_perplexities(world, tmp_path):
    exact, _ = run(world, tmp_path / "a", classes=["mixed"])
    rough, _ = run(world, tmp_path / "b", classes=["mixed"], dtype="bfloat16")
    assert rough["perplexity"].to_list() == pytest.approx(exact["perplexity"].to_list(), rel=0.1)


def test_a_prompt_longer_than_the_context_is_refused(world, tmp_path):
    segments = {lang: str(world / f"{lang}.parquet") for lang in SENTENCES}
    translations = TranslationTest(shots=2, sentences=1, new_tokens=500)
    with pytest.raises(IsoglossError, match="the model reads 512; lower shots or new_tokens"):
        run(world, tmp_path, translations=translations, segments=segments)


def test_matched_features_fire_as_often_and_are_taken_once():
    firings = np.array([100, 100, 10, 10, 1, 1, *([90] * 6), *([9] * 6), *([2] * 6), 0])
    candidates = np.arange(6, 24)
    draws = [Draw("mixed", 6, repeat, np.arange(6)) for repeat in range(20)]
    matched = match_draws(draws, candidates, firings, 0)
    for draw, one in zip(draws, matched, strict=True):
        assert (one.name, one.n_features, one.repeat) == ("matched", 6, draw.repeat)
        assert len(set(one.features)) == 6
        assert sorted(firings[one.features].tolist()) == [2, 2, 9, 9, 90, 90]
    assert len({tuple(one.features) for one in matched}) > 10  # random among the nearest
    again = match_draws(draws[3:4], candidates, firings, 0)[0]
    assert np.array_equal(again.features, matched[3].features)
    few = match_draws(draws[:1], candidates[:4], firings, 0)[0]
    assert few.features.tolist() == [6, 7, 8, 9]


def test_the_matched_control_adds_as_much_as_the_mixed_features(world, tmp_path):
    table, summary = run(world, tmp_path)
    norms = {
        (row["class"], row["alpha"], row["n_features"], row["repeat"]): row["injected_norm"]
        for row in table.iter_rows(named=True)
    }
    assert norms["none", 0.0, 0, 0] == 0
    for (name, alpha, n, repeat), norm in norms.items():
        if name == "matched":
            assert norm == pytest.approx(norms["mixed", alpha, n, repeat])
        if name != "none":
            assert norms[name, 0.4, n, repeat] == pytest.approx(4 * norms[name, 0.1, n, repeat])
    assert norms["random", 0.1, 6, 0] != pytest.approx(norms["mixed", 0.1, 6, 0])
    firings = np.array([1 + number % 7 for number in range(40)])
    whole = summary.filter(pl.col("class") == "mixed", n_features=10)
    assert whole["mean_firings"].unique().to_list() == [pytest.approx(firings[32:40].mean())]
    assert summary.filter(pl.col("class") == "mixed")["selective_share"].unique().to_list() == [1]
    english = table.filter(pl.col("class") == "en", n_features=10)["selective_share"]
    assert 0 < english.mean() < 1  # every fourth English feature is mixed by all firings
    assert summary.filter(pl.col("class").is_in(["random", "matched", "none"]))["selective_share"].null_count() == 27
    for row in summary.filter(pl.col("class") == "mixed").iter_rows(named=True):
        same = [pl.col(name) == row[name] for name in ("alpha", "n_features", "lang")]
        control = summary.filter(pl.col("class") == "matched", *same).row(0, named=True)
        assert row["beyond_matched"] == pytest.approx(row["change"] - control["change"], abs=1e-9)
        assert row["beyond_matched_low"] <= row["beyond_matched"] <= row["beyond_matched_high"]
        assert row["beyond_matched_draws_low"] <= row["beyond_matched"] <= row["beyond_matched_draws_high"]
        assert (row["change_draws_low"] is None) == (row["n_features"] == 10)  # then each draw is the whole class
    assert summary.filter(pl.col("class") != "mixed")["beyond_matched"].null_count() == 51


def test_intervals_over_draws_are_students():
    variants = [Variant("none", 0.0, 0, 0, 0, None)]
    variants += [Variant("mixed", 0.1, 5, repeat, 5, repeat) for repeat in range(3)]
    variants += [Variant("matched", 0.1, 5, repeat, 5, 3 + repeat) for repeat in range(3)]
    values = np.array([10.0, 8, 9, 7, 9, 9, 9])[:, None] + np.zeros(4)
    names = [f"document {number}" for number in range(4)]
    _, mixed, matched = summarise("en", variants, values, names, [{}] * 7, bootstrap=50, confidence=0.95, seed=1)
    half = 4.302653 / 3**0.5  # t of two degrees of freedom, standard deviation 1
    assert (mixed["change_draws_low"], mixed["change_draws_high"]) == pytest.approx((-2 - half, -2 + half), abs=1e-5)
    assert mixed["beyond_matched"] == pytest.approx(-1)
    draws = (mixed["beyond_matched_draws_low"], mixed["beyond_matched_draws_high"])
    assert draws == pytest.approx((-1 - half, -1 + half), abs=1e-5)
    assert (matched["change_draws_low"], matched["beyond_matched"]) == (pytest.approx(-1), None)


def test_the_matched_control_needs_mixed_features_beside_it(world, tmp_path):
    with pytest.raises(IsoglossError, match="matched is a control of mixed, which must stand beside it"):
        run(world, tmp_path, classes=["en", "matched"])
