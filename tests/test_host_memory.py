"""A model larger than the job's memory is one line, before a weight is read."""

import math

import pytest
import torch

from isogloss.errors import IsoglossError
from isogloss.models import host_memory
from isogloss.models.host_memory import converted_bytes, memory_limit
from isogloss.models.loading import load_base_model


@pytest.mark.parametrize("last_layer", [None, 0, 1])
def test_weights_that_are_made_in_another_dtype_are_those_of_the_model(lm_folder, last_layer):
    model = load_base_model(lm_folder, last_layer=last_layer)  # stored in float32
    weights = sum(weight.numel() for weight in model.parameters())
    assert converted_bytes(lm_folder, torch.bfloat16, last_layer) == 2 * weights
    assert converted_bytes(lm_folder, torch.float32, last_layer) == 0


def test_a_model_larger_than_the_jobs_memory_is_one_line(lm_folder, monkeypatch):
    monkeypatch.setattr(host_memory, "memory_limit", lambda: 1000.0)
    with pytest.raises(IsoglossError) as caught:
        load_base_model(lm_folder, dtype=torch.bfloat16)
    line = str(caught.value)
    assert "\n" not in line
    assert "GB in bfloat16, but this job has 1e-06 GB of memory" in line
    assert "mem_mb" in line
    assert load_base_model(lm_folder, dtype=torch.float32).training is False  # in the file's own pages


def test_limits_of_machine_and_control_groups(tmp_path):
    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    assert memory_limit(tmp_path) == math.inf
    write("proc/meminfo", "MemTotal:       16000 kB\nMemFree: 1 kB\n")
    assert memory_limit(tmp_path) == 16000 * 1024
    write("proc/self/cgroup", "0::/slurm/job_1/step_0\n")
    write("sys/fs/cgroup/slurm/job_1/step_0/memory.max", "max\n")
    assert memory_limit(tmp_path) == 16000 * 1024
    write("sys/fs/cgroup/slurm/job_1/memory.max", "5000000\n")
    assert memory_limit(tmp_path) == 5_000_000
    write("proc/self/cgroup", "8:pids:/\n7:memory:/slurm\n")
    write("sys/fs/cgroup/memory/slurm/memory.limit_in_bytes", "4000000\n")
    assert memory_limit(tmp_path) == 4_000_000
