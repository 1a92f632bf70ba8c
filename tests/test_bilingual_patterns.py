from collections import Counter
from contextlib import ExitStack

import numpy as np
import polars as pl
import pytest
import torch

from isogloss.bilingual import patterns as module
from isogloss.bilingual.patterns import ENTRY, Patterns, collect_patterns, read_documents, strong_activations, tallies
from isogloss.bilingual.spans import runs_of, span_length
from isogloss.errors import IsoglossError
from isogloss.models.loading import load_base_model
from isogloss.sae.autoencoder import Encoder, load_encoder
from isogloss.tables import write_table
from standins import tiny_sae

LANGUAGES = ["en", "es", "ml"]


def write_tokens(path, documents: int = 45, seed: int = 0, langs=tuple(LANGUAGES), tokens: int = 24):
    """Documents of random tokens and lengths, BOS first; some have the same tokens as another."""
    rng = np.random.default_rng(seed)
    ids = [[2, *rng.integers(4, 4 + 40 * (1 + row % 3), size=rng.integers(1, tokens))] for row in range(documents)]
    ids[5] = ids[4]
    frame = {
        "document": [f"doc/{row // len(langs)}" for row in range(documents)],
        "lang": [langs[row % len(langs)] for row in range(documents)],
        "ids": [[int(token) for token in sequence] for sequence in ids],
    }
    write_table(path, pl.DataFrame(frame, schema_overrides={"ids": pl.List(pl.Int32)}))
    return path


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return write_tokens(tmp_path_factory.mktemp("tokens") / "evaluation.parquet")


def collected(lm, encoders, tokens, folder, *, part=0.7, token_budget=256):
    """Sorted counted entries and maxima by layer."""
    with ExitStack() as stack:
        found = collect_patterns(
            load_base_model(lm),
            encoders,
            read_documents(str(tokens), LANGUAGES),
            languages=len(LANGUAGES),
            part=part,
            token_budget=token_budget,
            stack=stack,
            folder=folder,
        )
        return {
            layer: (
                np.sort(np.concatenate(list(patterns.chunks())), order=["feature", "document", "position"]),
                patterns.maximum,
                patterns.firings,
            )
            for layer, patterns in found.items()
        }


@torch.no_grad()
def every_activation(lm, encoder: Encoder, tokens, layer: int) -> list[tuple[int, int, int, int, int, float]]:
    """(feature, document, position, token, language, value) of everything active, one document and token at a time."""
    from isogloss.tables import read_table

    model, found = load_base_model(lm), []
    for document, (lang, ids) in enumerate(read_table(tokens).select("lang", "ids").iter_rows()):
        kept: list[torch.Tensor] = []
        handle = model.layers[layer].register_forward_hook(lambda *call, kept=kept: kept.append(call[2]))
        model(input_ids=torch.tensor([ids]))
        handle.remove()
        residual = kept[0] if kept[0].ndim == 2 else kept[0][0]
        for position in range(1, len(ids)):
            x = residual[position]
            if encoder.unit_norm_input:
                x = x / x.norm()
            z = (x - (0 if encoder.input_bias is None else encoder.input_bias)) @ encoder.w_enc + encoder.b_enc
            ranked = sorted(range(len(z)), key=lambda feature, z=z: -z[feature])
            for feature in ranked[: encoder.k]:
                limit = 0.0 if encoder.threshold is None else encoder.threshold[feature].item()
                if z[feature].item() > max(0.0, limit):
                    value = z[feature].item()
                    found.append((feature, document, position, ids[position], LANGUAGES.index(lang), value))
    return found


@pytest.mark.parametrize("kind", ["topk", "jumprelu", "standard"])
def test_counted_entries_against_plain_loops(kind, lm_folder, tokens, tmp_path):
    encoders = {layer: load_encoder(tiny_sae(tmp_path / f"{layer}", kind=kind, seed=layer)) for layer in (0, 2)}
    if kind == "topk":  # so that many tokens have fewer than k positives, and two features never fire
        encoders[0] = encoders[0]._replace(b_enc=encoders[0].b_enc - 5)
        encoders[2] = encoders[2]._replace(b_enc=encoders[2].b_enc - 0.5, unit_norm_input=True)
    for layer, layer_encoder in encoders.items():
        layer_encoder.b_enc[[3, 11]] = -1e4
        found, maximum, firings = collected(lm_folder, {layer: layer_encoder}, tokens, tmp_path)[layer]
        plain = every_activation(lm_folder, layer_encoder, tokens, layer)
        largest = dict.fromkeys(range(64), 0.0)
        for feature, *_, value in plain:
            largest[feature] = max(largest[feature], value)
        expected = sorted(row for row in plain if row[-1] > 0.7 * largest[row[0]])
        assert maximum.tolist() == pytest.approx(list(largest.values()), rel=1e-4, abs=1e-5)
        assert maximum[3] == maximum[11] == 0
        every = Counter((row[0], row[4]) for row in plain)
        assert firings.tolist() == [[every[feature, lang] for lang in range(3)] for feature in range(64)]
        keys = ["feature", "document", "position", "token", "language"]
        assert [row.tolist() for row in found[keys]] == [row[:-1] for row in expected]
        assert found["value"].tolist() == pytest.approx([row[-1] for row in expected], rel=1e-4, abs=1e-5)
        assert 0 < len(expected) < len(plain)
        if kind == "topk":
            assert len(plain) < 0.9 * 8 * len({row[1:3] for row in plain})


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
def test_groups_batches_chunks_and_blocks_of_layers_change_nothing(kind, lm_folder, tokens, tmp_path, monkeypatch):
    encoders = {layer: load_encoder(tiny_sae(tmp_path / f"{layer}", kind=kind, seed=layer)) for layer in (0, 1, 2)}
    usual = collected(lm_folder, encoders, tokens, tmp_path)
    keys = ["feature", "document", "position", "token", "language"]
    for documents, budget, largest, held in ((1, 8, 64, 1), (7, 9999, 200, 50), (45, 30, 2**24, 2**20)):
        monkeypatch.setattr(module, "_DOCUMENTS", documents)
        monkeypatch.setattr(module, "_LARGEST", largest)
        monkeypatch.setattr(module, "_ENTRIES", held)
        found = collected(lm_folder, encoders, tokens, tmp_path, token_budget=budget)
        for layer, (entries, maximum, firings) in found.items():
            assert (firings == usual[layer][2]).all()
            assert (entries[keys] == usual[layer][0][keys]).all()
            assert maximum == pytest.approx(usual[layer][1], rel=1e-5)
    alone = collected(lm_folder, {1: encoders[1]}, tokens, tmp_path)[1]
    assert (alone[0][keys] == usual[1][0][keys]).all()


def encoder(columns, **changes) -> Encoder:
    """Features that read one number: their activation is its multiple."""
    w = torch.tensor([columns], dtype=torch.float32)
    settings = {"kind": "standard", "input_bias": None, "threshold": None, "k": None, "unit_norm_input": False}
    return Encoder(w_enc=w, b_enc=torch.zeros(len(columns)), hook_name=None, **{**settings, **changes})


@pytest.mark.parametrize("changes", [{}, {"kind": "topk", "k": 2}, {"kind": "jumprelu", "threshold": torch.zeros(2)}])
def test_a_value_at_the_threshold_is_not_above_it(changes):
    maximum = torch.tensor([4.0, 0.0])
    vectors = torch.tensor([[2.0], [3.0], [-1.0], [0.0]])
    language = torch.tensor([0, 2, 2, 1])
    found = strong_activations(encoder([1.0, -2.0], **changes), vectors, maximum, 0.5, language, 3)
    assert maximum.tolist() == [4, 2]
    order = sorted(zip(found.row.tolist(), found.feature.tolist(), found.value.tolist(), strict=True))
    assert order == [(1, 0, 3.0), (2, 1, 2.0)]  # 2 is half of 4; zero is not active
    assert found.finite.all()
    assert found.firings.tolist() == [[1, 0, 1], [0, 0, 1]]  # however weak, by language


def entries_of(*rows) -> np.ndarray:
    """Entries from (feature, token, language, document, position, value)."""
    return np.array(list(rows), ENTRY)


def patterns_of(maximum, batches, folder, stack, part=0.5) -> Patterns:
    found = Patterns(len(maximum), 3, part, stack=stack, folder=folder, device=torch.device("cpu"))
    found.running = torch.tensor(maximum)
    for batch in batches:
        found.write(entries_of(*batch))
    return found


def test_what_was_kept_early_is_dropped_by_the_final_maximum_strictly(tmp_path):
    with ExitStack() as stack:
        rows = [(0, 7, 0, 0, 1, 0.5), (0, 7, 0, 0, 2, 1.0), (0, 8, 1, 1, 1, 1.5), (1, 8, 1, 1, 1, 0.3)]
        found = patterns_of([2.0, 0.3, 0.0], [rows[:2], rows[2:]], tmp_path, stack)
        assert np.concatenate(list(found.chunks()))["value"].tolist() == pytest.approx([1.5, 0.3])
        assert np.concatenate(list(found.chunks(1, 3)))["feature"].tolist() == [1]
        assert not list(tmp_path.iterdir())  # without a name, even while it is open


def test_tallies_by_hand_whatever_the_ranges(tmp_path, monkeypatch):
    batches = [
        # document 0 (en): feature 0 on 1, 2 and 4; feature 2 on 3, its last position
        [(0, 7, 0, 0, 1, 1), (2, 9, 0, 0, 3, 1), (0, 7, 0, 0, 2, 1), (0, 8, 0, 0, 4, 1)],
        # document 1 (es), the next: feature 2 on 1; feature 0 on 5
        [(2, 9, 1, 1, 1, 1), (0, 7, 1, 1, 5, 1)],
        [(0, 5, 2, 2, 6, 1)],
    ]
    for held in (1, 3, 2**20):
        monkeypatch.setattr(module, "_ENTRIES", held)
        monkeypatch.setattr(module, "_RANGE", held)
        with ExitStack() as stack:
            parts = list(tallies(patterns_of([1.0, 1, 1, 1], batches, tmp_path, stack), languages=3, vocabulary=10))
        assert len(parts) == {1: 4, 3: 2, 2**20: 1}[held]
        assert np.concatenate([part.by_language for part in parts]).tolist() == [[3, 1, 1], [0] * 3, [1, 1, 0], [0] * 3]
        assert np.concatenate([part.runs for part in parts]).tolist() == [4, 0, 2, 0]
        pairs = [
            (int(feature) + part.first, int(token), int(count))
            for part in parts
            for feature, token, count in zip(part.feature, part.token, part.count, strict=True)
        ]
        assert pairs == [(0, 5, 1), (0, 7, 3), (0, 8, 1), (2, 9, 2)]


def test_runs_end_with_the_document_and_the_feature():
    # (feature, document, position) in any order
    rows = [(0, 0, 2), (0, 0, 1), (0, 0, 4), (0, 0, 5), (0, 1, 6), (0, 2, 7), (1, 2, 8), (1, 2, 9), (3, 0, 3)]
    found = runs_of(*np.array(rows)[::-1].T, 4)
    assert found.tolist() == [4, 1, 0, 1]
    lengths = span_length(np.array([6, 2, 0, 1]), found)
    assert lengths[[0, 1, 3]].tolist() == [1.5, 2, 1]
    assert np.isnan(lengths[2])
    assert runs_of(*np.zeros((3, 0), dtype=int), 2).tolist() == [0, 0]


@pytest.mark.parametrize("kind", ["topk", "jumprelu", "standard"])
def test_what_is_not_finite_is_named_with_layer_and_document(kind, lm_folder, tmp_path, tokens):
    encoder = load_encoder(tiny_sae(tmp_path / "sae", kind=kind))
    encoder.w_enc[0, 0] = torch.inf
    with pytest.raises(IsoglossError, match=r"layer 1, document doc/\d+: the activation is not finite"):
        collected(lm_folder, {1: encoder}, tokens, tmp_path)


def test_languages_that_are_unknown_or_absent_are_named(tokens, tmp_path):
    with pytest.raises(IsoglossError, match=r"documents in ml, but bilingual\.languages has only en, es"):
        list(read_documents(str(tokens), ["en", "es"]))
    with pytest.raises(IsoglossError, match="no document in ru"):
        list(read_documents(str(tokens), [*LANGUAGES, "ru"]))


def test_a_batch_that_runs_out_of_memory_is_not_counted_twice(lm_folder, tokens, tmp_path, monkeypatch):
    encoders = {layer: load_encoder(tiny_sae(tmp_path / f"{layer}", seed=layer)) for layer in (0, 1)}
    usual = collected(lm_folder, encoders, tokens, tmp_path)
    plain, large = module.strong_activations, []

    def scarce(encoder, vectors, *rest):
        if encoder is encoders[1] and len(vectors) > 60:
            large.append(len(vectors))
            raise torch.OutOfMemoryError
        return plain(encoder, vectors, *rest)

    monkeypatch.setattr(module, "strong_activations", scarce)
    found = collected(lm_folder, encoders, tokens, tmp_path)
    assert large
    for layer, (entries, _, firings) in found.items():
        assert (firings == usual[layer][2]).all()
        assert (
            entries[["feature", "document", "position"]] == usual[layer][0][["feature", "document", "position"]]
        ).all()
