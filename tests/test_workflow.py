"""The real Snakefile on a study of a minute: one full run, then what a change runs again."""

import os
import re
import shutil

import polars as pl
import pytest

from checkout import REPOSITORY, Checkout, read_study
from isogloss.tables import open_table, table_metadata
from isogloss.tables.contracts import CONTRACTS
from isogloss.tables.joined import MODELS, PLANTED_TRUTH, SIZE_REGRESSION, SIZES

STUDY = REPOSITORY / "tests" / "studies" / "mini.yaml"

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = Checkout(tmp_path_factory.mktemp("checkout") / "isogloss", read_study(STUDY))
    checkout.finish()
    return checkout


def test_the_study_ends_in_a_report_and_all_tables_keep_the_contract(finished: Checkout):
    report = finished.folder / "results" / "report.html"
    text = report.read_text(encoding="utf-8")
    for words in ("Gap between groups", "Skewed shares", "Equal shares"):
        assert words in text
    data = re.findall(r'<script id="[\w-]+">\n *var \w+ = (.*);$', text, flags=re.MULTILINE)
    assert any("Gap between groups" in line for line in data)
    assert not [line for line in data if "<" in line]  # no caption or title can end the script
    for name, contract in CONTRACTS.items():
        path = finished.folder / "results" / "skewed" / "tables" / f"{name}.parquet"
        schema = open_table(path).schema_arrow
        assert {column: schema.field(column).type for column in contract} == contract, name
        metadata = table_metadata(path)
        assert metadata["study"] == "mini"
        assert metadata["code"]
        assert metadata["versions"]["torch"]


def test_the_two_worlds_are_compared(finished: Checkout):
    path = finished.folder / "results" / "comparison" / "tables" / "planted_truth.parquet"
    schema = open_table(path).schema_arrow
    assert {column: schema.field(column).type for column in schema.names} == PLANTED_TRUTH
    assert set(pl.read_parquet(path)["n_languages"]) == {2}
    assert (finished.folder / "results" / "comparison" / "html" / "planted_truth.html").is_file()
    for name, contract in (("models", MODELS), ("sizes", SIZES), ("size_regression", SIZE_REGRESSION)):
        schema = open_table(path.with_name(f"{name}.parquet")).schema_arrow
        assert {column: schema.field(column).type for column in schema.names} == contract
    assert pl.read_parquet(path.with_name("models.parquet"))["n_parameters"].null_count() == 0
    assert (finished.folder / "results" / "comparison" / "figures" / "models.svg").is_file()


def test_a_seed_of_one_model_reruns_that_model_alone(finished: Checkout):
    run = finished.snakemake("--dry-run", study=finished.changed_study("models.equal.seed", 5))
    assert run.returncode == 0, run.stdout + run.stderr
    jobs = re.findall(
        r"^Job \d+: ((?:Train|Take|Find|Translate|Encode) .*)$", run.stdout + run.stderr, flags=re.MULTILINE
    )
    planned = finished.planned(study=finished.changed_study("models.equal.seed", 5))
    assert "Train the language model equal" in jobs
    assert not [job for job in jobs if "skewed" in job]
    assert planned["train_toy"] == planned["train_sae"] == planned["gap"] == 1
    assert not planned["toy_world"] + planned["toy_tokenizer"] + planned["planted_truth"]  # no control of that seed


def test_a_second_run_has_nothing_to_do(finished: Checkout):
    run = finished.snakemake()
    assert "Nothing to be done" in run.stdout + run.stderr


def test_the_model_keeps_its_checkpoints_and_a_finished_run_no_training_state(finished: Checkout):
    model = finished.folder / "results" / "skewed"
    assert (model / "lm" / "model.safetensors").is_file()
    assert len(list((model / "checkpoints").glob("step*"))) == 3
    assert not (model / ".training").exists()
    assert not list(model.rglob("*.partial"))


def test_comet_is_a_job_of_its_own_after_the_translations(finished: Checkout):
    for name in ("hparams.yaml", "checkpoints/model.ckpt"):
        path = finished.folder / "comet-model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    planned = finished.planned(study=finished.changed_study("bilingual.intervention.translations.comet", "comet-model"))
    assert planned["intervene"] == planned["score_comet"] == 1
    assert not {"describe_features", "train_checkpoint_saes"} & set(planned)


def test_a_change_of_the_gap_reruns_the_gap_and_what_follows_only(finished: Checkout):
    planned = finished.planned(study=finished.changed_study("gap.minimum_phrases", 2))
    assert {"gap", "controls", "gain", "correlation", "report_html"} <= set(planned)
    above = {
        "toy_world",
        "train_toy",
        "train_sae",
        "phrases",
        "translate",
        "capture",
        "encode",
        "similarity",
        "align",
        "benchmark",
        "accuracy",
    }
    assert not above & set(planned)


def test_a_new_language_runs_its_own_jobs_and_the_tables(finished: Checkout):
    planned = finished.planned(study=finished.changed_study("languages.medium_low_resource", ["ca", "hi"]))
    assert planned["translate"] == 2  # one a model
    assert planned["encode"] == 2
    assert planned["capture"] == 1  # the model with the similarity analysis
    assert planned["benchmark"] == 1
    assert planned["gap"] == 2
    assert not {"toy_world", "train_toy", "train_sae", "phrases", "align"} & set(planned)


def test_a_changed_seed_or_share_reaches_everything_below(finished: Checkout):
    shares = {"en": 0.5, "es": 0.2, "ca": 0.2, "hi": 0.1}
    planned = finished.planned(study=finished.changed_study("models.skewed.shares", shares))
    assert planned["train_toy"] == 1
    assert planned["toy_world"] == 0
    assert planned["align"] == 2


@pytest.mark.parametrize(
    ("module", "rules", "untouched"),
    [
        ("disparity/gap_controls.py", {"controls"}, {"gap", "encode", "align"}),
        (
            "models/hooks.py",
            {"capture", "encode", "train_sae", "align"},
            {"toy_world", "toy_tokenizer", "train_toy"},
        ),
    ],
)
def test_editing_a_module_reruns_the_rules_that_import_it_and_a_comment_does_not(
    finished: Checkout, module: str, rules: set[str], untouched: set[str]
):
    with finished.edited(module) as edited:
        edited.comment()
        assert not finished.planned()
        edited.change()
        planned = finished.planned()
        assert rules <= set(planned)
        assert not untouched & set(planned)
    assert not finished.planned()


def test_a_truncated_table_is_one_line_and_running_again_mends_it(finished: Checkout):
    table = finished.folder / "results" / "skewed" / "activations" / "base" / "0-1" / "hi" / "hi.parquet"
    whole = table.read_bytes()
    stat = table.stat()
    table.write_bytes(whole[:100])
    os.utime(table, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    gap = "results/skewed/tables/group_gap.parquet"
    run = finished.snakemake("--force", gap)
    assert run.returncode != 0
    line = next(line for line in run.stderr.splitlines() if line.startswith("isogloss: gap:"))
    assert "hi.parquet: not a complete Parquet file" in line
    assert "delete the folder results/skewed/activations/base/0-1/hi and run snakemake again" in line
    assert "Traceback" not in run.stderr
    shutil.rmtree(table.parent)
    assert finished.snakemake("--force", gap).returncode == 0
    assert pl.read_parquet(table).equals(pl.read_parquet(whole))
    assert finished.snakemake().returncode == 0
    assert not finished.planned()


def test_a_truncated_final_table_and_a_deleted_picture_come_again_by_the_plain_command(finished: Checkout):
    results = finished.folder / "results"
    before = {path: pl.read_parquet(path) for path in results.glob("*/tables/*.parquet")}
    table, picture = results / "skewed/tables/language_gap.parquet", results / "skewed/figures/group_gap.png"
    table.write_bytes(table.read_bytes()[:100])
    picture.unlink()
    run = finished.snakemake()
    assert run.returncode != 0
    line = next(line for line in run.stderr.splitlines() if "language_gap.parquet: not a complete Parquet file" in line)
    assert line.endswith("delete it and run snakemake again")
    table.unlink()
    assert finished.snakemake().returncode == 0
    assert all(pl.read_parquet(path).equals(frame) for path, frame in before.items())
    assert picture.is_file()
    assert not finished.planned()
