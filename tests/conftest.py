"""A small project around the fake engine, for tests of the plugin and the command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("perfgate", deadline=None)  # shared machines stall: a test's time proves nothing
settings.load_profile("perfgate")

HERE = Path(__file__).parent

SUITE = """
schema: 1
suite: small
defaults:
  engine: {{backend: "fake_engine:FakeBackend", model: model, engine_args: {{step_us: 400}}}}
engines:
  one: {{max_batch_size: 4}}
{engines}
workloads:
  build: {{kind: build}}
  b1: {{kind: latency, prompts: texts.jsonl, input_len: 8, output_len: 16, concurrency: 1, requests: 32}}
  text: {{kind: perplexity, text: texts.jsonl, window: 64, stride: 32}}
gate:
  metrics:
    itl_p10: {{margin: 5%, detect: 20%}}
    engine_bytes: {{}}
    perplexity: {{}}
  noise: {{round_sd: 5%, session_sd: 20%, pair_sd: 3%}}
  pairing: interleaved
  first_rounds: 3
  most_rounds: 9
  max_foreign_cpu: 100%
policy:
  local: {{no_baseline: record}}
"""

TESTS = """
import pytest

@pytest.mark.perfgate("build")
def test_build(perfgate_verdict):
    perfgate_verdict.assert_ok()

@pytest.mark.perfgate("latency")
def test_latency(perfgate_verdict):
    perfgate_verdict.assert_ok()

@pytest.mark.perfgate("perplexity")
def test_perplexity(perfgate_verdict):
    perfgate_verdict.assert_ok()
"""

Project = Callable[..., Path]


@pytest.fixture
def small_project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Write suite, checkpoint, texts and perf tests into pytester's folder; returns the suite's path."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.delenv("CI", raising=False)

    def write(engines: str = "", edit: Callable[[str], str] = str) -> Path:
        root = pytester.path
        (root / "model").mkdir(exist_ok=True)
        (root / "model" / "weights").write_bytes(b"weights")
        lines = [f'{{"id": "d{i}", "text": "{"def f(x): return x " * 8}{i}"}}' for i in range(8)]
        (root / "texts.jsonl").write_text("\n".join(lines) + "\n")
        (root / "suite.yaml").write_text(edit(SUITE.format(engines=engines)))
        pytester.makepyfile(test_gate=TESTS)
        pytester.makeini("[pytest]\nperfgate_suite = suite.yaml\n")
        return root / "suite.yaml"

    return write
