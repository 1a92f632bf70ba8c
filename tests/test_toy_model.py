import shutil
from itertools import count
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

from isogloss.config.toy import Architecture, Training, World, log_spaced
from isogloss.errors import IsoglossError
from isogloss.models.batching import collate
from isogloss.sources.world import training
from isogloss.sources.world.schedule import plan_training
from isogloss.sources.world.tokenizer import train_tokenizer
from isogloss.sources.world.training import learning_rate_factor, next_token_loss, read_corpus, train_toy
from isogloss.sources.world.world import build_world

SHARES = {"en": 0.6, "es": 0.3, "ml": 0.1}
ARCHITECTURE = {
    "layers": 2,
    "d_model": 32,
    "d_mlp": 64,
    "heads": 2,
    "key_value_heads": 1,
    "d_head": 16,
    "vocabulary": 512,
    "context": 768,
    "sliding_window": 64,
}
TRAINING = {
    "tokens": 40_000,
    "batch_tokens": 1024,
    "learning_rate": 3e-3,
    "warmup_steps": 5,
    "checkpoints": 4,
    "resume_every": 3,
}
KEPT = [1, 4, 13]


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("world")
    build_world(
        folder=str(folder),
        world=World(
            languages=list(SHARES),
            territories=120,
            untaught=0.0,
            repeats={"statement": 2, "arc": 1, "hellaswag": 1, "mmlu": 1, "bilingual": 1},
        ),
        reference="en",
        seed=0,
        metadata={},
    )
    return {language: str(folder / "documents" / f"{language}.parquet") for language in SHARES}


def bilingual_of(documents: dict[str, str]) -> str:
    return str(Path(documents["en"]).parents[1] / "bilingual.parquet")


@pytest.fixture(scope="module")
def tokenizer(documents, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    train_tokenizer(documents=documents, vocabulary=512, context=768, output=str(folder))
    return str(folder)


def train(
    folder: Path, documents: dict[str, str], tokenizer: str, code: str = "a", bilingual: float = 0.5, **changes: float
) -> Path:
    train_toy(
        documents=documents,
        bilingual_documents=bilingual_of(documents),
        bilingual=bilingual,
        tokenizer=tokenizer,
        shares=SHARES,
        architecture=Architecture(**ARCHITECTURE),
        training=Training(**{**TRAINING, **changes}),
        kept_steps=KEPT,
        seed=0,
        output=str(folder / "lm"),
        checkpoints=str(folder / "checkpoints"),
        table=str(folder / "training.parquet"),
        state_folder=str(folder / ".training"),
        metadata={"study": "test", "code": code},
    )
    return folder


@pytest.fixture(scope="module")
def trained(documents, tokenizer, tmp_path_factory) -> Path:
    return train(tmp_path_factory.mktemp("trained"), documents, tokenizer)


def interrupted(folder: Path, *arguments, **changes) -> None:
    """Train, stopped in step 5: two steps after the saved state and one after a checkpoint."""
    steps = count(1)

    def stopped_loss(*loss_of):
        if next(steps) == 5:
            raise KeyboardInterrupt
        return next_token_loss(*loss_of)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "next_token_loss", stopped_loss)
        with pytest.raises(KeyboardInterrupt):
            train(folder, *arguments, **changes)
    assert (folder / ".training" / "state.pt").exists()
    assert not (folder / "lm").exists()
    assert not (folder / "training.parquet").exists()


def test_tokenizer_round_trips_every_script_and_puts_bos_first(tokenizer, documents):
    bpe = AutoTokenizer.from_pretrained(tokenizer)
    assert bpe.convert_tokens_to_ids(["<pad>", "<eos>", "<bos>", "<unk>"]) == [0, 1, 2, 3]
    assert [bpe.pad_token_id, bpe.eos_token_id, bpe.bos_token_id, bpe.unk_token_id] == [0, 1, 2, 3]
    assert (len(bpe), bpe.model_max_length) == (512, 768)
    for path in documents.values():
        for text in pl.read_parquet(path)["text"].to_list()[::7]:
            plain = bpe.encode(text, add_special_tokens=False)
            assert bpe.decode(plain) == text
            assert bpe.encode(text) == [2, *plain]
    # An Indic word is cut at no vowel sign before merges are learnt: two words, the space with the second.
    assert len(bpe.backend_tokenizer.pre_tokenizer.pre_tokenize_str("हिन्दी भाषा")) == 2


@pytest.mark.parametrize("bilingual", [0.0, 0.6])
def test_realised_shares_are_the_asked_ones(documents, tokenizer, bilingual):
    bpe = AutoTokenizer.from_pretrained(tokenizer)
    corpus = read_corpus(bpe, documents, bilingual_of(documents) if bilingual else None, 768)
    lengths = {source: [document.tokens for document in rows] for source, rows in corpus.items()}
    asked = {"bilingual": bilingual, "tokens": 60_000, "batch_tokens": 1024}
    steps = plan_training(lengths, SHARES, **asked, seed=1)
    drawn = dict.fromkeys(SHARES, 0)
    total = in_pairs = 0
    for batch in steps:
        used = [corpus[draw.source][draw.row] for draw in batch]
        assert len(batch) * max(len(document.ids) for document in used) <= 1024
        for draw, document in zip(batch, used, strict=True):
            assert sum(document.tokens.values()) == len(document.ids)
            assert "+".join(sorted(document.tokens)) == draw.source
            total += len(document.ids)
            in_pairs += len(document.ids) * (len(document.tokens) == 2)
            for language, tokens in document.tokens.items():
                drawn[language] += tokens
    assert 60_000 <= total < 60_000 + 768
    assert {language: count / total for language, count in drawn.items()} == pytest.approx(SHARES, abs=0.01)
    assert in_pairs / total == pytest.approx(bilingual, abs=0.01)
    assert steps == plan_training(lengths, SHARES, **asked, seed=1)
    assert steps != plan_training(lengths, SHARES, **asked, seed=2)


def test_a_document_in_two_languages_is_read_as_the_text_it_is(documents, tokenizer):
    bpe = AutoTokenizer.from_pretrained(tokenizer)
    rows = pl.read_parquet(bilingual_of(documents)).to_dicts()
    corpus = read_corpus(bpe, documents, bilingual_of(documents), 768)
    assert set(corpus) == {*SHARES, "en+es", "en+ml", "es+ml"}
    read = {pair: iter(of_pair) for pair, of_pair in corpus.items()}
    for row in rows:
        document = next(read[row["document"].split("/")[0]])
        assert document.ids == [*bpe.encode(" ".join(row["statements"])), bpe.eos_token_id]
        first, second = row["languages"][:2]
        own = [len(bpe.encode(f" {text}")) - 1 for text in row["statements"][::2]]
        own[0] = len(bpe.encode(row["statements"][0]))
        assert document.tokens[first] == sum(own)
        assert document.tokens[second] == len(document.ids) - sum(own)


def test_schedules_by_hand():
    assert log_spaced(1000, 4) == [1, 10, 100, 1000]
    assert log_spaced(3, 6) == [1, 2, 3]
    assert log_spaced(7, 1) == [7]
    assert [learning_rate_factor(step, 11, 2) for step in (1, 2, 7)] == pytest.approx([0.5, 1.0, 0.5])
    assert 0 < learning_rate_factor(11, 11, 2) < 0.05


def test_loss_is_transformers_own(trained):
    model = AutoModelForCausalLM.from_pretrained(trained / "lm")
    rows = [[2, 10, 11, 12, 1], [2, 300, 1]]
    batch = collate(rows)
    labels = batch.input_ids.masked_fill(batch.attention_mask == 0, -100)
    expected = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss
    assert_close(next_token_loss(model, batch), expected)
    alone = [next_token_loss(model, collate([row])) * (len(row) - 1) for row in rows]
    assert_close(next_token_loss(model, batch), torch.stack(alone).sum() / 6)


def test_training_leaves_a_model_its_checkpoints_and_a_table(trained):
    table = pl.read_parquet(trained / "training.parquet")
    steps = table.height
    assert table["step"].to_list() == list(range(1, steps + 1))
    assert table["loss"].tail(5).mean() < table["loss"].head(5).mean() - 1
    assert table.row(-1, named=True) == table.row(-1, named=True) | {"tokens": table["tokens"].max()}
    for language, share in SHARES.items():
        assert table[f"share_{language}"][-1] == pytest.approx(share, abs=0.01)
    folders = {folder.name for folder in (trained / "checkpoints").iterdir()}
    assert folders == {f"step{step}" for step in (*KEPT, steps)}
    final, last = (
        load_file(folder / "model.safetensors") for folder in (trained / "lm", trained / "checkpoints" / f"step{steps}")
    )
    assert all(torch.equal(final[name], last[name]) for name in final)
    assert {tensor.dtype for tensor in final.values()} == {torch.float32}
    assert not (trained / ".training").exists()
    for folder in (trained / "lm", trained / "checkpoints" / "step1"):
        model, bpe = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        logits = model(torch.tensor([bpe.encode("The currency of Austria is")])).logits
        assert model.config.model_type == "gemma2"
        assert logits.shape[-1] == 512
        assert logits.isfinite().all()


def test_killed_run_goes_on_and_ends_in_the_same_bits(documents, tokenizer, trained, tmp_path, caplog):
    interrupted(tmp_path, documents, tokenizer)
    with caplog.at_level("INFO"):
        train(tmp_path, documents, tokenizer)
    assert "going on after step 3" in caplog.text
    for file in ("lm/model.safetensors", "training.parquet", "checkpoints/step1/model.safetensors"):
        assert (tmp_path / file).read_bytes() == (trained / file).read_bytes()
    assert {f.name for f in (tmp_path / "checkpoints").iterdir()} == {
        f.name for f in (trained / "checkpoints").iterdir()
    }


@pytest.mark.parametrize("changes", [{"learning_rate": 1e-3}, {"code": "b"}])
def test_state_of_other_settings_or_code_is_not_taken_up(documents, tokenizer, trained, tmp_path, caplog, changes):
    interrupted(tmp_path, documents, tokenizer, **changes)
    with caplog.at_level("INFO"):
        train(tmp_path, documents, tokenizer)
    assert "other settings or code, thrown away" in caplog.text
    assert (tmp_path / "lm/model.safetensors").read_bytes() == (trained / "lm/model.safetensors").read_bytes()


def test_state_that_lost_its_checkpoints_starts_anew(documents, tokenizer, trained, tmp_path, caplog):
    interrupted(tmp_path, documents, tokenizer)
    shutil.rmtree(tmp_path / ".training" / "checkpoints")
    with caplog.at_level("INFO"):
        train(tmp_path, documents, tokenizer)
    assert "the checkpoint of step 1 is lost, thrown away" in caplog.text
    for folder in ("lm", *(f"checkpoints/{file.name}" for file in (trained / "checkpoints").iterdir())):
        weights = [(out / folder / "model.safetensors").read_bytes() for out in (tmp_path, trained)]
        assert weights[0] == weights[1]


def test_a_state_that_another_run_removed_is_said(documents, tokenizer, tmp_path, monkeypatch):
    """An orphan of a killed snakemake ends while its successor trains: no checkpoint is left out silently."""
    steps = count(1)

    def orphan_ends(*loss_of):
        if next(steps) == 8:
            shutil.rmtree(tmp_path / ".training")
        return next_token_loss(*loss_of)

    monkeypatch.setattr(training, "next_token_loss", orphan_ends)
    with pytest.raises(IsoglossError, match="another run of this training ended and removed it; run snakemake again"):
        train(tmp_path, documents, tokenizer)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("rows", "line"), [([], "no documents of ml"), ([""], r"document 'd0' \(row 0\) of ml is empty")]
)
def test_empty_corpus_is_named(documents, tokenizer, tmp_path, rows, line):
    path = tmp_path / "ml.parquet"
    names = pl.Series("document", [f"d{row}" for row in range(len(rows))], dtype=pl.String)
    pl.DataFrame([names, pl.Series("text", rows, dtype=pl.String)]).write_parquet(path)
    for make in (
        lambda: train(tmp_path, {**documents, "ml": str(path)}, tokenizer),
        lambda: train_tokenizer(
            documents={**documents, "ml": str(path)},
            vocabulary=512,
            context=768,
            output=str(tmp_path / "t"),
        ),
    ):
        with pytest.raises(IsoglossError, match=line) as error:
            make()
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_what_can_not_be_trained_ends_in_one_line(documents, tokenizer, tmp_path):
    with pytest.raises(IsoglossError, match=r"the loss is (nan|inf) at step \d+ of \d+; lower training.learning_rate"):
        train(tmp_path, documents, tokenizer, learning_rate=1e20)
    with pytest.raises(
        IsoglossError, match=r"en.parquet: row \d+ of en has \d+ tokens, more than architecture.context 64; raise it"
    ):
        train_toy(
            documents=documents, bilingual_documents=bilingual_of(documents), bilingual=0.5,
            tokenizer=tokenizer, shares=SHARES,
            architecture=Architecture(**{**ARCHITECTURE, "context": 64}),
            training=Training(**TRAINING), kept_steps=KEPT, seed=0,
            output=str(tmp_path / "lm"), checkpoints=str(tmp_path / "c"),
            table=str(tmp_path / "t.parquet"), state_folder=str(tmp_path / "s"), metadata={},
        )  # fmt: skip
    with pytest.raises(IsoglossError, match=r"architecture.vocabulary: the documents give only \d+ of 900000 entries"):
        train_tokenizer(documents=documents, vocabulary=900_000, context=768, output=str(tmp_path / "t"))
