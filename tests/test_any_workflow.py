"""The real Snakefile on a model, languages and a parallel corpus of one's choice, downloads replaced by stand-ins."""

from pathlib import Path

import polars as pl
import pytest

from checkout import REPOSITORY, Checkout
from isogloss.tables import open_table, read_table, table_metadata
from isogloss.tables.contracts import CONTRACTS
from standin_any_study import CODES, MODEL, SENTENCES, build, merged

STUDY = REPOSITORY / "config" / "studies" / "any-model.yaml"
TABLES = {
    *("similarity", "language_gap", "group_gap", "activation_controls", "alignment_gain", "accuracy", "sae_quality"),
    *("transfer", "latent", "steering", "projection", "features", "selectivity", "sae_training", "phrase_counts"),
}

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    standins = tmp_path_factory.mktemp("upstream")
    build(standins)
    checkout = Checkout(tmp_path_factory.mktemp("checkout") / "isogloss", merged(STUDY, standins))
    checkout.finish()
    return checkout


@pytest.fixture(scope="module")
def tables(finished: Checkout) -> Path:
    return finished.folder / "results" / MODEL / "tables"


def test_all_three_papers_end_in_a_report_and_their_tables_keep_the_contract(finished: Checkout, tables: Path) -> None:
    assert (finished.folder / "results" / "report.html").is_file()
    for name in TABLES:
        path = tables / f"{name}.parquet"
        schema = open_table(path).schema_arrow
        contract = CONTRACTS.get(name, {})
        assert {column: schema.field(column).type for column in contract} == contract, name
        assert pl.read_parquet(path).height > 0, name
    assert "Nothing to be done" in finished.finish()


def test_phrases_are_sentences_of_the_corpus_and_translations_their_counterparts(finished: Checkout) -> None:
    results = finished.folder / "results"
    segments = {
        lang: dict(read_table(results / f"parallel/segments/{lang}.parquet").select("segment", "text").rows())
        for lang in CODES
    }
    assert {len(texts) for texts in segments.values()} == {SENTENCES}
    phrases = read_table(results / MODEL / "phrases" / "all.parquet")
    translated = read_table(results / MODEL / "translations" / "0-1" / "hi.parquet")
    both = phrases.join(translated, on=["phrase", "layer"], suffix="_hi")
    assert both.height == phrases.height > 20
    for text, ids, other in both.select("text", "segments", "text_hi").iter_rows():
        assert text == " ".join(segments["en"][name] for name in ids)
        assert other == " ".join(segments["hi"][name] for name in ids)


def test_saes_are_trained_on_documents_of_every_language(tables: Path) -> None:
    quality = read_table(tables / "sae_quality.parquet")
    assert quality["layer"].to_list() == [0, 1]
    assert (quality["fvu"] < 1).all()


def test_a_task_of_lm_eval_is_asked_by_its_own_name(tables: Path) -> None:
    accuracy = read_table(tables / "accuracy.parquet")
    assert set(accuracy["task"]) == {"global-mmlu"}
    base = accuracy.filter(adapter="base")
    assert sorted(base["lang"]) == sorted(CODES)
    assert base["n"].to_list() == [6] * len(CODES)


def test_paper_c_describes_the_features_of_the_finished_model_alone(tables: Path) -> None:
    features = read_table(tables / "features.parquet")
    assert features["step"].unique().to_list() == [0]
    assert not (tables / "intervention.parquet").exists()
    assert table_metadata(tables / "features.parquet")["study"] == "any-model"
