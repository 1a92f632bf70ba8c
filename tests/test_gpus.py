import re
from pathlib import Path

import pytest

from isogloss.config.gpus import check_gpus
from isogloss.errors import IsoglossError

RULES = Path(__file__).parents[1] / "workflow" / "rules"


@pytest.mark.parametrize(
    ("gpu", "gres"),
    [
        (1, None),
        (0, "gpu:2"),
        (None, "gpu:2"),
        ("0", "gpu:a100:2"),
        (2, "gpu:2"),
        (1, "gpu:a100"),
        (1, "gpu"),
        (1, "lscratch:10"),
    ],
)
def test_gpus_asked_for_once_or_twice_alike_pass(gpu: object, gres: object):
    check_gpus("encode", gpu, gres)


@pytest.mark.parametrize(("gpu", "gres"), [(1, "gpu:2"), (2, "gpu"), ("2", "gpu:a100:1"), (1, "gpu:h100_80gb.x:4")])
def test_two_numbers_of_gpus_are_refused(gpu: object, gres: str):
    with pytest.raises(
        IsoglossError, match=rf"encode asks for \d GPU\(s\) by gres \({gres}\) and for {gpu} by gpu: give"
    ):
        check_gpus("encode", gpu, gres)


def test_the_gpus_of_a_job_are_on_one_node():
    """Slurm would take them from several: `--gpus` counts over all nodes of a job."""
    rules = "".join(path.read_text(encoding="utf-8") for path in RULES.glob("*.smk"))
    assert len(re.findall(r"gpu=STUDY\.compute\.gpus_per_job", rules)) > 10
    assert not re.findall(r"gpu=STUDY\.compute\.gpus_per_job,\n(?! +nodes=1,)", rules)
