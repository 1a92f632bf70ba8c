"""The real Snakefile on a study of half a minute, to one table and what that needs; plans of the default study."""

import polars as pl
import pytest

from checkout import REPOSITORY, Checkout, read_study
from isogloss.tables import open_table, table_metadata
from isogloss.tables.contracts import CONTRACTS

TABLE = "results/equal/tables/group_gap.parquet"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    study = read_study(REPOSITORY / "tests" / "studies" / "smallest.yaml")
    checkout = Checkout(tmp_path_factory.mktemp("checkout") / "isogloss", study)
    checkout.finish(TABLE)
    return checkout


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The default study; nothing of it has run."""
    study = read_study(REPOSITORY / "config" / "config.yaml")
    return Checkout(tmp_path_factory.mktemp("checkout") / "isogloss", study)


def test_one_table_keeps_the_contract_and_says_where_it_comes_from(finished: Checkout):
    path = finished.folder / TABLE
    schema = open_table(path).schema_arrow
    contract = CONTRACTS["group_gap"]
    assert {column: schema.field(column).type for column in contract} == contract
    assert pl.read_parquet(path).height > 0
    metadata = table_metadata(path)
    assert metadata["study"] == "smallest"
    assert metadata["code"]
    assert metadata["versions"]["torch"]
    assert not finished.planned(TABLE)


def test_a_change_of_the_gap_reruns_the_gap_alone(finished: Checkout):
    assert finished.planned(TABLE, study=finished.changed_study("gap.minimum_phrases", 2)) == {"gap": 1}


@pytest.mark.workflow
def test_an_edit_of_the_gap_reruns_the_gap_and_a_comment_does_not(finished: Checkout):
    with finished.edited("disparity/gap.py") as module:
        module.comment()
        assert not finished.planned(TABLE)
        module.change()
        assert finished.planned(TABLE) == {"gap": 1}


def test_mistakes_in_the_configuration_come_at_once_before_anything_runs(finished: Checkout):
    study = finished.changed_study("models.equal.shares", {"en": 0.5, "xx": 0.6})
    run = finished.snakemake(study=study)
    assert run.returncode != 0
    assert "models.equal.shares: unknown language 'xx'" in run.stderr
    assert "Traceback" not in run.stderr


def test_the_default_study_and_the_slurm_profile_plan_without_a_cluster(default: Checkout):
    local = default.planned()
    assert local == default.planned("--profile", "slurm")
    assert local["train_toy"] == 2
    assert local["encode"] == 2 + 2 + 2 + 1 + 1  # ten languages of both models and a run; two of two runs


@pytest.mark.workflow
def test_all_languages_of_the_default_study_in_a_job_each(default: Checkout):
    planned = default.planned(study=default.changed_study("compute.languages_per_job", "all"))
    assert planned["encode"] == 5
    assert planned["benchmark"] == 2 + 2  # a run that is benchmarked in no language has none
    assert planned["latent_score"] == planned["steer"] == 1


@pytest.mark.workflow
def test_a_job_stops_if_its_code_was_edited_after_the_run_began(default: Checkout):
    script = default.folder / "workflow" / "scripts" / "toy_world.py"
    original = script.read_text(encoding="utf-8")
    edit = (  # by the first job, before the second starts
        "from pathlib import Path\n"
        "module = Path(snakemake.scriptdir, 'isogloss', 'sources', 'world', 'tokenizer.py')\n"
        "module.write_text(module.read_text().replace('vocab_size=vocabulary', 'vocab_size=vocabulary + 1'))\n"
    )
    script.write_text(edit + original, encoding="utf-8")
    module = default.folder / "workflow" / "scripts" / "isogloss" / "sources" / "world" / "tokenizer.py"
    source = module.read_text(encoding="utf-8")
    line = default.complaint("results/skewed/tokenizer")
    assert line.startswith("isogloss: toy_tokenizer: the code of this stage was edited after the run began, so nothing")
    assert (default.folder / "results" / "world" / "facts.parquet").is_file()
    assert not (default.folder / "results" / "skewed" / "tokenizer").exists()
    module.write_text(source, encoding="utf-8")
    script.write_text(original, encoding="utf-8")
