"""A study of the stand-in model to plan."""

from isogloss.config import load_study
from isogloss.plan.assumptions import Settings
from isogloss.plan.flops import Decoder
from isogloss.plan.planned_model import planned_model

TINY = Decoder(layers=3, d_model=32, d_mlp=64, heads=2, key_value_heads=1, d_head=16, vocabulary=320)


def opus(pair):
    return {"source": {"id": f"Helsinki-NLP/opus-mt-{pair}"}}


def pretrained(**changes):
    """A study of the stand-in model, as a study of a fetched one is written."""
    shape = {key: getattr(TINY, key) for key in Decoder._fields[:7]}
    return {
        "study": "stand-in",
        "languages": {"reference": "en", "high_resource": ["en", "es"], "medium_low_resource": ["ml"]},
        "models": {
            "tiny": {
                "kind": "pretrained",
                "title": "Tiny",
                "source": {"folder": "nowhere/lm"},
                "architecture": shape,
                "saes": {
                    "source": {"folder": "nowhere/sae"},
                    "ids": {str(layer): f"layer_{layer}" for layer in range(3)},
                    "features": 64,
                },
                "neuronpedia": {"model": "tiny", "folder": "nowhere/v1"},
            }
        },
        "phrases": {"feature_stride": 1, "per_feature": 2},
        "similarity": {"feature_stride": 1},
        "translation": {"backend": "opus-mt", "models": {lang: opus(f"en-{lang}") for lang in ("es", "ml")}},
        "alignment": {
            "iterations": 3,
            "batch_size": 4,
            "runs": {"ml-l1": {"target_layer": 1, "languages": ["ml"], "benchmark": ["ml"]}},
        },
        **changes,
    }


def planned(study, **settings):
    return planned_model(load_study(study), "tiny", Settings(**settings))
