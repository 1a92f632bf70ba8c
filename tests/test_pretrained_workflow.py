"""The real Snakefile on the Gemma-2-2B study, its downloads replaced by stand-ins in the upstream formats."""

import gzip
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from checkout import REPOSITORY, Checkout, restored
from isogloss.tables import open_table, table_metadata
from isogloss.tables.contracts import CONTRACTS
from paper_targets import paper_targets
from standin_study import build, merged, sae_id

STUDY = REPOSITORY / "config" / "studies" / "disparity-gemma-2-2b.yaml"
MODEL = "gemma-2-2b"
LAYERS = 3
ANOTHER_ANALYSIS = {  # tables of `bilingual`, `latent` and `causal`, which the study has not
    *("features", "selectivity", "selectivity_by_minimum", "sae_seeds", "intervention"),
    *("transfer", "transfer_layers", "latent", "latent_correlation", "steering", "steering_judged", "projection"),
    *("language_features", "ablation", "ablation_summary"),
}
LAYER = 1  # the one whose inputs the tests change; no alignment run reads its SAE

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def standins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("upstream")
    build(folder, languages=("en", "es", "ca", "hi"), layers=LAYERS)
    return folder


@pytest.fixture(scope="module")
def finished(standins: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The study without Catalan, a job a layer, after its one full run."""
    config = merged(STUDY, standins)
    config["compute"]["layers_per_job"] = 1
    config["languages"]["medium_low_resource"] = ["hi"]
    config["alignment"]["runs"]["all-l20"]["languages"] = ["es", "hi"]
    checkout = Checkout(tmp_path_factory.mktemp("checkout") / "isogloss", config)
    checkout.finish()
    return checkout


@pytest.fixture(scope="module")
def results(finished: Checkout) -> Path:
    return finished.folder / "results" / MODEL


def test_the_study_ends_in_a_report_and_every_table_keeps_the_contract(finished: Checkout, results: Path):
    text = (finished.folder / "results" / "report.html").read_text(encoding="utf-8")
    assert "Gap between groups" in text
    assert set(CONTRACTS) - {path.stem for path in (results / "tables").iterdir()} == ANOTHER_ANALYSIS
    for name in set(CONTRACTS) - ANOTHER_ANALYSIS:
        contract = CONTRACTS[name]
        path = results / "tables" / f"{name}.parquet"
        schema = open_table(path).schema_arrow
        assert {column: schema.field(column).type for column in contract} == contract, name
        assert pl.read_parquet(path).height > 0, name
        assert table_metadata(path)["study"] == "disparity-gemma-2-2b"
    assert "Nothing to be done" in finished.finish()


def test_every_table_and_figure_of_paper_a_is_made(results: Path):
    assert [target for target in paper_targets("A") if not (results / target).exists()] == []


def test_tables_say_which_model_and_saes_were_read(results: Path):
    fetched = table_metadata(results / "activations" / "base" / f"{LAYER}-{LAYER}" / "hi" / "hi.parquet")["fetched"]
    local = {"revision": None, "licence": None}  # a folder has no commit; a stand-in has no card
    assert fetched == {
        f"results/{MODEL}/lm": {"id": "google/gemma-2-2b", **local},
        f"results/{MODEL}/sae/layer_{LAYER}": {"id": "google/gemma-scope-2b-pt-res", **local},
    }


def test_every_layer_finds_its_recorded_activations_again(results: Path):
    for layer in range(LAYERS):
        reproduced = pl.read_parquet(results / "reproduced" / f"{layer}-{layer}.parquet")
        assert reproduced["layer"].unique().to_list() == [layer]


def test_no_number_is_missing_where_there_is_a_translation(results: Path):
    for layer in range(LAYERS):
        for lang in ("en", "es", "hi"):
            rows = pl.read_parquet(results / "activations" / "base" / f"{layer}-{layer}" / lang / f"{lang}.parquet")
            translations = pl.read_parquet(results / "translations" / f"{layer}-{layer}" / f"{lang}.parquet")
            assert rows["phrase"].equals(translations["phrase"])
            assert rows["activation"].is_null().equals(translations["text"].is_null())


def test_a_changed_sae_reruns_its_own_layer_alone(finished: Checkout, standins: Path):
    path = standins / "gemma-scope" / sae_id(LAYER) / "params.npz"
    with restored(path):
        params = dict(np.load(path))
        params["b_enc"] = params["b_enc"] + np.float32(1e-4)
        np.savez(path, **params)
        run = finished.snakemake("--dry-run")
        planned = finished.planned()
    assert planned["fetch_sae"] == 1
    assert planned["reproduce"] == 1
    # base: three languages; a run of two languages and the reference; a run of one and the reference
    assert planned["encode"] == 3 + 3 + 2
    assert re.findall(r"Encode .*, layers (\S+),", run.stdout + run.stderr) == [f"{LAYER}-{LAYER}"] * 8
    untouched = {"fetch_model", "fetch_exports", "exported_phrases", "translate", "capture", "align", "benchmark"}
    assert not untouched & set(planned)


def test_a_new_language_runs_its_own_jobs_and_the_tables(finished: Checkout):
    planned = finished.planned(study=finished.changed_study("languages.medium_low_resource", ["ca", "hi"]))
    assert planned["fetch_translator"] == 2  # there and back
    assert planned["translate"] == LAYERS
    assert planned["encode"] == LAYERS
    assert planned["capture"] == 1
    assert planned["gap"] == 1
    untouched = {"fetch_model", "fetch_sae", "fetch_exports", "exported_phrases", "reproduce", "align"}
    assert not untouched & set(planned)


def test_an_export_cut_in_the_middle_stops_the_layer_in_one_line_and_mends(finished: Checkout, standins: Path):
    folder = standins / "neuronpedia" / MODEL / f"{LAYER}-gemmascope-res-16k" / "activations"
    path = sorted(folder.glob("batch-*.jsonl.gz"))[-1]
    phrases = finished.folder / "results" / MODEL / "phrases" / f"layer_{LAYER}.parquet"
    before = pl.read_parquet(phrases)
    target = str(phrases.relative_to(finished.folder))
    with restored(path):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert path.name in finished.complaint(target)
    finished.finish(target)
    assert pl.read_parquet(phrases).equals(before)


def test_a_broken_record_is_named_by_file_and_line(finished: Checkout, standins: Path):
    folder = standins / "neuronpedia" / MODEL / f"{LAYER}-gemmascope-res-16k" / "activations"
    path = sorted(folder.glob("batch-*.jsonl.gz"))[0]
    target = f"results/{MODEL}/phrases/layer_{LAYER}.parquet"
    with restored(path):
        lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        lines[2] = lines[2][:40] + b"\n"
        path.write_bytes(gzip.compress(b"".join(lines)))
        assert f"{path.name}:3: not JSON" in finished.complaint(target)
    finished.finish(target)


def test_an_sae_of_another_width_stops_before_anything_is_measured(finished: Checkout):
    study = finished.changed_study(f"models.{MODEL}.saes.features", 32)
    line = finished.complaint(f"results/{MODEL}/sae/layer_{LAYER}", study=study)
    assert "64" in line
    assert "32" in line
    finished.finish(f"results/{MODEL}/sae/layer_{LAYER}")


def test_a_model_without_safetensors_is_not_loaded(finished: Checkout, standins: Path, tmp_path: Path):
    folder = tmp_path / "lm"
    shutil.copytree(standins / "lm", folder)
    for path in folder.glob("*.safetensors"):
        path.rename(path.with_name("pytorch_model.bin"))
    study = finished.changed_study(f"models.{MODEL}.source.folder", str(folder))
    assert "safetensors" in finished.complaint(f"results/{MODEL}/lm", study=study)
