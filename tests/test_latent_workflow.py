"""The real Snakefile on the study of paper B, its downloads replaced by stand-ins in the upstream formats."""

from pathlib import Path

import polars as pl
import pytest

from checkout import REPOSITORY, Checkout
from isogloss.tables import open_table, table_metadata
from isogloss.tables.contracts import CONTRACTS
from paper_targets import paper_targets
from standin_latent_study import LANGUAGES, MODEL, QUESTIONS, build, merged

STUDY = REPOSITORY / "config" / "studies" / "latent-process.yaml"
TABLES = ("transfer", "transfer_layers", "latent", "latent_correlation", "steering", "steering_judged", "projection")

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def standins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("upstream")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def finished(standins: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = Checkout(tmp_path_factory.mktemp("checkout") / "isogloss", merged(STUDY, standins))
    checkout.finish()
    return checkout


@pytest.fixture(scope="module")
def results(finished: Checkout) -> Path:
    return finished.folder / "results"


def test_the_study_ends_in_a_report_and_every_table_keeps_the_contract(finished: Checkout, results: Path):
    assert "Latent language and transfer" in (results / "report.html").read_text(encoding="utf-8")
    for name in TABLES:
        path = results / MODEL / "tables" / f"{name}.parquet"
        schema = open_table(path).schema_arrow
        assert {column: schema.field(column).type for column in CONTRACTS[name]} == CONTRACTS[name], name
        assert pl.read_parquet(path).height > 0, name
        assert table_metadata(path)["study"] == "latent-process"
    assert "Nothing to be done" in finished.finish()


def test_every_ordered_pair_of_languages_of_every_task_is_there(results: Path):
    transfer = pl.read_parquet(results / MODEL / "tables" / "transfer.parquet")
    for task, languages in LANGUAGES.items():
        pairs = transfer.filter(task=task).select("lang_a", "lang_b").rows()
        assert sorted(pairs) == sorted((a, b) for a in languages for b in languages if a != b)


def test_every_table_and_figure_of_paper_b_is_made(results: Path):
    assert [target for target in paper_targets("B") if not (results / MODEL / target).exists()] == []


def test_a_question_that_one_language_lacks_is_asked_in_none(results: Path):
    questions = pl.read_parquet(results / "latent" / "questions" / "belebele.parquet")
    assert questions.group_by("lang").len()["len"].to_list() == [QUESTIONS - 1] * len(LANGUAGES["belebele"])
    assert table_metadata(results / "latent" / "questions" / "belebele.parquet")["dropped"] == {"lacking": 1}


def test_held_out_questions_make_the_vectors_and_are_not_steered(results: Path):
    questions = pl.read_parquet(results / "latent" / "questions" / "mmmlu.parquet").filter(lang="es")
    steered = pl.read_parquet(results / MODEL / "latent" / "steered" / "mmmlu" / "es" / "es.parquet")
    assert set(steered["question"]) == set(questions.filter(~pl.col("held_out"))["question"])
    projected = pl.read_parquet(results / MODEL / "tables" / "projection.parquet").filter(task="mmmlu", lang="es")
    assert set(projected["question"]) == set(questions.filter("held_out")["question"])


def test_the_unsteered_rows_of_the_sweep_are_the_scores(results: Path):
    cases = (("mmmlu", "es", "es", "en..es"), ("belebele", "zu", "es..zh-Hant", "en..zu"))  # three languages a job
    for task, lang, steered_in, scored_in in cases:
        steered = pl.read_parquet(results / MODEL / "latent" / "steered" / task / steered_in / f"{lang}.parquet")
        scores = pl.read_parquet(results / MODEL / "latent" / "scores" / task / scored_in / f"{lang}.parquet")
        last = scores.filter(pl.col("layer") == pl.col("layer").max()).select("question", "letters")
        both = steered.filter(vector="none").join(last, on="question")
        assert both.height == steered["question"].n_unique()
        differences = both.select((pl.col("scores").explode() - pl.col("letters").explode()).abs())
        assert differences.to_series().max() < 1e-4


def test_another_reading_of_the_log_ratio_measures_nothing_again(finished: Checkout):
    planned = finished.planned(study=finished.changed_study("latent.log_ratio", "mean"))
    assert planned["latent_process"] == 1
    assert not {"parallel_questions", "latent_score", "steer", "transfer"} & set(planned)


def test_other_multipliers_rerun_the_sweeps_alone(finished: Checkout):
    planned = finished.planned(study=finished.changed_study("latent.steering.gammas", [-1.0, 2.0]))
    assert planned["steer"] == len(LANGUAGES)  # three languages a job
    assert not {"parallel_questions", "latent_score", "transfer", "projection"} & set(planned)


def test_a_language_that_the_data_set_lacks_is_one_line(finished: Checkout):
    study = finished.changed_study("latent.tasks.belebele.languages", ["en", "es", "xh"])
    assert "xh" in finished.complaint("--until", "fetch_parallel_questions", study=study)


def test_a_task_without_the_reference_is_refused_before_anything_runs(finished: Checkout):
    study = finished.changed_study("latent.tasks.belebele.languages", ["es", "zu"])
    run = finished.snakemake("--dry-run", study=study)
    assert "latent.tasks.belebele.languages: without the reference en; add it" in run.stdout + run.stderr
