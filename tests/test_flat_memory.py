"""A gate of many rounds: its memory and files grow by the rounds, and by little (benchmarks/flat_memory.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from conftest import HERE

MOST_MB = 0.04  # of memory a round of 256 requests; 0.012 were measured


def test_a_long_gate_grows_by_its_rounds_alone() -> None:
    script = HERE.parent / "benchmarks" / "flat_memory.py"

    ended = subprocess.run(
        [sys.executable, str(script), "--rounds", "60"], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    first, *_, reported = json.loads(ended.stdout)["over the rounds"]
    rounds = reported["rounds"]
    assert rounds == 120  # with the baseline's engine beside
    assert reported["resident MB"] - first["resident MB"] < MOST_MB * rounds
    assert reported["logs MB"] / rounds < 0.015  # as much as is written once
    assert reported["journal MB"] == 0
