import pytest

from config_sections import grouped
from isogloss.config.measures import Compute
from isogloss.config.model import SaeRecipe
from isogloss.errors import IsoglossError
from isogloss.sae.learning_rate import search_learning_rate
from isogloss.tables import read_table
from test_checkpoint_saes import RECIPE, run, tokens  # noqa: F401

RATES = [1e-2, 1e-5, 1e-3]


def search(lm_folder, tokens, out, **changes):  # noqa: F811
    settings = {
        "lm": str(lm_folder),
        **tokens,
        "learning_rates": str(out / "learning_rates.parquet"),
        "step": 1000,
        "layer": 1,
        "rates": RATES,
        "recipe": RECIPE,
        "token_budget": 512,
        "dtype": "float32",
        "seed": 1,
        "metadata": {"study": "test"},
    }
    settings = grouped({**settings, **changes}, compute=Compute)
    search_learning_rate(**{**settings, "recipe": SaeRecipe.model_construct(**settings["recipe"])})
    return read_table(out / "learning_rates.parquet")


def test_every_rate_is_as_if_trained_alone_and_the_smallest_loss_is_chosen(lm_folder, tokens, tmp_path):  # noqa: F811
    found = search(lm_folder, tokens, tmp_path)
    assert found.columns == ["learning_rate", "loss", "fvu", "step", "layer", "chosen"]
    assert found["learning_rate"].to_list() == sorted(RATES)
    for row in found.iter_rows(named=True):
        run(lm_folder, tokens, tmp_path / "alone", {"learning_rate": row["learning_rate"]}, layers=[1])
        alone = read_table(tmp_path / "alone" / "sae_quality.parquet").row(0, named=True)
        assert (row["loss"], row["fvu"]) == (alone["loss"], alone["fvu"])
        assert (row["step"], row["layer"]) == (1000, 1)
    assert found["chosen"].to_list() == (found["loss"] == found["loss"].min()).to_list()
    assert found["chosen"].sum() == 1


def test_the_model_runs_as_often_for_many_rates_as_for_one(lm_folder, tokens, tmp_path, monkeypatch):  # noqa: F811
    from isogloss.sae import trainer

    forwards = []
    plain = trainer.token_residuals
    monkeypatch.setattr(trainer, "token_residuals", lambda *those, **more: forwards.append(1) or plain(*those, **more))
    search(lm_folder, tokens, tmp_path, rates=[1e-3])
    one = len(forwards)
    search(lm_folder, tokens, tmp_path)
    assert len(forwards) == 2 * one


def test_a_rate_that_diverges_is_given_up_and_never_chosen(lm_folder, tokens, tmp_path):  # noqa: F811
    recipe = {**RECIPE, "warmup_steps": 0}
    found = search(lm_folder, tokens, tmp_path, rates=[1e-3, 1e30], recipe=recipe)
    assert found["loss"].is_null().to_list() == [False, True]
    assert found["chosen"].to_list() == [True, False]
    with pytest.raises(IsoglossError, match=r"checkpoint of step 1000: at none of the learning rates 1e\+30, 1e\+31"):
        search(lm_folder, tokens, tmp_path, rates=[1e30, 1e31], recipe=recipe)
