from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

from config_sections import grouped
from isogloss.config.measures import Compute, Phrases
from isogloss.errors import IsoglossError
from isogloss.phrases import passages
from isogloss.phrases.passages import touched_segments, windows_within
from isogloss.phrases.search import find_phrases
from isogloss.sae.autoencoder import load_encoder
from isogloss.sae.top_windows import Windows, document_peaks, no_windows, qualifying, round_to_16_bits, strongest
from isogloss.tables import open_table, read_table, write_table
from standins import TEXTS, tiny_sae

LAYERS = [0, 2]
SETTINGS = {"threshold": 0.8, "window": 3, "feature_stride": 3, "per_feature": 3, "corpus_tokens": 100_000}


@pytest.fixture(scope="module", params=["topk", "jumprelu", "standard"])
def saes(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(f"saes-{request.param}")
    for layer in LAYERS:
        hooked(tiny_sae(folder / f"layer_{layer}", kind=request.param, seed=layer), layer)
    return folder


def hooked(folder: Path, layer: int) -> Path:
    cfg = (folder / "cfg.json").read_text().replace("blocks.0.hook", f"blocks.{layer}.hook")
    (folder / "cfg.json").write_text(cfg)
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Statements of one to four segments; one statement is there twice, and some documents have no segments."""
    folder = tmp_path_factory.mktemp("world")
    segments = {f"s{n}": f"{text}{n % 3}." for n, text in enumerate(TEXTS * 2)}
    generator = np.random.default_rng(0)
    rows = [
        {"document": f"statement/{n}", "segments": [f"s{i}" for i in generator.choice(12, n % 4 + 1, replace=False)]}
        for n in range(40)
    ]
    rows[30]["segments"] = rows[3]["segments"]
    rows.insert(5, {"document": "arc/0", "segments": []})
    for row in rows:
        row["text"] = " ".join(segments[s] for s in row["segments"]) or "Question: what?"
    write_table(folder / "documents.parquet", pl.DataFrame(rows))
    write_table(
        folder / "segments.parquet",
        pl.DataFrame({"segment": list(segments), "fact": list(segments), "text": list(segments.values())}),
    )
    return folder


def run(lm: Path, saes: Path, world: Path, out: Path, **changes) -> tuple[pl.DataFrame, pl.DataFrame]:
    find_phrases(
        **grouped(
            {
                "lm": str(lm),
                "sae": str(saes),
                "documents": str(world / "documents.parquet"),
                "segments": str(world / "segments.parquet"),
                "space": " ",
                "phrases": str(out / "phrases.parquet"),
                "counts": str(out / "phrase_counts.parquet"),
                "layers": LAYERS,
                "token_budget": 200,
                "dtype": "float32",
                "metadata": {},
                **SETTINGS,
                **changes,
            },
            settings=Phrases,
            compute=Compute,
        )
    )
    return read_table(out / "phrases.parquet"), read_table(out / "phrase_counts.parquet")


def hidden_states(model, ids: list[int]) -> list[torch.Tensor]:
    states: list[torch.Tensor] = []
    handles = [
        model.model.layers[layer].register_forward_hook(lambda _module, _inputs, output: states.append(output))
        for layer in LAYERS
    ]
    with torch.no_grad():
        model(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return states


def naive(lm: Path, saes: Path, world: Path, *, threshold, window, feature_stride, per_feature, corpus_tokens):
    """One feature, one document, one token at a time, with SAELens' own SAEs and unpadded texts."""
    from sae_lens import SAE

    model = AutoModelForCausalLM.from_pretrained(lm).eval()
    tokenizer = AutoTokenizer.from_pretrained(lm)
    segments = dict(read_table(world / "segments.parquet").select("segment", "text").iter_rows())
    documents, count = [], 0
    for row in read_table(world / "documents.parquet").iter_rows(named=True):
        if row["segments"] and count < corpus_tokens:
            encoded = tokenizer(row["text"], add_special_tokens=False, return_offsets_mapping=True)
            count += len(encoded["input_ids"])
            states = hidden_states(model, [tokenizer.bos_token_id, *encoded["input_ids"]])
            documents.append((row["segments"], encoded["offset_mapping"], [state[0, 1:] for state in states]))
    found = []
    for index, layer in enumerate(LAYERS):
        sae = SAE.load_from_disk(saes / f"layer_{layer}", device="cpu")
        codes = [sae.encode(states[index]) for _, _, states in documents]
        for feature in range(0, 64, feature_stride):
            peaks = []
            for number, code in enumerate(codes):
                column = round_to_16_bits(code[:, feature].detach())
                if column.max() > 0:
                    peaks.append((-column.max().item(), number, int(column.argmax())))
            kept, texts = [], set()
            for value, number, position in sorted(peaks)[:per_feature]:
                if -value < threshold * -min(peaks)[0]:
                    continue
                ids, offsets, _ = documents[number]
                low = offsets[max(0, position - window)][0]
                high = offsets[min(len(offsets) - 1, position + window)][1]
                touched, before, start = [], [], 0
                for name in ids:
                    end = start + len(segments[name])
                    if start < high and end > low:
                        touched.append(name)
                    before += [name] if end <= low else []
                    start = end + 1
                touched = touched or before[-1:]  # a token that is the space between two segments
                text = " ".join(segments[name] for name in touched)
                if text not in texts:
                    kept.append((layer, feature, len(kept), text, -value, -min(peaks)[0], touched))
                texts.add(text)
            found += kept
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"threshold": 0.97, "per_feature": 10, "window": 40},
        {"window": 1, "feature_stride": 7, "corpus_tokens": 200},
    ],
)
def test_phrases_are_those_of_a_plain_search(lm_folder, saes, world, tmp_path, changes):
    phrases, counts = run(lm_folder, saes, world, tmp_path, **changes)
    expected = naive(lm_folder, saes, world, **{**SETTINGS, **changes})
    assert phrases["phrase"].to_list() == list(range(len(expected)))
    keys = ["layer", "feature", "rank", "text", "segments"]
    assert phrases.select(keys).rows() == [(*row[:4], row[6]) for row in expected]
    assert_close(phrases["activation"].to_list(), [row[4] for row in expected], atol=1e-5, rtol=1e-4)
    assert_close(phrases["feature_max"].to_list(), [row[5] for row in expected], atol=1e-5, rtol=1e-4)
    assert phrases["ids"].null_count() == len(phrases)  # the model reads the text
    for row in counts.iter_rows(named=True):
        mine = phrases.filter(layer=row["layer"])
        assert row["n_phrases"] == len(mine) == row["windows"] - row["duplicates_dropped"]
        assert row["features_with_phrases"] == mine["feature"].n_unique() <= row["features_sampled"]


def test_batches_change_nothing_and_layers_have_their_row_groups(lm_folder, saes, world, tmp_path):
    wide, _ = run(lm_folder, saes, world, tmp_path / "wide", token_budget=10_000)
    narrow, _ = run(lm_folder, saes, world, tmp_path / "narrow", token_budget=1)
    discrete = pl.exclude("activation", "feature_max")
    assert wide.select(discrete).equals(narrow.select(discrete))
    assert_close(wide["activation"].to_list(), narrow["activation"].to_list(), atol=1e-5, rtol=1e-4)
    assert open_table(tmp_path / "wide" / "phrases.parquet").num_row_groups == len(LAYERS)


def test_documents_seen_twice_are_dropped_and_counted(lm_folder, saes, world, tmp_path):
    phrases, counts = run(lm_folder, saes, world, tmp_path, per_feature=40, window=400, threshold=0.01)
    assert counts["duplicates_dropped"].min() > 0
    assert not phrases.select("layer", "feature", "text").is_duplicated().any()


def test_peaks_leave_out_bos_and_padding(saes):
    encoder = load_encoder(saes / "layer_0")
    residual = torch.randn(3, 6, 32)
    residual[:, 0] *= 100
    content = torch.ones(3, 6, dtype=torch.bool)
    content[:, 0] = False
    content[1, 2:] = False
    features = torch.arange(64)
    peaks = document_peaks(encoder, residual, content, features)
    assert (peaks.position[1] == 0).all()
    changed = residual.clone()
    changed[1, 2:] *= 50
    changed[:, 0] = 0
    assert_close(document_peaks(encoder, changed, content, features), peaks)
    residual[2, 3] = torch.nan
    assert document_peaks(encoder, residual, content, features).activation[2].isnan().any()


def test_equal_peaks_are_kept_in_corpus_order_however_the_corpus_is_cut():
    values = torch.tensor([[1.0, 2.0, 2.0, 0.5, 2.0, 1.6, 1.0]])
    numbers = torch.arange(7)[None]
    columns = (values, numbers, numbers, numbers)
    for cut in range(1, 7):
        kept = no_windows(1, 4)
        for part in (slice(0, cut), slice(cut, 7)):
            kept = strongest(kept, Windows(*(column[:, part] for column in columns)))
        assert kept.document.tolist() == [[1, 2, 4, 5]]
    assert qualifying(kept, 0.8).tolist() == [[True] * 4]
    assert qualifying(kept, 0.81).tolist() == [[True, True, True, False]]
    assert not qualifying(no_windows(1, 4), 0.1).any()


def test_rounding_joins_what_differs_by_a_last_bit():
    values = torch.rand(1000) * 7 + 1e-3
    assert_close(round_to_16_bits(values), values, atol=0, rtol=1.6e-5)
    noisy = torch.nextafter(values, torch.tensor(100.0))
    assert (round_to_16_bits(values) == round_to_16_bits(noisy)).float().mean() > 0.99
    assert round_to_16_bits(torch.tensor([0.0, torch.inf])).tolist() == [0.0, torch.inf]


def test_windows_at_the_edges_of_documents_and_segments():
    # "aa bb cc": three segments; tokens "aa", " bb", " cc"
    offsets = np.array([[0, 2], [2, 5], [5, 8]])

    def touched(lengths: list[int], window: int, space: int = 1) -> list[list[int]]:
        low, high = windows_within(0, 3, window)
        return [x.tolist() for x in touched_segments(offsets[low, 0], offsets[high, 1], lengths, space)]

    assert touched([2, 2, 2], 0) == [[0, 1, 2], [0, 1, 2]]
    assert touched([2, 2, 2], 1) == [[0, 0, 1], [1, 2, 2]]
    assert touched([5, 2], 0) == [[0, 0, 1], [0, 0, 1]]
    assert touched([2, 3, 3], 0, space=0) == [[0, 1, 2], [0, 1, 2]]
    assert touched([3, 5], 0, space=0) == [[0, 0, 1], [0, 1, 1]]  # " bb" reaches over two
    assert [x.tolist() for x in windows_within(4, 7, 1)] == [[4, 4, 5], [5, 6, 6]]


def test_a_phrase_may_be_the_one_segment_with_the_strongest_token(lm_folder, saes, world, tmp_path):
    phrases, _ = run(lm_folder, saes, world, tmp_path, unit="segment", window=40)
    expected = naive(lm_folder, saes, world, **{**SETTINGS, "window": 0})
    keys = ["layer", "feature", "rank", "text", "segments"]
    assert phrases.select(keys).rows() == [(*row[:4], row[6]) for row in expected]
    assert set(phrases["segments"].list.len()) == {1}


@pytest.mark.parametrize("unit", ["window", "segment"])
def test_segments_of_a_language_without_spaces_follow_each_other(lm_folder, saes, world, tmp_path, unit):
    """Segments of one character each, so that most tokens reach over several."""
    segments = {f"c{number}": character for number, character in enumerate("currencyofIndiaisrupee")}
    names = list(segments)
    documents = {"document": ["d", "e"], "segments": [names, names[::2]]}
    text = ["".join(segments[name] for name in own) for own in documents["segments"]]
    write_table(tmp_path / "documents.parquet", pl.DataFrame({**documents, "text": text}))
    write_table(tmp_path / "segments.parquet", pl.DataFrame({"segment": names, "text": list(segments.values())}))
    tokenizer = AutoTokenizer.from_pretrained(lm_folder)
    paths = [str(tmp_path / f"{name}.parquet") for name in ("documents", "segments")]
    corpus = passages.Corpus(*paths, "", tokenizer, 512, 99)
    for passage, whole in zip(corpus.passages(1 if unit == "window" else None), text, strict=True):
        spans = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        assert max(end - start for start, end in spans) > 1
        last = len(spans) - 1
        for number, (start, _) in enumerate(spans):
            wide = spans[max(0, number - 1)][0], spans[min(last, number + 1)][1] - 1
            expected = wide if unit == "window" else (start, start)  # a character is a segment
            assert (passage.first[number], passage.last[number]) == expected
    phrases, _ = run(lm_folder, saes, tmp_path, tmp_path, space="", unit=unit)
    for row in phrases.iter_rows(named=True):
        assert row["text"] == "".join(segments[name] for name in row["segments"])
        assert any(row["text"] in whole for whole in text)
    with pytest.raises(IsoglossError, match="document d is not its segments with ' ' between them; make"):
        run(lm_folder, saes, tmp_path, tmp_path, unit=unit)


def naive_in_documents(lm: Path, saes: Path, texts: list[str], longest: int):
    """Pieces of plain documents, one feature and one token at a time, as a record of an export is read."""
    from sae_lens import SAE

    model = AutoModelForCausalLM.from_pretrained(lm).eval()
    tokenizer = AutoTokenizer.from_pretrained(lm)
    pieces = []
    for text in texts:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True)
        for start in range(0, len(encoded["input_ids"]), longest):
            ids, offsets = (encoded[key][start : start + longest] for key in ("input_ids", "offset_mapping"))
            pieces.append((text, ids, offsets, hidden_states(model, [tokenizer.bos_token_id, *ids])))
    found = []
    for index, layer in enumerate(LAYERS):
        sae = SAE.load_from_disk(saes / f"layer_{layer}", device="cpu")
        codes = [sae.encode(states[index][0, 1:]).detach() for *_, states in pieces]
        for feature in range(0, 64, SETTINGS["feature_stride"]):
            peaks = [(-round_to_16_bits(code[:, feature]).max().item(), number) for number, code in enumerate(codes)]
            best = sorted(peaks)[: SETTINGS["per_feature"]]
            texts_of = {}
            for value, number in best:
                if value < 0 and value <= SETTINGS["threshold"] * best[0][0]:
                    text, ids, offsets, _ = pieces[number]
                    peak = int(round_to_16_bits(codes[number][:, feature]).argmax())
                    low, high = max(0, peak - SETTINGS["window"]), min(len(ids) - 1, peak + SETTINGS["window"])
                    cut = text[offsets[low][0] : offsets[high][1]].strip()
                    texts_of.setdefault(cut, (layer, feature, len(texts_of), cut, ids[low : high + 1], -value))
            found += texts_of.values()
    return found


DOCUMENTS = [
    "\n".join(TEXTS),  # longer than a piece
    "The <bos> currency <eos> of 奥地利 is Euro, says <unk>",  # special tokens in a text are text
    " ",
    *TEXTS,
    TEXTS[0],
]


@pytest.fixture
def documents(tmp_path) -> str:
    rows = [{"document": f"d{number}", "text": text} for number, text in enumerate([*DOCUMENTS, None])]
    write_table(tmp_path / "documents.parquet", pl.DataFrame(rows))
    return str(tmp_path / "documents.parquet")


def test_phrases_of_plain_documents_are_windows_of_tokens(lm_folder, saes, documents, tmp_path, monkeypatch):
    monkeypatch.setattr(passages, "PIECE", 30)
    phrases, counts = run(lm_folder, saes, tmp_path, tmp_path, documents=documents, segments=None)
    expected = naive_in_documents(lm_folder, saes, [text for text in DOCUMENTS if text.strip()], 30)
    assert phrases.select("layer", "feature", "rank", "text", "ids").rows() == [row[:5] for row in expected]
    assert_close(phrases["activation"].to_list(), [row[5] for row in expected], atol=1e-5, rtol=1e-4)
    assert phrases["segments"].list.len().max() == 0
    assert phrases["ids"].list.len().max() <= 2 * SETTINGS["window"] + 1
    tokenizer = AutoTokenizer.from_pretrained(lm_folder)
    lengths = [len(tokenizer(text, split_special_tokens=True)["input_ids"]) - 1 for text in DOCUMENTS if text.strip()]
    assert counts["documents"].to_list() == [len(lengths)] * 2
    assert counts["tokens"].to_list() == [sum(lengths)] * 2
    dropped = counts["duplicates_dropped"] + counts["empty_dropped"]
    assert (counts["windows"] - dropped).to_list() == counts["n_phrases"].to_list()


def test_a_search_ends_within_a_long_document(lm_folder, saes, documents, tmp_path, monkeypatch):
    monkeypatch.setattr(passages, "PIECE", 30)
    _, counts = run(lm_folder, saes, tmp_path, tmp_path, documents=documents, segments=None, corpus_tokens=50)
    assert counts.select("documents", "tokens").rows() == [(1, 60)] * 2


def test_documents_longer_than_the_context_are_read_in_pieces(lm_folder, saes, world, tmp_path):
    """Segments of which the second half stands beyond the 512 tokens that the model reads."""
    segments = read_table(world / "segments.parquet")
    long = segments["segment"].to_list() * 5
    text = " ".join(dict(segments.select("segment", "text").iter_rows())[name] for name in long)
    write_table(tmp_path / "long.parquet", pl.DataFrame({"document": ["d"], "segments": [long], "text": [text]}))
    phrases, counts = run(lm_folder, saes, world, tmp_path, documents=str(tmp_path / "long.parquet"), per_feature=9)
    assert (counts["tokens"].min(), counts["documents"].max()) > (512, 0)
    assert set(phrases["segments"].explode()) <= set(long)
    assert counts["windows"].max() > counts["features_with_phrases"].max()  # of more than one piece


def test_mistakes_are_named(lm_folder, saes, world, tmp_path):
    with pytest.raises(IsoglossError, match=r"layer_1: no cfg\.json"):
        run(lm_folder, saes, world, tmp_path, layers=[0, 1])
    wide = tmp_path / "wide"
    tiny_sae(wide / "layer_0", d_model=16)
    with pytest.raises(IsoglossError, match="layer_0: the SAE is for width 16, the model's residual stream has 32"):
        run(lm_folder, wide, world, tmp_path, layers=[0])
    tiny_sae(wide / "layer_2")
    with pytest.raises(IsoglossError, match=r"belongs to blocks\.0\.hook_resid_post, not to layer 2"):
        run(lm_folder, wide, world, tmp_path, layers=[2])
    changed = read_table(world / "documents.parquet").with_columns(text=pl.col("text") + " more")
    write_table(tmp_path / "documents.parquet", changed)
    with pytest.raises(IsoglossError, match="document statement/0 is not its segments with"):
        run(lm_folder, saes, world, tmp_path, documents=str(tmp_path / "documents.parquet"))
    assert not (tmp_path / "phrases.parquet").exists()
