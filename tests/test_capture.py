import polars as pl
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

from config_sections import grouped
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.residuals.capture import capture, sampled_features
from isogloss.tables import open_table, read_table, write_table
from standins import TEXTS


@pytest.fixture(scope="module")
def translations(tmp_path_factory):
    """Two layers; features 3, 5, 9 and 0, 7, two phrases each."""
    owners = [owner for owner in ((0, 3), (0, 5), (0, 9), (2, 0), (2, 7)) for _ in range(2)]
    frame = pl.DataFrame(
        {
            "phrase": range(len(owners)),
            "layer": [layer for layer, _ in owners],
            "feature": [feature for _, feature in owners],
            "text": [(TEXTS * 2)[row] for row in range(len(owners))],
            "ids": None,
        },
        schema_overrides={"phrase": pl.Int64, "layer": pl.Int32, "feature": pl.Int32, "ids": pl.List(pl.Int32)},
    )
    path = tmp_path_factory.mktemp("translations") / "es.parquet"
    write_table(path, frame)
    return path


def run(lm_folder, translations, output, **changes):
    capture(
        **grouped(
            {
                "lm": str(lm_folder),
                "adapter": None,
                "translations": {
                    "es": list(map(str, translations if isinstance(translations, list) else [translations]))
                },
                "outputs": {"es": str(output)},
                "layers": [0, 1, 2],
                "feature_stride": 2,
                "token_budget": 64,
                "dtype": "float32",
                "metadata": {},
                **changes,
            },
            compute=Compute,
        )
    )
    return read_table(output)


def expected_means(model, tokenizer, text):
    """transformers' own hidden states of one unpadded text, the last layer before the final norm."""
    model.config.tie_last_hidden_states = False
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
    with torch.no_grad():
        states = model.base_model(ids, output_hidden_states=True, use_cache=False).hidden_states
    return torch.stack([state[0, 1:].mean(dim=0) for state in states[1:]])


def test_means_are_those_of_transformers(lm_folder, translations, tmp_path):
    found = run(lm_folder, translations, tmp_path / "es.parquet")
    sampled = [0, 1, 4, 5, 6, 7]  # features 3 and 9 of layer 0, feature 0 of layer 2
    assert found["phrase"].to_list() == [phrase for phrase in sampled for _ in range(3)]
    assert found["layer"].to_list() == [0, 1, 2] * len(sampled)
    assert found["pooled"].dtype == pl.Array(pl.Float32, 32)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(lm_folder).eval(), AutoTokenizer.from_pretrained(lm_folder)
    expected = torch.cat([expected_means(model, tokenizer, (TEXTS * 2)[phrase]) for phrase in sampled])
    assert_close(torch.from_numpy(found["pooled"].to_numpy().copy()), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("budget", [1, 10_000])
def test_batches_change_nothing(lm_folder, translations, tmp_path, budget):
    usual = run(lm_folder, translations, tmp_path / "a.parquet")
    other = run(lm_folder, translations, tmp_path / "b.parquet", token_budget=budget)
    assert usual.select("phrase", "layer").equals(other.select("phrase", "layer"))
    assert_close(other["pooled"].to_numpy(), usual["pooled"].to_numpy(), atol=1e-5, rtol=1e-5)


def test_adapter_is_attached(lm_folder, translations, tmp_path):
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(lm_folder),
        LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False, layers_to_transform=[0, 1]),
    ).eval()
    model.save_pretrained(tmp_path / "adapter")
    found = run(lm_folder, translations, tmp_path / "es.parquet", adapter=str(tmp_path / "adapter"), layers=[0, 1])
    tokenizer = AutoTokenizer.from_pretrained(lm_folder)
    expected = expected_means(model.get_base_model(), tokenizer, TEXTS[0])[:2]
    assert_close(torch.from_numpy(found["pooled"].to_numpy()[:2].copy()), expected, atol=1e-5, rtol=1e-5)
    base = run(lm_folder, translations, tmp_path / "base.parquet", layers=[0, 1])
    assert (base["pooled"].to_numpy()[0] != found["pooled"].to_numpy()[0]).any()


def test_every_kth_feature_of_each_layer_is_sampled(translations):
    assert sampled_features([str(translations)], 1).rows() == [(0, 3), (0, 5), (0, 9), (2, 0), (2, 7)]
    assert sampled_features([str(translations)], 2).rows() == [(0, 3), (0, 9), (2, 0)]
    assert sampled_features([str(translations)], 3).rows() == [(0, 3), (2, 0)]


def test_a_nan_is_named(lm_folder, translations, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(lm_folder)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    model.save_pretrained(tmp_path / "lm")
    AutoTokenizer.from_pretrained(lm_folder).save_pretrained(tmp_path / "lm")
    with pytest.raises(
        IsoglossError, match="layer 1, language es, phrase 0: the residual is not finite; the model's weights, "
    ):
        run(tmp_path / "lm", translations, tmp_path / "es.parquet")
    assert not (tmp_path / "es.parquet").exists()
    with pytest.raises(IsoglossError, match=r"not finite; try compute\.dtype float32"):
        run(tmp_path / "lm", translations, tmp_path / "es.parquet", dtype="bfloat16")
    run(tmp_path / "lm", translations, tmp_path / "es.parquet", layers=[0])


def test_tables_of_several_blocks_are_read_as_one(lm_folder, translations, tmp_path):
    frame = read_table(translations)
    for layer in (0, 2):
        write_table(tmp_path / f"{layer}.parquet", frame.filter(pl.col("layer") == layer))
    whole = run(lm_folder, translations, tmp_path / "whole.parquet")
    parts = run(lm_folder, [tmp_path / "0.parquet", tmp_path / "2.parquet"], tmp_path / "parts.parquet")
    assert parts.select("phrase", "layer").equals(whole.select("phrase", "layer"))
    assert_close(parts["pooled"].to_numpy(), whole["pooled"].to_numpy(), atol=1e-5, rtol=1e-5)


def test_given_ids_are_read_and_a_phrase_without_translation_is_null(lm_folder, translations, tmp_path):
    usual = run(lm_folder, translations, tmp_path / "usual.parquet")
    tokenizer = AutoTokenizer.from_pretrained(lm_folder)
    frame = read_table(translations)
    ids = pl.Series([tokenizer(text, add_special_tokens=False)["input_ids"] for text in frame["text"]])
    changed = frame.with_columns(
        ids=pl.when(pl.col("phrase").is_in([0, 5])).then(pl.lit(ids.cast(pl.List(pl.Int32)))),
        text=pl.when(pl.col("phrase") == 5)
        .then(pl.lit("?"))
        .when(~pl.col("phrase").is_in([1, 6]))
        .then(pl.col("text")),
    )
    write_table(tmp_path / "es.parquet", changed)
    found = run(lm_folder, tmp_path / "es.parquet", tmp_path / "found.parquet")
    assert found.select("phrase", "layer").equals(usual.select("phrase", "layer"))
    assert found.filter(pl.col("pooled").is_null())["phrase"].to_list() == [1] * 3 + [6] * 3
    there = ~pl.col("phrase").is_in([1, 6])
    assert_close(
        found.filter(there)["pooled"].to_numpy(), usual.filter(there)["pooled"].to_numpy(), atol=1e-5, rtol=1e-5
    )


def test_row_groups_stay_small(lm_folder, translations, tmp_path, monkeypatch):
    whole = run(lm_folder, translations, tmp_path / "whole.parquet")
    monkeypatch.setattr("isogloss.residuals.capture._ROWS", 5)
    assert run(lm_folder, translations, tmp_path / "es.parquet").equals(whole)
    metadata = open_table(tmp_path / "es.parquet").metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [3] * 6
