"""Every causal language model class of transformers: right numbers or one sentence, as config/model_classes.md says."""

from pathlib import Path

import pytest
from huggingface_hub.errors import StrictDataclassError

import model_classes
from model_classes import CLASSES, NOT_MADE, make, row_of, rows_of_table

ADVICE = "run `PYTHONPATH=workflow/scripts python tests/model_classes.py`"


def test_the_table_has_every_class_once_and_says_why_one_does_not_work():
    rows = rows_of_table()
    assert rows.keys() == CLASSES.keys(), ADVICE
    assert model_classes.TABLE.read_text(encoding="utf-8") == model_classes.table(rows), ADVICE
    for name, row in rows.items():
        assert (row.lens == "yes") == (not row.because), name
    measured = [row for row in rows.values() if row.residuals == "yes"]
    assert len(measured) >= 98  # what worked before there was this table
    assert sum(row.lens == "yes" for row in measured) >= 97
    assert sum(row.packed == "yes" for row in measured) >= 80
    assert sum(row.steering == "yes" for row in measured) >= 80


# Those that a cut changes: layers scaled by the depth, a last one of its own, weights, keys or values shared by layers.
CUT = ("minicpm3", "gpt_neox_japanese", "zamba", "gemma4_text", "gemma3n_text")
OTHERS = [pytest.param(name, marks=pytest.mark.workflow) for name in CLASSES if name not in CUT]


@pytest.mark.parametrize("model_type", [*CUT, *OTHERS])
def test_a_class_gives_the_states_of_transformers_or_one_sentence(model_type: str, tmp_path: Path):
    if model_type in NOT_MADE:
        with pytest.raises((ValueError, AttributeError, ImportError, StrictDataclassError)):
            make(model_type, tmp_path)
    assert row_of(model_type, tmp_path / "lm") == rows_of_table()[model_type], ADVICE
