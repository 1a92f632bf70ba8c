"""The plane against scikit-learn's PCA, and the table's rows against the files' points."""

import logging

import numpy as np
import polars as pl
import pytest

from isogloss.errors import IsoglossError
from isogloss.latent.projection import principal_plane, project
from isogloss.tables import read_table
from latent_tables import questions_of, write_states


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (3, 2), (2, 6)])
def test_agrees_with_scikit_learn_signs_included(shape):
    PCA = pytest.importorskip("sklearn.decomposition").PCA
    points = np.random.default_rng(0).normal(size=shape) * np.linspace(3, 1, shape[1]) + 100
    twin = PCA(n_components=2, svd_solver="full")
    expected = twin.fit_transform(points)
    plane = principal_plane(points)
    spread = np.abs(expected).max(axis=0) > 1e-9  # two points have one direction
    assert np.abs(plane.points[:, spread] - expected[:, spread]).max() < 1e-8
    assert plane.explained == pytest.approx(twin.explained_variance_ratio_, abs=1e-12)


def test_points_that_are_all_one_have_no_plane():
    plane = principal_plane(np.ones((5, 4)))
    assert np.abs(plane.points).max() < 1e-12
    assert np.isnan(plane.explained).all()


def run(folder, files, tasks=None):
    output = folder / "tables" / "projection.parquet"
    project(
        states=list(files.values()), tasks=tasks or ["belebele"] * len(files), langs=list(files),
        projection=str(output), metadata={},
    )  # fmt: skip
    return read_table(output)


def test_languages_of_a_task_are_projected_together_layer_by_layer(tmp_path):
    generator = np.random.default_rng(1)
    questions = questions_of(6)
    states = {
        lang: {layer: generator.normal(size=(6, 10)).astype(np.float32) for layer in (1, 3)} for lang in ("en", "de")
    }
    files = {lang: write_states(tmp_path / lang, by_layer, questions) for lang, by_layer in states.items()}
    table = run(tmp_path, files)
    assert table.select("layer", "lang", "question").rows() == [
        (layer, lang, question) for layer in (1, 3) for lang in states for question in questions
    ]
    for layer in (1, 3):
        plane = principal_plane(np.concatenate([by_layer[layer] for by_layer in states.values()]))
        rows = table.filter(pl.col("layer") == layer)
        assert rows.select("pc1", "pc2").to_numpy() == pytest.approx(plane.points)
        assert rows["explained_1"].unique().to_list() == [plane.explained[0]]
        assert 0 < rows["explained_2"][0] <= rows["explained_1"][0] < 1


def test_languages_that_a_layer_keeps_apart_fall_apart_on_the_first_component(tmp_path):
    generator = np.random.default_rng(2)
    apart = np.eye(8)[0] * 20
    files = {
        lang: write_states(tmp_path / lang, {0: generator.normal(size=(20, 8)) + side * apart}, questions_of(20))
        for lang, side in (("en", 0), ("de", 1))
    }
    table = run(tmp_path, files)
    mean = dict(table.group_by("lang").agg(pl.col("pc1").mean()).rows())
    assert abs(mean["en"] - mean["de"]) == pytest.approx(20, rel=0.1)
    assert mean["de"] > mean["en"]  # the component's largest weight is positive
    assert table["explained_1"][0] > 0.8


def test_the_same_questions_in_every_language(tmp_path, caplog):
    generator = np.random.default_rng(3)
    states = {lang: generator.normal(size=(4, 5)) for lang in ("en", "de")}
    files = {
        "en": write_states(tmp_path / "en", {0: states["en"]}, ["a", "b", "c", "d"]),
        "de": write_states(tmp_path / "de", {0: states["de"]}, ["d", "c", "b", "x"]),
    }
    with caplog.at_level(logging.WARNING):
        table = run(tmp_path, files)
    assert "2 question(s)" in caplog.text
    assert table["question"].to_list() == ["b", "c", "d"] * 2
    plane = principal_plane(np.concatenate([states["en"][1:], states["de"][[2, 1, 0]]]).astype(np.float32))
    assert table.select("pc1", "pc2").to_numpy() == pytest.approx(plane.points)


def test_bad_files_are_refused_in_one_line(tmp_path):
    good = write_states(tmp_path / "en", {0: np.eye(4)}, questions_of(4))
    (tmp_path / "cut").write_bytes((tmp_path / "en").read_bytes()[:40])
    other = write_states(tmp_path / "other", {1: np.eye(4)}, questions_of(4))
    foreign = write_states(tmp_path / "foreign", {0: np.eye(4)}, ["w", "x", "y", "z"])
    short = write_states(tmp_path / "short", {0: np.eye(4)[:3]}, questions_of(4))
    for path, message in (
        (str(tmp_path / "absent"), "no such file"),
        (str(tmp_path / "cut"), "damaged"),
        (other, "no states of layer"),
        (foreign, "too few to project"),
        (short, "3 states of 4 questions"),
    ):
        with pytest.raises(IsoglossError, match=message) as error:
            run(tmp_path, {"en": good, "de": path})
        assert "\n" not in str(error.value)
