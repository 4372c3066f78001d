"""A gate of many rounds: its memory and files grow by the rounds, and by little (benchmarks/flat_memory.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from conftest import HERE

MOST_MB = 0.05  # of memory a round whose samples take 0.13 MB; 0.016 were measured, 0.13 with samples in memory
MOST_REPORTED_MB = 0.6  # the same when the reports are written, which read all samples; 0.36 were measured, else 0.92


def test_a_long_gate_grows_by_its_rounds_alone() -> None:
    script = HERE.parent / "benchmarks" / "flat_memory.py"

    ended = subprocess.run(
        [sys.executable, str(script), "--rounds", "30"], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    first, *_, measured, reported = json.loads(ended.stdout)["over the rounds"]
    rounds = reported["rounds"]
    assert measured["rounds"] == rounds == 60  # with the baseline's engine beside
    assert measured["resident MB"] - first["resident MB"] < MOST_MB * rounds
    assert reported["resident MB"] - first["resident MB"] < MOST_REPORTED_MB * rounds
    assert reported["logs MB"] / rounds < 0.015  # as much as is written once
    assert reported["journal MB"] == 0
