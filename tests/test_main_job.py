"""The main job on the real embedded engine, as a user runs it: one engine of the shipped suite, few rounds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from perfgate.record import RUN_SCHEMA, Run, Side, read_record

pytest.importorskip("openvino_genai")

ROOT = Path(__file__).parents[1]
REPORTS = {
    "run.json",
    "comparison.json",
    "comparison.csv",
    "quality.csv",
    "summary.txt",
    "summary.md",
    "report.html",
    "benchmark.json",
}


def _suite(folder: Path) -> Path:
    """The shipped suite, but for its limit on other programs: other tests run beside this one."""
    text = (ROOT / "fixtures" / "suites" / "embedded.yaml").read_text()
    text, found = re.subn(r"max_foreign_cpu: \d+%", "max_foreign_cpu: 100%", text)
    assert found == 1
    path = folder / "embedded.yaml"
    path.write_text(text.replace("../", f"{ROOT / 'fixtures'}/"))
    return path


def _gate(folder: Path, *args: str, which: str = "int8") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    where = ["--perfgate-suite", str(_suite(folder))]
    where += ["--perfgate-state", str(folder / "state"), "--perfgate-out", str(folder / "out")]
    only = ["-k", f"{which} and not claim"]  # a claim of int8 would measure its reference too
    command = [sys.executable, "-m", "pytest", "perf_tests", "-p", "no:cacheprovider", *only, *where, *args]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_shipped_suite_records_then_judges_and_finds_a_planted_loss(tmp_path: Path) -> None:
    first = _gate(tmp_path, "--perfgate-rounds", "1")
    again = _gate(tmp_path, "--perfgate-rounds", "1")
    files = {path.name for path in (tmp_path / "out").iterdir()}
    run = read_record(tmp_path / "out" / "run.json", Run, RUN_SCHEMA)
    planted = _gate(tmp_path, "--perfgate-rounds", "1", "--perfgate-inject", "perplexity=1.2", which="int8 and text")

    assert first.returncode == 0, first.stdout
    assert "nothing judged yet: run again" in first.stdout
    assert again.returncode == 0, again.stdout
    assert planted.returncode == 1, planted.stdout
    assert "int8-text: regressed" in planted.stdout
    assert files == REPORTS
    assert run.values("int8-b8", "output_tokens", Side.CANDIDATE) == [64 * 48]
    assert run.prepared[0].from_cache
