"""The real Snakefile on phrases of exports, translated by one model of all languages and back."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from checkout import REPOSITORY, Checkout
from isogloss.tables import table_metadata
from multilingual import tiny_nllb
from standin_study import build, merged

pytestmark = pytest.mark.workflow

MODEL = "gemma-2-2b"
STUDY = REPOSITORY / "config" / "studies" / "disparity-gemma-2-2b.yaml"
TABLE = f"results/{MODEL}/tables/translation_quality.parquet"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The Gemma-2-2B study in three languages, with the stand-in of NLLB."""
    folder = tmp_path_factory.mktemp("standins")
    build(folder, languages=("en", "es", "hi"), layers=2)
    config = merged(STUDY, folder)
    config["languages"] |= {"high_resource": ["en", "es"], "medium_low_resource": ["hi"]}
    config["alignment"]["runs"] = {}
    model = {"folder": str(tiny_nllb(folder / "nllb"))}
    return config | {"translation": {"backend": "nllb", "model": model, "compute_type": "int8"}}


def test_phrases_are_translated_by_one_model_and_scored_by_their_way_back(study: dict[str, Any], tmp_path: Path):
    checkout = Checkout(tmp_path / "nllb", study)
    checkout.finish(TABLE)
    assert sorted(path.name for path in (checkout.folder / "results/translators").iterdir()) == ["codes", "model"]
    codes = json.loads((checkout.folder / "results/translators/codes/hi.json").read_text())
    assert codes == {"source": "eng_Latn", "target": "hin_Deva"}
    quality = {row["lang"]: row for row in pl.read_parquet(checkout.folder / TABLE).rows(named=True)}
    assert quality.keys() == {"en", "es", "hi"}
    for lang in ("es", "hi"):
        paths = sorted((checkout.folder / f"results/{MODEL}/translations").glob(f"*/{lang}.parquet"))
        rows = pl.concat([pl.read_parquet(path) for path in paths])
        assert quality[lang]["ok"] == (rows["status"] == "ok").sum() > 0.9 * len(rows)
        assert quality[lang]["n_chrf"] == quality[lang]["ok"]
        facts = table_metadata(paths[0])
        assert (facts["backend"], facts["source"], facts["source_lang"]) == ("nllb", "eng_Latn", "en")
        assert facts["translator"]["licence"] == "cc-by-nc-4.0"
    planned = checkout.planned(
        "--dry-run", TABLE, study=checkout.changed_study("languages.medium_low_resource", ["hi", "ru"])
    )
    assert {rule: planned[rule] for rule in ("fetch_multilingual", "translation_codes", "translate")} == {
        "fetch_multilingual": 0,
        "translation_codes": 1,
        "translate": len(paths),
    }


def test_a_language_that_the_model_lacks_stops_in_one_line(study: dict[str, Any], tmp_path: Path):
    lacking = study | {"languages": study["languages"] | {"medium_low_resource": ["ml"]}}
    line = Checkout(tmp_path / "lacking", lacking).complaint("results/translators/codes/ml.json")
    assert "the nllb model has no token for ml; it has eng_Latn" in line
