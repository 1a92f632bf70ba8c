import numpy as np
import pytest
import torch
from tokenizers import Regex
from tokenizers.normalizers import Replace
from torch.testing import assert_close

from isogloss.errors import IsoglossError
from isogloss.models.batching import each_batch, encode_phrases, encode_texts, make_batches
from isogloss.models.loading import load_base_model, load_tokenizer
from isogloss.residuals.pooling import token_residuals
from standins import TEXTS, mean_residuals

LENGTHS = [3, 9, 2, 40, 5, 5, 7, 2, 30, 12]
IDS = [[2, *range(10, 9 + length)] for length in LENGTHS]


@pytest.mark.parametrize("budget", [1, 16, 64, 1000])
def test_every_text_is_in_one_batch_within_the_budget(budget):
    batches = list(make_batches(IDS, token_budget=budget))
    assert sorted(row for batch in batches for row in batch.rows) == list(range(len(IDS)))
    for batch in batches:
        assert batch.input_ids.numel() <= budget or len(batch.rows) == 1
        for index, row in enumerate(batch.rows):
            assert batch.input_ids[index][batch.attention_mask[index].bool()].tolist() == IDS[row]
            assert batch.content[index].sum() == len(IDS[row]) - 1
            assert not batch.content[index, 0]


def test_batches_hold_one_depth_and_little_padding():
    ids = [[2] * length for length in range(2, 200)]
    depth = [length % 3 for length in range(len(ids))]
    batches = list(make_batches(ids, token_budget=4096, depth=depth))
    assert all(len({depth[row] for row in batch.rows}) == 1 for batch in batches)
    assert sum(batch.input_ids.numel() for batch in batches) < 1.25 * sum(map(len, ids))
    assert [depth[batch.rows[0]] for batch in batches] == sorted(depth[batch.rows[0]] for batch in batches)


def test_for_a_model_that_reads_no_padding_batches_are_filled_by_the_texts_own_tokens():
    draw = np.random.default_rng(0)
    ids = [[2] * length for length in draw.integers(5, 37, 2600).tolist()]
    depth = [row // 100 for row in range(len(ids))]
    forwards = []
    for padded in (True, False):
        batches = list(make_batches(ids, token_budget=32_768, depth=depth, fixed=1024, padded=padded))
        assert sorted(row for batch in batches for row in batch.rows) == list(range(len(ids)))
        sizes = [int(batch.attention_mask.sum()) for batch in batches]
        assert max(sizes) <= 32_768
        assert max(batch.input_ids.numel() for batch in batches) <= (1 if padded else 1.25) * 32_768
        deepest = [max(depth[row] for row in batch.rows) for batch in batches]
        assert deepest == sorted(deepest)
        forwards.append(len(batches))
    assert forwards[1] < 0.9 * forwards[0]


def test_out_of_memory_halves_the_budget_and_loses_no_text():
    texts = [ids for ids in IDS if len(ids) <= 24] * 4
    seen, sizes = [], []

    def work(batch):
        sizes.append(batch.input_ids.numel())
        if sizes[-1] > 24:
            raise torch.OutOfMemoryError("no room")
        for index, row in enumerate(batch.rows):
            assert batch.input_ids[index][batch.attention_mask[index].bool()].tolist() == texts[row]
        seen.extend(batch.rows)

    budget = each_batch(texts, work, token_budget=96)
    assert sorted(seen) == list(range(len(texts)))
    assert budget <= 24 < max(sizes)


def test_a_single_text_that_does_not_fit_is_an_error():
    def work(batch):
        if batch.input_ids.numel() > 24:
            raise torch.OutOfMemoryError("no room")

    with pytest.raises(IsoglossError, match="single text of 30 tokens"):
        each_batch(IDS, work, token_budget=96)


def test_other_errors_are_not_taken_for_lack_of_memory():
    def work(batch):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        each_batch(IDS, work, token_budget=10)


def test_phrases_that_cannot_be_read_are_named(lm_folder):
    tokenizer = load_tokenizer(lm_folder)
    with pytest.raises(IsoglossError, match="language ml, phrase 7: empty"):
        encode_phrases(tokenizer, ["ok", ""], [3, 7], lang="ml", context=100)
    with pytest.raises(IsoglossError, match=r"language ml, phrase 7: \d+ tokens"):
        encode_phrases(tokenizer, ["ok", TEXTS[0]], [3, 7], lang="ml", context=6)


def test_a_text_of_which_the_tokenizer_makes_nothing_is_named(lm_folder):
    tokenizer = load_tokenizer(lm_folder)
    tokenizer.backend_tokenizer.normalizer = Replace(Regex("\\p{Cf}"), "")
    with pytest.raises(IsoglossError, match=r"language ml, phrase 7: .* makes no token of '\\u200b'"):
        encode_phrases(tokenizer, ["ok", "\u200b"], [3, 7], lang="ml", context=100)
    with pytest.raises(IsoglossError, match=r"es\.parquet, 1: the model's tokenizer makes no token"):
        encode_texts(tokenizer, ["ok", "\u200b"], name="es.parquet, {}".format)


@pytest.mark.parametrize("budget", [1, 50, 10_000])
def test_residuals_do_not_depend_on_batches_or_order(lm_folder, budget):
    model, tokenizer = load_base_model(lm_folder), load_tokenizer(lm_folder)
    ids = encode_texts(tokenizer, TEXTS)
    expected = [token_residuals(model, [text], [0, 2], token_budget=1) for text in ids]
    vectors = token_residuals(model, ids, [0, 2], token_budget=budget)
    assert_close(vectors, torch.cat(expected, dim=1), atol=1e-5, rtol=1e-5)
    means = torch.stack([vectors.mean(dim=1) for vectors in expected])
    assert_close(mean_residuals(model, ids, [0, 2], token_budget=budget), means, atol=1e-5, rtol=1e-5)
    assert_close(mean_residuals(model, ids[::-1], [0, 2], token_budget=budget), means.flip(0), atol=1e-5, rtol=1e-5)


def test_given_ids_take_the_place_of_the_text(lm_folder):
    tokenizer = load_tokenizer(lm_folder)
    own = encode_texts(tokenizer, TEXTS[:3])
    found = encode_phrases(
        tokenizer, [*TEXTS[:2], "?"], [3, 7, 8], lang="en", context=100, given=[None, [9, 8, 7], own[2][1:]]
    )
    assert found == [own[0], [tokenizer.bos_token_id, 9, 8, 7], own[2]]
    with pytest.raises(IsoglossError, match="language en, phrase 7: empty"):
        encode_phrases(tokenizer, TEXTS[:2], [3, 7], lang="en", context=100, given=[None, []])
    with pytest.raises(IsoglossError, match="language en, phrase 3: 12 tokens"):
        encode_phrases(tokenizer, ["?"], [3], lang="en", context=10, given=[[5] * 11])
