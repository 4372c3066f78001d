"""A suite that compares backends, in real pytest runs: real servers on loopback, results, picture, text, outcomes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from perfgate.pytest_verdicts import Beside
from perfgate.suite import load_suite
from perfgate.versus import compare_sides
from perfgate.versus_files import read_sides
from serving_engine import write_checkpoint
from versus_examples import bench, write_side

HERE = Path(__file__).parent
PERF_TEST = HERE.parent / "perf_tests" / "test_backends.py"

SUITE = """
schema: 1
suite: backends
defaults:
  engine: {backend: "serving_engine:ServingBackend", model: model}
engines:
  slow: {engine_args: {server_step_ms: 8}}
  fast: {engine_args: {server_step_ms: 2}}
workloads:
  c2: {kind: serving, isl: 8, osl: 8, concurrency: 2, requests: 16, warmup_requests: 2}
versus: {reference: slow}
gate:
  metrics: {tpot_mean: {margin: 5%, detect: 20%}}
  first_rounds: 1
  most_rounds: 2
  max_foreign_cpu: 100%
"""

Backends = Callable[..., pytest.RunResult]


@pytest.fixture
def backends(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Backends:
    """Run the shipped test_backends.py on a suite of two fake engines with servers."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.delenv("CI", raising=False)

    def run(*args: str) -> pytest.RunResult:
        write_checkpoint(pytester.path / "model")
        (pytester.path / "suite.yaml").write_text(SUITE)
        (pytester.path / "test_backends.py").write_text(PERF_TEST.read_text())
        pytester.makeini("[pytest]\nperfgate_suite = suite.yaml\n")
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", "--perfgate-rounds=1", *args)

    return run


def test_a_run_leaves_results_and_their_comparison(pytester: pytest.Pytester, backends: Backends) -> None:
    out = pytester.path / "perfgate-out"
    of_an_earlier_run = out / "results" / "fast" / "round_9" / "concurrency_2.json"
    of_an_earlier_run.parent.mkdir(parents=True)
    of_an_earlier_run.write_text("{}")

    done = backends("--junitxml=junit.xml")

    done.assert_outcomes(passed=2)
    assert not of_an_earlier_run.exists()
    fast = json.loads((out / "results" / "fast" / "round_1" / "concurrency_2.json").read_text())
    assert (fast["completed"], fast["failed"], fast["total_output_tokens"]) == (16, 0, 128)
    assert fast["total_input_tokens"] == 128
    assert fast["perfgate"]["about"]["engine"] == "fast"
    text = (out / "benchmark_summary.txt").read_text()
    assert "fast against slow (the reference)" in text
    assert "TPOT mean: fast" in text
    done.stdout.fnmatch_lines(["*benchmark_summary.txt*"])
    assert 'name="perfgate_versus_tpot_mean"' in (pytester.path / "junit.xml").read_text()
    assert text == _made_again(pytester.path)


def _made_again(folder: Path) -> str:
    """The summary as the command line makes it of the saved run."""
    again = ["report", "perfgate-out/run.json", "--suite", "suite.yaml", "--out", "again"]
    subprocess.run([sys.executable, "-m", "perfgate.cli", *again], cwd=folder, check=False, timeout=60)
    return (folder / "again" / "benchmark_summary.txt").read_text()


def test_a_case_without_a_valid_round_fails_with_the_reasons(tmp_path: Path) -> None:
    sides = {"slow": [{2: bench(2)}], "fast": [{2: bench(2, failed=4)}]}
    versus = compare_sides(read_sides({name: write_side(tmp_path / name, rounds) for name, rounds in sides.items()}))

    with pytest.raises(pytest.fail.Exception) as caught:
        Beside(versus, "fast", 2).assert_comparable()

    assert str(caught.value).splitlines() == [
        "fast cannot be compared with slow at 2",
        "  fast: round 1, concurrency 2: 4 requests failed, 20 completed",
    ]
    Beside(versus, "slow", 2).assert_comparable()


def test_ratios_are_told_to_junit_in_words(tmp_path: Path) -> None:
    sides = {"slow": [{2: bench(2)}], "fast": [{2: bench(2, 0.5)}]}
    versus = compare_sides(read_sides({name: write_side(tmp_path / name, rounds) for name, rounds in sides.items()}))

    assert ("perfgate_versus_ttft_mean", "2.00x faster at 2 (no interval)") in Beside(versus, "fast", 2).properties
    assert Beside(versus, "slow", 2).properties == []


@pytest.mark.parametrize("name", ["engine_vs_pytorch", "engine_vs_pytorch_cpu"])
def test_the_shipped_suites_compare_every_engine_with_pytorch(name: str) -> None:
    suite = load_suite(HERE.parent / "fixtures" / "suites" / f"{name}.yaml")

    assert suite.reference == "pytorch"
    assert len(suite.compared) == len(suite.cases) == 3 * len(suite.engines)


def test_a_suite_is_written_for_a_model_and_a_size(tmp_path: Path) -> None:
    script, out = HERE.parent / "scripts" / "engine_vs_pytorch.py", tmp_path / "mine.yaml"
    asked = ["--model", str(tmp_path), "--tp", "2", "--engines", "vllm", "--precision", "fp16", "--out", str(out)]

    subprocess.run([sys.executable, str(script), *asked], check=True, timeout=60)

    suite = load_suite(out)
    assert suite.name == "engine_vs_pytorch-tp2"
    found = [(spec.name, spec.model, spec.tp, spec.precision) for spec in suite.engines]
    assert found == [("pytorch", tmp_path, 2, "fp16"), ("vllm", tmp_path, 2, "fp16")]


def test_a_suite_of_several_sizes_has_pytorch_at_each_and_the_first_as_reference(tmp_path: Path) -> None:
    script, out = HERE.parent / "scripts" / "engine_vs_pytorch.py", tmp_path / "mine.yaml"
    asked = ["--model", str(tmp_path), "--tp", "1", "2", "--engines", "vllm", "--random-weights", "--out", str(out)]

    subprocess.run([sys.executable, str(script), *asked], check=True, timeout=60)

    suite = load_suite(out)
    sizes = {"pytorch-tp1": 1, "pytorch-tp2": 2, "vllm-tp1": 1, "vllm-tp2": 2}
    assert {spec.name: spec.tp for spec in suite.engines} == sizes
    assert suite.reference == "pytorch-tp1"
    assert all(("load_format", "dummy") in spec.engine_args for spec in suite.engines)
