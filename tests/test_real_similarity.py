"""Residuals, cosines and retrieval of a real model against plain transformers, where a folder of one is given.

`ISOGLOSS_REAL=FOLDER` names it: model/ (Gemma 3 270M) and segments/LANG.jsonl (segment, text) of XQuAD, whose question
q of paragraph p is segment `p{p}q{q}`. The 250 questions of `data/xquad_questions.txt` are, of XQuAD's own ids in
ascending order, every fourth from the first on.
"""

import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import rankdata
from transformers import AutoModel, AutoTokenizer

from isogloss.config.measures import Compute, Statistics
from isogloss.residuals.capture import capture
from isogloss.residuals.similarity import measure_similarity
from isogloss.tables import read_table, write_table

FOLDER = os.environ.get("ISOGLOSS_REAL", "")
LANGS, LAYER = ["en", "es", "ru", "zh", "hi"], 12
FIRST_READINGS = {"es": 0.98, "ru": 0.84, "zh": 0.85, "hi": 0.78}

pytestmark = pytest.mark.skipif(not FOLDER, reason="no real model: ISOGLOSS_REAL names no folder")


def questions(lang: str) -> list[str]:
    with (Path(FOLDER) / f"segments/{lang}.jsonl").open(encoding="utf-8") as lines:
        texts = {row["segment"]: row["text"] for row in map(json.loads, lines)}
    return [texts[one] for one in (Path(__file__).parent / "data/xquad_questions.txt").read_text().split()]


def plain_means(texts: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """Means over the tokens but BOS of the stream after the block, a text at a time."""
    model = AutoModel.from_pretrained(f"{FOLDER}/model", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(f"{FOLDER}/model")
    means = {}
    with torch.no_grad():
        for lang, several in texts.items():
            states = [
                model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[LAYER + 1]
                for text in several
            ]
            means[lang] = np.stack([one[0, 1:].mean(dim=0).numpy() for one in states]).astype(np.float64)
    return means


def test_a_layer_of_a_real_model_against_transformers(tmp_path):
    texts = {lang: questions(lang) for lang in LANGS}
    n = len(texts["en"])
    numbers = {"phrase": range(n), "layer": [LAYER] * n, "feature": range(n)}
    types = {"phrase": pl.Int64, "layer": pl.Int32, "feature": pl.Int32, "text": pl.String, "ids": pl.List(pl.Int32)}
    for lang, several in texts.items():
        write_table(
            tmp_path / f"texts-{lang}.parquet", pl.DataFrame({**numbers, "text": several, "ids": [None] * n}, types)
        )
    captured = {lang: str(tmp_path / f"{lang}.parquet") for lang in LANGS}
    capture(
        lm=f"{FOLDER}/model", adapter=None, outputs=captured, layers=[LAYER], feature_stride=1, compute=Compute(),
        translations={lang: [str(tmp_path / f"texts-{lang}.parquet")] for lang in LANGS}, metadata={},
    )  # fmt: skip
    plain = plain_means(texts)
    for lang, path in captured.items():
        np.testing.assert_allclose(np.stack(read_table(path)["pooled"].to_list()), plain[lang], rtol=1e-3, atol=5e-2)
    outputs = {name: str(tmp_path / f"{name}.parquet") for name in ("similarity", "similarity_pairs")}
    measure_similarity(
        residuals=list(captured.values()), langs=LANGS, phrases=[str(tmp_path / "texts-en.parquet")], **outputs,
        reference="en", candidates=1000, statistics=Statistics(bootstrap=100), seed=0, metadata={},
    )  # fmt: skip
    centred = {lang: means - means.mean(axis=0) for lang, means in plain.items()}
    for row in read_table(outputs["similarity"]).iter_rows(named=True):
        lang = row["lang"]
        assert row["cosine"] == pytest.approx(1 - np.diag(cdist(plain["en"], plain[lang], "cosine")).mean(), abs=1e-5)
        distances = cdist(centred[lang], centred["en"], "cosine")
        assert row["centred"] == pytest.approx(1 - np.diag(distances).mean(), abs=1e-4)
        for column, far in (("retrieval", distances), ("retrieval_reverse", distances.T)):
            assert row[column] == pytest.approx((1 / np.diag(rankdata(far, axis=1))).mean(), abs=2e-3)
        assert row["n"] == row["retrieval_n"] == 250
        assert row["retrieval_chance"] == pytest.approx(0.024, abs=5e-4)
        assert row["retrieval"] == pytest.approx(FIRST_READINGS.get(lang, 1.0), abs=0.02)
