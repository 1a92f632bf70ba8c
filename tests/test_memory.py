"""Nothing grows with the corpus in memory: each stage's peak at 10,000 and at 100,000 phrases (tests/memory.py)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.mark.workflow
def test_peak_memory_does_not_grow_with_the_corpus():
    """In a process of its own, for this one's memory would count as its children's."""
    path = os.pathsep.join([str(TESTS.parent / "workflow" / "scripts"), str(TESTS)])
    command = [sys.executable, str(TESTS / "memory.py"), "--json"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True)
    few, many = json.loads(done.stdout).values()
    for stage, peak in few.items():
        assert many[stage] <= 1.15 * peak, f"{stage}: {peak:.0f} MiB, then {many[stage]:.0f}"
