"""The real Snakefile on the LLM-jp study, its downloads replaced by stand-ins in the upstream formats."""

from pathlib import Path

import polars as pl
import pytest

from checkout import REPOSITORY, Checkout
from isogloss.tables import open_table
from isogloss.tables.contracts import CONTRACTS
from paper_targets import paper_targets
from standin_bilingual import KEPT, STEPS, build, merged

STUDY = REPOSITORY / "config" / "studies" / "bilingual-llm-jp.yaml"
TABLES = ("features", "selectivity", "intervention")

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


def test_the_study_ends_in_a_report_and_every_table_keeps_the_contract(finished: Checkout):
    text = (finished.folder / "results" / "report.html").read_text(encoding="utf-8")
    assert "Bilingual features" in text
    for model in KEPT:
        for name in TABLES:
            path = finished.folder / "results" / model / "tables" / f"{name}.parquet"
            schema = open_table(path).schema_arrow
            contract = CONTRACTS[name]
            assert {column: schema.field(column).type for column in contract} == contract, name
        features = pl.read_parquet(finished.folder / "results" / model / "tables" / "features.parquet")
        assert features.group_by("step", "layer").len().height == len(STEPS) * 2
        assert features.height == len(STEPS) * 2 * 64
        assert sorted(features["step"].unique()) == list(STEPS)
    assert "Nothing to be done" in finished.finish()


@pytest.mark.parametrize("model", KEPT)
def test_every_table_and_figure_of_paper_c_is_made(finished: Checkout, model: str):
    results = finished.folder / "results" / model
    assert [target for target in paper_targets("C") if not (results / target).exists()] == []


def test_a_changed_threshold_trains_nothing_again(finished: Checkout):
    planned = finished.planned(study=finished.changed_study("bilingual.threshold", 0.8))
    assert planned["describe_features"] == len(KEPT) * len(STEPS) * 2
    assert planned["selectivity"] == len(KEPT)
    assert not {"tokenise", "train_checkpoint_saes", "fetch_checkpoint"} & set(planned)


def test_other_strengths_rerun_the_injection_alone(finished: Checkout):
    planned = finished.planned(study=finished.changed_study("bilingual.intervention.alphas", [0.3]))
    assert planned["intervene"] == len(KEPT)
    assert not {"tokenise", "train_checkpoint_saes", "describe_features", "selectivity"} & set(planned)


def test_a_checkpoint_of_another_width_is_one_line(finished: Checkout, standins: Path):
    other = {str(step): {"folder": str(standins / "models" / KEPT[1])} for step in STEPS}
    study = finished.changed_study(f"models.{KEPT[0]}.checkpoints", other)
    line = finished.complaint(f"results/{KEPT[0]}/checkpoints/step{STEPS[0]}", study=study)
    assert "width 64" in line
    assert "32" in line
    finished.finish(f"results/{KEPT[0]}/checkpoints/step{STEPS[0]}")


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("bilingual.languages", ["en", "es"], "bilingual.languages: es not in documents"),
        ("bilingual.intervention.step", 500, "no unfinished checkpoint step500"),
        ("bilingual.intervention.layer", 7, "has no analysed layer 7"),
        ("bilingual.minimum_tokens", 80, "minimum_tokens 80 must be at most tokens_per_document 64"),
        (f"models.{KEPT[0]}.sae.buffer_tokens", 100, "buffer_tokens 100 must be at least batch_tokens 512"),
    ],
)
def test_mistakes_in_the_study_come_before_anything_runs(finished: Checkout, path: str, value: object, line: str):
    run = finished.snakemake(study=finished.changed_study(path, value))
    assert run.returncode != 0
    assert line in run.stderr
    assert "Traceback" not in run.stderr
