"""Gates on machines without GPU libraries, and with a driver that has no GPU: the CPU is measured."""

from __future__ import annotations

import json
import os

import pytest

from conftest import Project
from perfgate.device import find_device
from perfgate.record import RUN_SCHEMA, Run, read_record

BLOCKED = "raise ImportError('no GPU libraries here')\n"
NO_GPU = """
import sys
from doubles import pynvml_double
pynvml_double.use(pynvml_double.Machine([]))
sys.modules[__name__] = pynvml_double.as_module()
"""


@pytest.mark.parametrize("library", [BLOCKED, NO_GPU], ids=["without nvidia-ml-py", "a driver without a GPU"])
def test_a_gate_measures_the_cpu(
    library: str, pytester: pytest.Pytester, small_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_project(edit=lambda suite: suite.replace("requests: 16", "requests: 8"))
    (pytester.path / "libraries").mkdir()
    (pytester.path / "libraries" / "pynvml.py").write_text(library)
    (pytester.path / "libraries" / "torch.py").write_text(BLOCKED)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(pytester.path / "libraries"), os.environ["PYTHONPATH"]]))

    done = pytester.runpytest_subprocess("-k", "latency", "--perfgate-rounds=1")

    done.assert_outcomes(skipped=1)
    run = read_record(pytester.path / "perfgate-out" / "run.json", Run, RUN_SCHEMA)
    assert run.environment.device == find_device().key
    assert run.environment.device.startswith("cpu/")
    assert run.environment.gpus == ()
    assert (
        json.loads((pytester.path / "perfgate-out" / "comparison.json").read_text())["cases"][0]["outcome"]
        == "recorded"
    )
