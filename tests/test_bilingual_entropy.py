import json
from math import log

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModel

from isogloss.bilingual import clusters as clusters_module
from isogloss.bilingual import entropy as entropy_module
from isogloss.bilingual.clusters import clusters
from isogloss.bilingual.embeddings import input_embeddings, token_space
from isogloss.bilingual.entropy import Entropies, entropies, permuted_entropy
from isogloss.errors import IsoglossError
from standins import FAMILIES, tiny_model


def angles(*degrees: float) -> torch.Tensor:
    """Vectors of different lengths at these angles."""
    radians = torch.tensor(degrees, dtype=torch.float64) * torch.pi / 180
    lengths = torch.arange(1, len(degrees) + 1)[:, None]
    return (torch.stack([radians.cos(), radians.sin()], dim=1) * lengths).float()


def measured(counts: list[dict[int, int]], embeddings: torch.Tensor, **settings) -> Entropies:
    """Entropies of features given as counts by token."""
    pairs = [(feature, token, count) for feature, by_token in enumerate(counts) for token, count in by_token.items()]
    columns = np.array(pairs, dtype=np.int64).reshape(-1, 3).T
    options = {"similarity": 0.1, "clustering": "greedy", **settings}
    return entropies(*columns, features=len(counts), embeddings=embeddings, **options)


def test_entropies_by_hand():
    # Tokens 0 and 1 mean the same, 2 something else.
    embeddings = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    found = measured([{0: 2, 1: 1, 2: 1}, {0: 1, 1: 1}, {0: 1, 2: 1}, {2: 7}, {}], embeddings)
    token = [1.5 * log(2), log(2), log(2), 0]
    semantic = [-(0.75 * log(0.75) + 0.25 * log(0.25)), 0, log(2), 0]
    assert found.token[:4] == pytest.approx(token)
    assert found.semantic[:4] == pytest.approx(semantic)
    expected = [1 - semantic[0] / token[0], 1, 0]
    for reading in (1.0, 0.0):
        mono = found.monosemanticity(reading)
        assert mono[:4] == pytest.approx([*expected, reading])
        assert np.isnan(mono[4])
    assert np.isnan(found.token[4])
    assert np.isnan(found.semantic[4])
    assert not np.signbit(found.token[3])


def test_a_cosine_at_the_similarity_is_not_above_it():
    orthogonal = torch.eye(3)
    assert measured([{0: 1, 1: 1}], orthogonal, similarity=0.0).semantic[0] == pytest.approx(log(2))
    assert measured([{0: 1, 1: 1}], orthogonal, similarity=-0.1).semantic[0] == 0
    assert measured([{0: 1, 1: 1}], torch.zeros(2, 3), similarity=0.1).semantic[0] == pytest.approx(log(2))


def test_greedy_clusters_follow_the_count_and_components_follow_chains():
    # 0, 40, 80 degrees: neighbours are similar (cos 40° = .77), the ends are not (cos 80° = .17).
    chain = angles(0, 40, 80)
    middle_first = measured([{0: 1, 1: 5, 2: 1}], chain, similarity=0.5)
    assert middle_first.semantic[0] == 0
    # The first token's cluster takes the middle one, the end founds its own.
    end_first = measured([{0: 5, 1: 2, 2: 1}], chain, similarity=0.5)
    assert end_first.semantic[0] == pytest.approx(-(7 / 8 * log(7 / 8) + 1 / 8 * log(1 / 8)))
    # Equal counts: the lower id comes first.
    tied = measured([{2: 1, 1: 1, 0: 1}], chain, similarity=0.5)
    assert tied.semantic[0] == pytest.approx(-(2 / 3 * log(2 / 3) + 1 / 3 * log(1 / 3)))
    # A token that two clusters would take joins the earlier: 0 founds, 80 founds, 40 joins 0.
    two = measured([{0: 5, 2: 4, 1: 2}], chain, similarity=0.5)
    assert two.semantic[0] == pytest.approx(-(7 / 11 * log(7 / 11) + 4 / 11 * log(4 / 11)))
    for counts in ({0: 1, 1: 5, 2: 1}, {0: 5, 1: 2, 2: 1}, {0: 5, 2: 4, 1: 2}):
        assert measured([counts], chain, similarity=0.5, clustering="components").semantic[0] == 0


def greedy_twin(tokens: list[int], embeddings: torch.Tensor, similarity: float) -> list[int]:
    leaders: list[int] = []
    label = []
    for token in tokens:
        near = [
            leader
            for leader in leaders
            if torch.cosine_similarity(embeddings[leader], embeddings[token], dim=0) > similarity
        ]
        if not near:
            leaders.append(token)
        label.append(near[0] if near else token)
    return label


def components_twin(tokens: list[int], embeddings: torch.Tensor, similarity: float) -> list[int]:
    label = {token: token for token in tokens}
    for one in tokens:
        for other in tokens:
            if torch.cosine_similarity(embeddings[one], embeddings[other], dim=0) > similarity:
                old, new = label[one], label[other]
                label = {token: new if component == old else component for token, component in label.items()}
    return list(label.values())


def partition(labels: list[int]) -> list[int]:
    """Labels by first appearance, so that equal partitions are equal."""
    seen: dict[int, int] = {}
    return [seen.setdefault(label, len(seen)) for label in labels]


@pytest.mark.parametrize(("largest", "block"), [(2**22, 512), (64, 4), (1, 1)])
@pytest.mark.parametrize("clustering", ["greedy", "components"])
def test_clusters_of_many_features_against_plain_loops(clustering, largest, block, monkeypatch):
    monkeypatch.setattr(clusters_module, "_LARGEST", largest)
    monkeypatch.setattr(clusters_module, "_BLOCK", block)
    rng = np.random.default_rng(0)
    embeddings = torch.randn(60, 6)
    twin = greedy_twin if clustering == "greedy" else components_twin
    sizes = [1, 3, 25, 2, 1, 9, 25, 17]
    features = [rng.choice(60, size, replace=False).tolist() for size in sizes]
    found = clusters(
        np.repeat(np.arange(8), sizes), np.concatenate(features), embeddings=embeddings, similarity=0.55,
        clustering=clustering,
    )  # fmt: skip
    several = 0
    for tokens, labels in zip(features, np.split(found, np.cumsum(sizes)[:-1]), strict=True):
        expected = partition(twin(tokens, embeddings, 0.55))
        assert partition(labels.tolist()) == expected
        several += 1 < len(set(expected)) < len(expected)
    assert several >= 3


def test_monosemanticity_stays_between_zero_and_one():
    rng = np.random.default_rng(0)
    counts = [{int(token): int(rng.integers(1, 99)) for token in rng.permutation(40)[:30]} for _ in range(50)]
    found = measured(counts, torch.eye(40))
    assert found.monosemanticity(1.0) == pytest.approx(np.zeros(50))
    assert (found.monosemanticity(1.0) >= 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_input_embedding_is_read_from_every_family(family, tmp_path):
    tiny_model(tmp_path, family=family, layers=2)
    expected = AutoModel.from_pretrained(tmp_path).get_input_embeddings().weight
    assert torch.equal(input_embeddings(tmp_path), expected)


def test_the_input_embedding_is_found_in_shards_and_its_absence_is_named(tmp_path):
    with pytest.raises(IsoglossError, match=r"no model\.safetensors there"):
        input_embeddings(tmp_path)
    save_file({"model.norm.weight": torch.ones(2)}, tmp_path / "a.safetensors")
    save_file({"model.embed_tokens.weight": torch.ones(3, 2).bfloat16()}, tmp_path / "b.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": "a.safetensors"}}))
    with pytest.raises(IsoglossError, match="no input embedding in its safetensors files"):
        input_embeddings(tmp_path)
    index.write_text(json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}))
    assert input_embeddings(tmp_path).shape == (3, 2)


def pairs_of(counts: list[dict[int, int]]) -> np.ndarray:
    pairs = [(feature, token, count) for feature, of in enumerate(counts) for token, count in of.items()]
    return np.array(pairs, dtype=np.int64).reshape(-1, 3).T


def test_the_null_by_hand():
    # Tokens 0 and 1 mean the same, 2 and 3 neither. Of the rows exchanged in all six ways, a pair of tokens gets the
    # two like rows in one third of them.
    embeddings = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    ways = [[0, 1, 2, 3], [2, 3, 0, 1], [0, 2, 1, 3]]  # of the first feature's tokens: alike, apart, apart
    counts = [{0: 1, 1: 1}, {0: 1, 3: 1}, {2: 5}, {}]
    null = permuted_entropy(
        *pairs_of(counts), features=4, embeddings=embeddings, permutations=np.array(ways), similarity=0.5,
        clustering="greedy",
    )  # fmt: skip
    assert null[:3] == pytest.approx([2 / 3 * log(2), log(2), 0])
    assert np.isnan(null[3])
    chance = Entropies(measured(counts, embeddings, similarity=0.5).token, null).monosemanticity(np.nan)
    assert chance[:2] == pytest.approx([1 / 3, 0])
    assert np.isnan(chance[2:]).all()  # one token, and none


@pytest.mark.parametrize("held", [2**20, 1])
@pytest.mark.parametrize("clustering", ["greedy", "components"])
def test_the_null_is_the_mean_over_exchanged_embeddings(clustering, held, monkeypatch):
    monkeypatch.setattr(entropy_module, "_HELD", held)
    rng = np.random.default_rng(1)
    embeddings = torch.randn(40, 5)
    counts = [{int(t): int(rng.integers(1, 9)) for t in rng.permutation(40)[:size]} for size in (1, 2, 7, 30, 30)]
    ways = np.array([rng.permutation(40) for _ in range(4)])
    how = {"similarity": 0.4, "clustering": clustering}
    expected = np.mean([measured(counts, embeddings[torch.from_numpy(way)], **how).semantic for way in ways], axis=0)
    null = permuted_entropy(*pairs_of(counts), features=5, embeddings=embeddings, permutations=ways, **how)
    assert null == pytest.approx(expected)


def test_features_of_one_meaning_exceed_their_null_and_random_ones_do_not():
    rng = np.random.default_rng(2)
    directions = torch.nn.functional.normalize(torch.randn(10, 30), dim=1)
    embeddings = directions.repeat_interleave(20, dim=0) + 0.05 * torch.randn(200, 30)  # 20 tokens a meaning
    one = [{int(token): 3 for token in 20 * number + rng.permutation(20)[:6]} for number in range(10)]
    any_ = [{int(token): 3 for token in rng.permutation(200)[:6]} for _ in range(200)]
    space = token_space(embeddings, np.ones(200, bool), similarity=0.1, quantile=0.95, permutations=20, seed=0)
    assert 0.5 < space.calibrated < 1
    how = {"features": 210, "embeddings": embeddings, "similarity": 0.5, "clustering": "greedy"}
    own = entropies(*pairs_of(one + any_), **how)
    null = Entropies(own.token, permuted_entropy(*pairs_of(one + any_), permutations=space.permutations, **how))
    excess = own.monosemanticity(1.0) - null.monosemanticity(np.nan)
    assert excess[:10].min() > 0.7
    assert excess[10:].mean() == pytest.approx(0, abs=0.02)


def test_the_calibrated_similarity_is_a_quantile_of_random_pairs_of_tokens_that_were_seen():
    embeddings = torch.randn(300, 8)
    embeddings[200:] = embeddings[200]  # never seen, all alike
    seen = np.arange(300) < 200
    space = token_space(embeddings, seen, similarity=0.1, quantile=0.9, permutations=3, seed=0)
    units = torch.nn.functional.normalize(embeddings[:200], dim=1)
    every = (units @ units.T)[~torch.eye(200, dtype=torch.bool)]
    assert space.calibrated == pytest.approx(every.quantile(0.9).item(), abs=0.01)
    assert space.random_above == pytest.approx((every > 0.1).float().mean().item(), abs=0.005)
    for way in space.permutations:
        assert sorted(way[:200]) == list(range(200))
        assert (way[200:] == np.arange(200, 300)).all()
    assert len({way.tobytes() for way in space.permutations}) == 3
    again = token_space(embeddings, seen, similarity=0.1, quantile=0.9, permutations=3, seed=0)
    assert (again.permutations == space.permutations).all()
    assert again.calibrated == space.calibrated


def test_of_fewer_than_two_tokens_no_similarity_is_calibrated():
    space = token_space(torch.randn(4, 3), np.arange(4) == 2, similarity=0.1, quantile=0.9, permutations=2, seed=0)
    assert space.notes() == {
        "similarity": 0.1,
        "similarity_calibrated": None,
        "random_pairs_above_similarity": None,
        "distinct_tokens": 1,
    }
