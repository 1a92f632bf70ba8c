"""The numbers of a real model's layer against plain transformers and SAELens, where a folder of one is given.

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
from isogloss.config.model import SaeRecipe
from isogloss.residuals.capture import capture
from isogloss.residuals.similarity import measure_similarity
from isogloss.sae.encode import encode
from isogloss.sae.train import train_saes
from isogloss.tables import read_table, write_table

FOLDER = os.environ.get("ISOGLOSS_REAL", "")
LANGS, LAYER = ["en", "es", "ru", "zh", "hi"], 12
FIRST_READINGS = {"es": 0.98, "ru": 0.84, "zh": 0.85, "hi": 0.78}

pytestmark = pytest.mark.skipif(not FOLDER, reason="no real model: ISOGLOSS_REAL names no folder")


def questions(lang: str) -> list[str]:
    with (Path(FOLDER) / f"segments/{lang}.jsonl").open(encoding="utf-8") as lines:
        texts = {row["segment"]: row["text"] for row in map(json.loads, lines)}
    return [texts[one] for one in (Path(__file__).parent / "data/xquad_questions.txt").read_text().split()]


def plain_residuals(texts: list[str]) -> list[torch.Tensor]:
    """The stream after the block at each token but BOS, a text at a time."""
    model = AutoModel.from_pretrained(f"{FOLDER}/model", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(f"{FOLDER}/model")
    with torch.no_grad():
        return [
            model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[LAYER + 1][0, 1:]
            for text in texts
        ]


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
    plain = {
        lang: np.stack([one.mean(dim=0).numpy() for one in plain_residuals(several)]).astype(np.float64)
        for lang, several in texts.items()
    }
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


def test_activations_of_a_real_model_against_saelens(tmp_path):
    from sae_lens import SAE

    texts = {lang: questions(lang)[:80] for lang in ("en", "es")}
    documents = {lang: str(tmp_path / f"documents-{lang}.parquet") for lang in texts}
    for lang, several in texts.items():
        write_table(documents[lang], pl.DataFrame({"document": several, "text": several}))
    train_saes(
        lm=f"{FOLDER}/model", documents=documents, sae=str(tmp_path / "sae"), quality=str(tmp_path / "quality.parquet"),
        layers=[LAYER], shares=dict.fromkeys(texts, 0.5), compute=Compute(), seed=0, metadata={},
        recipe=SaeRecipe(features=256, k=16, tokens=4096, batch_tokens=512, buffer_tokens=1024, held_out_tokens=128),
    )  # fmt: skip
    sae = SAE.load_from_disk(tmp_path / "sae" / f"layer_{LAYER}", device="cpu")
    with torch.no_grad():
        codes = [sae.encode(one / one.norm(dim=1, keepdim=True)).amax(dim=0) for one in plain_residuals(texts["es"])]
    rows = [(text, int(feature)) for text, code in enumerate(codes) for feature in code.topk(12).indices]
    rows.sort(key=lambda row: row[1])
    frame = {
        "phrase": range(len(rows)), "layer": [LAYER] * len(rows), "feature": [feature for _, feature in rows],
        "text": [texts["es"][text] for text, _ in rows], "ids": [None] * len(rows), "chrf": [50.0] * len(rows),
    }  # fmt: skip
    types = {"layer": pl.Int32, "feature": pl.Int32, "ids": pl.List(pl.Int32), "chrf": pl.Float32}
    write_table(tmp_path / "texts.parquet", pl.DataFrame(frame, schema_overrides=types))
    encode(
        lm=f"{FOLDER}/model", adapter=None, sae=str(tmp_path / "sae"),
        translations={"es": str(tmp_path / "texts.parquet")}, outputs={"es": str(tmp_path / "es.parquet")},
        layers=[LAYER], compute=Compute(), seed=0, metadata={},
    )  # fmt: skip
    expected = [float(codes[text][feature]) for text, feature in rows]
    assert min(expected) >= 0 < max(expected)
    np.testing.assert_allclose(read_table(tmp_path / "es.parquet")["activation"], expected, rtol=1e-3, atol=1e-4)
