import json
from math import log

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModel

from isogloss.bilingual import entropy
from isogloss.bilingual.entropy import Entropies, clusters, entropies, input_embeddings
from isogloss.errors import IsoglossError
from standins import FAMILIES, tiny_model


def angles(*degrees: float) -> torch.Tensor:
    """Vectors of different lengths at these angles."""
    radians = torch.tensor(degrees, dtype=torch.float64) * torch.pi / 180
    lengths = torch.arange(1, len(degrees) + 1)[:, None]
    return (torch.stack([radians.cos(), radians.sin()], dim=1) * lengths).float()


def measured(counts: list[dict[int, int]], embeddings: torch.Tensor, **settings) -> Entropies:
    """Entropies of features given as counts by token."""
    pairs = [(feature, token, count) for feature, its in enumerate(counts) for token, count in its.items()]
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
                label = {token: new if its == old else its for token, its in label.items()}
    return list(label.values())


def partition(labels: list[int]) -> list[int]:
    """Labels by first appearance, so that equal partitions are equal."""
    seen: dict[int, int] = {}
    return [seen.setdefault(label, len(seen)) for label in labels]


@pytest.mark.parametrize(("largest", "block"), [(2**22, 512), (64, 4), (1, 1)])
@pytest.mark.parametrize("clustering", ["greedy", "components"])
def test_clusters_of_many_features_against_plain_loops(clustering, largest, block, monkeypatch):
    monkeypatch.setattr(entropy, "_LARGEST", largest)
    monkeypatch.setattr(entropy, "_BLOCK", block)
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
    for tokens, its in zip(features, np.split(found, np.cumsum(sizes)[:-1]), strict=True):
        expected = partition(twin(tokens, embeddings, 0.55))
        assert partition(its.tolist()) == expected
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
