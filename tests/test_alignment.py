"""The stage that trains with the alignment loss: the adapter, what is resumed, and the pairs that it draws."""

import copy
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from alignment_world import LAYER, SENTENCES, World, residuals
from isogloss.config.measures import AlignmentRun
from isogloss.disparity.align import align
from isogloss.disparity.holdout import HoldOut, held_out_features
from isogloss.disparity.training_pairs import batch_rows, draw_pairs, tokenized
from isogloss.errors import IsoglossError
from isogloss.models.batching import collate, encode_texts
from isogloss.models.loading import load_base_model, load_causal_model, load_tokenizer
from isogloss.tables import read_table, table_metadata, write_table

# --- Training -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory, lm_folder) -> World:
    return World(tmp_path_factory.mktemp("alignment"), lm_folder)


@pytest.fixture(scope="module")
def trained(world: World) -> Path:
    return world.align("trained")


def test_training_raises_the_translations_and_a_large_weight_keeps_english(world: World):
    rows = world.trained()
    recorded = torch.tensor([world.recorded[row] for row in rows])
    before = {lang: world.measure(None, lang, rows) for lang in SENTENCES}
    assert_close(before["en"], recorded)
    drift = {}
    for weight in (0.0, 30.0):
        out = world.align(f"weight-{weight}", weight=weight, iterations=60, samples=200, learning_rate=5e-3)
        after = {lang: world.measure(out / "adapter", lang, rows) for lang in SENTENCES}
        drift[weight] = (after["en"] - recorded).abs().mean()
        for lang in ("es", "hi"):
            gap = (before[lang] - before["en"]).abs().mean(), (after[lang] - after["en"]).abs().mean()
            assert gap[1] < 0.6 * gap[0], (weight, lang)
            # English stays, so the translations rise; without the retention term both may give way.
            if weight:
                assert after[lang].mean() - before[lang].mean() > 0.5 * (before["en"].mean() - before[lang].mean())
    assert drift[30.0] < 0.01 * recorded.mean()
    assert drift[30.0] < 0.2 * drift[0.0]


def test_losses_are_logged_for_every_step(world: World, trained: Path):
    log = read_table(trained / "losses.parquet")
    assert log.columns == ["step", "loss", "alignment_term", "retention_term", "inactive_share", "learning_rate"]
    assert log["step"].to_list() == list(range(30))
    assert_close(torch.tensor(log["loss"]), torch.tensor(log["alignment_term"]) + torch.tensor(log["retention_term"]))
    # Nothing is trained before the first step: English is what was recorded.
    assert log["retention_term"][0] < 1e-9 < log["retention_term"][-1]
    assert log["loss"].tail(5).mean() < log["loss"].head(5).mean()
    assert log["inactive_share"].is_between(0, 1).all()
    assert log["learning_rate"][0] == 3e-3 > log["learning_rate"][-1] > 0
    assert table_metadata(trained / "losses.parquet")["n_features"] == len({world.features[r] for r in world.trained()})


def test_the_adapter_is_a_standard_peft_folder_without_paths(world: World, trained: Path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = trained / "adapter"
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"
    assert config["target_modules"] == sorted(config["target_modules"])
    assert config["layers_to_transform"] == [0, 1]
    for file in ("adapter_config.json", "README.md"):
        assert str(world.lm) not in (folder / file).read_text()
    layers = {key.split(".layers.")[1].split(".")[0] for key in load_file(folder / "adapter_model.safetensors")}
    assert layers == {"0", "1"}, "layers above the target are untouched"

    batch = collate(encode_texts(load_tokenizer(world.lm), world.texts["hi"][:3]))
    stock = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(world.lm), folder).eval()
    expected = stock(input_ids=batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True)
    base = residuals(load_base_model(world.lm), batch, [0, 1, 2])
    for last in (0, 1, 2, None):
        wanted = list(range(3 if last is None else last + 1))
        found = residuals(load_base_model(world.lm, last_layer=last, adapter=folder), batch, wanted)
        for layer in wanted:
            if layer < 2:
                assert torch.equal(found[layer], expected.hidden_states[layer + 1])
            assert not torch.equal(found[layer], base[layer])
    causal = load_causal_model(world.lm, adapter=folder)
    assert torch.equal(residuals(causal, batch, [2])[2], found[2])
    assert torch.equal(causal(batch.input_ids, attention_mask=batch.attention_mask).logits, expected.logits)


def test_an_adapter_wholly_above_the_cut_changes_nothing_below(world: World):
    folder = world.align("upper", tuned_layers=[1], iterations=5) / "adapter"
    batch = collate(encode_texts(load_tokenizer(world.lm), world.texts["en"][:3]))
    base = residuals(load_base_model(world.lm), batch, [0, 1])
    below = residuals(load_base_model(world.lm, last_layer=0, adapter=folder), batch, [0])
    assert torch.equal(below[0], base[0])
    whole = residuals(load_base_model(world.lm, last_layer=1, adapter=folder), batch, [0, 1])
    assert torch.equal(whole[0], base[0])
    assert not torch.equal(whole[1], base[1])


def files_of(run: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in [*sorted((run / "adapter").iterdir()), run / "losses.parquet"]}


def test_an_interrupted_run_resumes_to_the_same_bits(world: World, trained: Path, caplog):
    state = world.folder / "interrupted" / "state" / "state.pt"

    def interrupt_once_saved(*_: object) -> None:
        if state.exists():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt_once_saved)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        with pytest.raises(KeyboardInterrupt):
            world.align("interrupted")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    run = state.parents[1]
    assert not (run / "adapter").exists()
    assert not (run / "losses.parquet").exists()
    saved = torch.load(state, weights_only=True)
    assert 4 <= len(saved["log"]) < 30

    for copied in ("changed", "noted", "recoded"):
        shutil.copytree(state.parent, world.folder / copied / "state")
    world.align("interrupted")
    assert files_of(run) == files_of(trained)
    assert not state.parent.exists()

    # What the tables' metadata say besides the code, and what is about speed only, is no reason to start anew.
    with caplog.at_level("INFO"):
        noted = world.align("noted", metadata={"study": "test", "config": "digest"}, resume_every=7)
    assert "resumed after step" in caplog.text
    assert (noted / "adapter" / "adapter_model.safetensors").read_bytes() == files_of(trained)[
        "adapter_model.safetensors"
    ]
    caplog.clear()
    with caplog.at_level("INFO"):
        world.align("recoded", metadata={"study": "test", "code": "digest"})
    assert "starting anew" in caplog.text

    # A state of other settings is not taken up.
    assert files_of(world.align("changed", seed=4)) == files_of(world.align("afresh", seed=4))
    assert files_of(run) != files_of(world.folder / "changed")


def test_the_token_budget_changes_no_number(world: World):
    out = world.align("small-batches", token_budget=100, dropout=0.0, iterations=8)
    once = world.align("one-batch", dropout=0.0, iterations=8)
    for name, matrix in load_file(out / "adapter" / "adapter_model.safetensors").items():
        assert_close(matrix, load_file(once / "adapter" / "adapter_model.safetensors")[name], rtol=1e-2, atol=1e-3)


# --- The data -----------------------------------------------------------------------------------


def draw(world: World, **changes):
    settings = {
        "phrases": [str(world.folder / "phrases.parquet")],
        "translations": {lang: str(world.folder / f"{lang}.parquet") for lang in ("es", "hi")},
        "layer": LAYER,
        "hold_out": HoldOut(0.4, 0, 3),
        "samples": 10_000,
        "seed": 3,
        "recorded": None,
    }
    return draw_pairs(**(settings | changes))


def test_pairs_are_those_of_the_layer_that_are_not_held_out(world: World):
    n = len(world.features)
    rows = world.trained(share=0.4)
    assert 0 < len(rows) < n
    found, dropped, untranslated = draw(world)
    assert dropped == untranslated == 0
    expected = [
        (n + row, lang, world.features[row], world.recorded[row], world.texts["en"][row], None, world.texts[lang][row])
        for row in rows
        for lang in ("es", "hi")
    ]
    assert sorted(map(tuple, found)) == sorted(expected)
    assert draw(world, samples=7).pairs == found[:7]
    assert draw(world, seed=4).pairs != found
    only = draw(world, recorded={n + row: float(row) for row in rows}).pairs
    assert all(pair.recorded == pair.phrase - n for pair in only)


def test_the_floor_of_held_out_features_keeps_them_out_of_training(world: World):
    n = len(world.features)
    rule = HoldOut(1e-9, 9, 3)
    held = held_out_features(LAYER, np.array(world.features), rule)
    assert len(held) == min(9, len(set(world.features)) // 2) > 0
    drawn = draw(world, hold_out=rule).pairs
    assert {pair.feature for pair in drawn} == set(world.features) - set(held.tolist())
    assert {pair.phrase for pair in drawn} == {n + row for row, one in enumerate(world.features) if one not in held}


def test_a_run_may_have_a_loss_of_its_own(world: World):
    """`inactive` of the run goes before that of all runs: the same bits as where all have it."""
    common = {
        "recorded": "phrase", "reference_activations": str(world.folder / "activations.parquet"), "held_out": 1e-9,
        "iterations": 2, "samples": 1000, "batch_size": 2 * len(world.features),
    }  # fmt: skip
    run = {"target_layer": LAYER, "languages": ["es", "hi"], "tuned_layers": "up_to_target"}
    own = world.align("own-inactive", **common, inactive="none")
    both = world.align("inactive-of-the-run", **common, run=AlignmentRun.model_construct(**run, inactive="none"))
    other = world.align("inactive-of-all", **common)  # counts how far below its threshold the last phrase's feature is
    files = [out / "adapter" / "adapter_model.safetensors" for out in (own, both, other)]
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()


def with_segments(world: World, path: Path, segments: list[list[str]], texts: list[str] | None = None) -> list[str]:
    frame = read_table(world.folder / "phrases.parquet").with_columns(segments=pl.Series(segments * 2))
    write_table(path, frame if texts is None else frame.with_columns(text=pl.Series(texts * 2)))
    return [str(path)]


def test_no_segment_of_a_held_out_phrase_is_trained_on(world: World, tmp_path: Path):
    n = len(world.features)
    segments = [[f"country/{row % 12}", *([f"pair/{row // 5}"] if row % 3 else [])] for row in range(n)]
    trained = world.trained(share=0.2)
    unseen = {segment for row in range(n) if row not in trained for segment in segments[row]}
    expected = {row for row in trained if not unseen & set(segments[row])}
    assert 0 < len(expected) < len(trained) < n

    drawn = draw(
        world, phrases=with_segments(world, tmp_path / "phrases.parquet", segments), hold_out=HoldOut(0.2, 0, 3)
    )
    assert {pair.phrase - n for pair in drawn.pairs} == expected
    assert drawn.phrases_dropped == len(trained) - len(expected)
    assert unseen.isdisjoint(segment for pair in drawn.pairs for segment in segments[pair.phrase - n])


def test_no_text_of_a_held_out_phrase_is_trained_on_where_there_are_no_segments(world: World, tmp_path: Path):
    n = len(world.features)
    texts = [f"Text {row % 12}" for row in range(n)]
    trained = world.trained(share=0.2)
    unseen = {texts[row] for row in range(n) if row not in trained}
    expected = {row for row in trained if texts[row] not in unseen}
    assert 0 < len(expected) < len(trained) < n

    path = with_segments(world, tmp_path / "phrases.parquet", [[] for _ in range(n)], texts)
    drawn = draw(world, phrases=path, hold_out=HoldOut(0.2, 0, 3))
    assert {pair.phrase - n for pair in drawn.pairs} == expected
    assert drawn.phrases_dropped == len(trained) - len(expected)


def test_the_dropped_phrases_are_in_the_losses_metadata(world: World, tmp_path: Path):
    n = len(world.features)
    path = with_segments(world, tmp_path / "phrases.parquet", [[f"country/{row % 12}"] for row in range(n)])
    dropped = draw(world, phrases=path, hold_out=HoldOut(0.2, 0, 3)).phrases_dropped
    out = world.align("shared", phrases=path, iterations=1)
    assert table_metadata(out / "losses.parquet")["n_phrases_dropped"] == dropped > 0
    same = with_segments(world, tmp_path / "same.parquet", [["segment/0"]] * n)
    with pytest.raises(IsoglossError, match=r"all \d+ phrases of layer 1 .* lower alignment.held_out"):
        world.align("mistake", phrases=same)


def test_pairs_without_a_translation_are_not_drawn_but_counted(world: World, tmp_path: Path):
    n = len(world.features)
    rows = world.trained(share=0.4)
    absent = {"es": {n + rows[0], n + rows[1], 3}, "hi": {n + rows[1]}}  # phrase 3 is of another layer
    paths = {}
    for lang, phrases in absent.items():
        paths[lang] = str(tmp_path / f"{lang}.parquet")
        text = pl.when(~pl.col("phrase").is_in(list(phrases))).then("text")
        write_table(paths[lang], read_table(world.folder / f"{lang}.parquet").with_columns(text=text))
    found = draw(world, translations=paths)
    gone = {(phrase, lang) for lang, phrases in absent.items() for phrase in phrases}
    assert found.pairs == [pair for pair in draw(world).pairs if (pair.phrase, pair.lang) not in gone]
    assert found.pairs_untranslated == 3
    assert draw(world, translations=paths, samples=7).pairs == found.pairs[:7]
    out = world.align("untranslated", translations=list(paths.values()), held_out=0.4, iterations=1)
    assert table_metadata(out / "losses.parquet")["n_untranslated"] == 3
    frame = read_table(paths["hi"]).with_columns(text=pl.lit(None, dtype=pl.String))
    write_table(paths["hi"], frame)
    with pytest.raises(IsoglossError, match=r"layer 1: none of \d+ phrases to train on has a translation into hi"):
        draw(world, translations={"hi": paths["hi"]})


def test_an_exported_phrase_is_read_as_its_ids(world: World, tmp_path: Path):
    n = len(world.features)
    frame = read_table(world.folder / "phrases.parquet").with_columns(
        ids=pl.when(pl.col("phrase") % 2 == 0).then(pl.lit([9, 8, 7], dtype=pl.List(pl.Int32))),
        segments=pl.lit([], dtype=pl.List(pl.String)),
    )
    # The tables of two layers, as pretrained models have them.
    tables = [str(tmp_path / f"layer_{layer}.parquet") for layer in (0, LAYER)]
    for layer, path in zip((0, LAYER), tables, strict=True):
        write_table(path, frame.filter(pl.col("layer") == layer))
    drawn = draw(world, phrases=tables).pairs
    assert {pair.phrase - n for pair in drawn} <= set(world.trained(share=0.4))
    plain = tokenized([pair._replace(reference_ids=None) for pair in drawn], str(world.lm))
    bos = load_tokenizer(world.lm).bos_token_id
    for pair, ids, text in zip(drawn, tokenized(drawn, str(world.lm)), plain, strict=True):
        assert ids.reference == ([bos, 9, 8, 7] if pair.phrase % 2 == 0 else text.reference)
        assert ids.translation == text.translation
    exact = [
        pair._replace(reference_ids=list(encoded.reference[1:])) for pair, encoded in zip(drawn, plain, strict=True)
    ]
    assert tokenized(exact, str(world.lm)) == plain


def test_every_pair_comes_once_an_epoch(world: World):
    drawn = [row for step in range(7) for row in batch_rows(10, step, 4, seed=1)]
    assert sorted(drawn[:10]) == sorted(drawn[10:20]) == list(range(10))
    assert drawn[:10] != drawn[10:20]
    assert len(batch_rows(3, 5, 8, seed=1)) == 8


def test_the_recorded_value_on_the_phrase_is_that_of_the_table(world: World):
    table = str(world.folder / "activations.parquet")
    first = {}
    for inactive in ("none", "pre_activation"):
        out = world.align(
            f"phrase-{inactive}",
            recorded="phrase",
            reference_activations=table,
            inactive=inactive,
            held_out=1e-9,
            iterations=1,
            samples=1000,
            batch_size=2 * len(world.features),
        )
        first[inactive] = read_table(out / "losses.parquet")["retention_term"][0]
    # The table gives each phrase its successor's value, and to the last one an inactive feature.
    pairs = list(zip(world.recorded, [*world.recorded[1:], None], strict=True))
    for inactive, last in (("none", 0.0), ("pre_activation", -0.5)):
        expected = sum((a - (last if b is None else b)) ** 2 for a, b in pairs) / len(pairs)
        assert first[inactive] == pytest.approx(expected, rel=1e-4)


def test_mistakes_end_in_one_line(world: World, tmp_path: Path):
    n = len(world.features)
    with pytest.raises(IsoglossError, match=r"layer 2 has no phrase"):
        world.align("mistake", target_layer=2)
    with pytest.raises(IsoglossError, match=r"no qproj; its linear maps are .*q_proj"):
        world.align("mistake", target_modules=["qproj", "v_proj"])
    with pytest.raises(IsoglossError, match=r"'phrase'"):
        world.align("mistake", recorded="phrase")
    complete = read_table(world.folder / "es.parquet")
    for name, table, message in (
        ("lacking", complete.filter(pl.col("phrase") < n), rf"language es lacks \d+ phrases, the first is {n}"),
        ("empty", complete.with_columns(text=pl.lit("")), rf"phrase {n} in language es is empty"),
    ):
        write_table(tmp_path / f"{name}.parquet", table)
        paths = [str(tmp_path / f"{name}.parquet"), str(world.folder / "hi.parquet")]
        with pytest.raises(IsoglossError, match=message):
            world.align("mistake", translations=paths, held_out=1e-9, samples=1000)


@pytest.mark.parametrize("inactive", ["none", "straight_through", "pre_activation"])
def test_a_loss_that_is_not_finite_names_the_pair(world: World, tmp_path: Path, inactive: str):
    lm = tmp_path / "lm"
    shutil.copytree(world.lm, lm)
    weights = load_file(lm / "model.safetensors")
    # One token's embedding is NaN, so only the texts that hold this token are hurt.
    token = load_tokenizer(lm).convert_tokens_to_ids(load_tokenizer(lm).tokenize("मुद्रा"))[0]
    weights["model.embed_tokens.weight"][token] = torch.nan
    save_file(weights, lm / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IsoglossError, match=r"step 0, layer 1, language hi, phrase \d+: the loss is not finite"):
        world.align("nan", lm=str(lm), inactive=inactive, batch_size=40)
    assert not (world.folder / "nan" / "adapter").exists()
    with pytest.raises(IsoglossError, match=r"step \d+, layer 1.* not finite"):
        world.align("diverged", learning_rate=1e30, inactive=inactive)


def test_the_script_names_what_the_stage_takes():
    import ast
    import inspect

    script = Path(__file__).parents[1] / "workflow" / "scripts" / "align.py"
    calls = [node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.Call)]
    call = next(node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "align")
    assert {keyword.arg for keyword in call.keywords} == set(inspect.signature(copy.copy(align)).parameters)
