"""Make tests/samples/<commit>/: the files that a gate of that commit writes, with the fake engine.

    python scripts/sample.py b305a81 485cca3

b305a81 is the first commit that can run a backend of tests. Make one before a change of what a file holds;
tests/test_samples.py reads them all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUITE = """
schema: 1
suite: sample
defaults:
  engine: {backend: "fake_engine:FakeBackend", model: model, engine_args: {step_us: 400}}
engines:
  one: {max_batch_size: 4}
workloads:
  build: {kind: build}
  b1: {kind: latency, prompts: texts.jsonl, input_len: 8, output_len: 8, concurrency: 1, requests: 4}
  text: {kind: perplexity, text: texts.jsonl, window: 64, stride: 32}
gate:
  metrics:
    tpot_p50: {margin: 5%, detect: 20%}
    engine_bytes: {}
    perplexity: {}
  first_rounds: 2
  most_rounds: 4
  max_foreign_cpu: 100%
policy:
  local: {no_baseline: record}
"""
TESTS = """
import pytest

@pytest.mark.perfgate
def test_case(perfgate_verdict):
    perfgate_verdict.assert_ok()
"""
KEPT = {"run.json": "perfgate-out/run.json", "comparison.json": "perfgate-out/comparison.json"}


def main(commits: list[str]) -> None:
    for commit in commits:
        with tempfile.TemporaryDirectory() as folder:
            sample(commit, Path(folder))


def sample(commit: str, folder: Path) -> None:
    """Check the commit out, run two gates of it, and keep what they wrote."""
    tree, project, out = folder / "tree", folder / "project", ROOT / "tests" / "samples" / commit
    git("worktree", "add", "--detach", str(tree), commit)
    try:
        make_project(project)
        gate(tree, project, "--perfgate-update", "--perfgate-reason=a sample")
        journal = gate(tree, project)
    finally:
        git("worktree", "remove", "--force", str(tree))
    out.mkdir(parents=True, exist_ok=True)
    (out / "suite.yaml").write_text(SUITE)
    (out / "journal.jsonl").write_bytes(journal)
    for name, source in KEPT.items():
        (out / name).write_bytes((project / source).read_bytes().replace(str(project).encode(), b"/project"))
    (baseline,) = (project / "baselines").rglob("sample.json")
    shutil.copy(baseline, out / "baseline.json")


def make_project(root: Path) -> None:
    (root / "model").mkdir(parents=True)
    (root / "model" / "weights").write_bytes(b"weights")
    lines = [f'{{"id": "d{i}", "text": "{"def f(x): return x " * 4}{i}"}}' for i in range(4)]
    (root / "texts.jsonl").write_text("\n".join(lines) + "\n")
    (root / "suite.yaml").write_text(SUITE)
    (root / "test_gate.py").write_text(TESTS)
    (root / "pytest.ini").write_text("[pytest]\nperfgate_suite = suite.yaml\n")


def gate(tree: Path, project: Path, *options: str) -> bytes:
    """One gate; returns the journal as it stood before the gate removed it."""
    path = os.pathsep.join([str(tree / "src"), str(tree / "tests")])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "perfgate.plugin", "-p", "no:cacheprovider", *options]
    gate = subprocess.Popen(command, cwd=project, env={**os.environ, "PYTHONPATH": path, "CI": ""})
    journal, kept = project / ".perfgate" / "journal" / "sample.jsonl", b""
    while gate.poll() is None:
        kept = journal.read_bytes() if journal.exists() else kept
        time.sleep(0.005)
    return kept


def git(*args: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *args], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main(sys.argv[1:])
