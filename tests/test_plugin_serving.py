"""A whole gate over servers, as users run it: measured, recorded, judged, and a planted slowdown found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from perfgate.engines.kept import Patience, free_port
from perfgate.engines.openai import attach
from perfgate.record import RUN_SCHEMA, Run, Side, read_record
from serving_engine import SERVER, SHORT

WORKLOADS = """
  c2:
    kind: serving
    isl: 8
    osl: 6
    concurrency: 2
    requests: 8x
    slo: {ttft: 2s}
gate:
  metrics:
    tpot_p50: {margin: 10%, detect: 60%}
    output_tokens: {}
  noise: {round_sd: 5%, session_sd: 20%, pair_sd: 5%}
  max_foreign_cpu: 100%
policy:
  local: {no_baseline: record}
"""

TEST = """
import pytest

@pytest.mark.perfgate("serving")
def test_serving(perfgate_verdict):
    perfgate_verdict.assert_ok()

@pytest.mark.perfgate("latency")
def test_latency(perfgate_verdict):
    perfgate_verdict.assert_ok()
"""


def _of_serving(text: str) -> str:
    head = text.partition("workloads:")[0].replace("step_us: 400", "server_step_ms: 10")
    return f"{head.replace('fake_engine:FakeBackend', 'serving_engine:ServingBackend')}workloads:{WORKLOADS}"


@pytest.fixture
def project(small_project: Callable[..., Path], pytester: pytest.Pytester) -> Callable[[Callable[[str], str]], None]:
    """Write a project of a suite with one serving workload."""

    def write(edit: Callable[[str], str]) -> None:
        small_project(edit=lambda text: edit(_of_serving(text)))
        for name, text in SHORT.items():
            (pytester.path / "model" / name).write_text(text)
        pytester.makepyfile(test_gate=TEST)

    return write


def test_a_gate_over_servers(project: Callable[[Callable[[str], str]], None], pytester: pytest.Pytester) -> None:
    project(str)

    first = pytester.runpytest_subprocess("-rs", "--perfgate-rounds", "1")
    planted = pytester.runpytest_subprocess("--perfgate-rounds", "2", "--perfgate-inject", "decode=2")

    first.assert_outcomes(skipped=2)
    first.stdout.fnmatch_lines(["*the suite has no latency cases*"])
    planted.assert_outcomes(failed=1, skipped=1)
    planted.stdout.fnmatch_lines(["*tpot_p50*regressed*"])
    run = read_record(pytester.path / "perfgate-out" / "run.json", Run, RUN_SCHEMA)
    assert set(run.values("one-c2", "output_tokens", Side.CANDIDATE)) == {16 * 6}


def test_a_running_server_is_judged_by_stored_rounds_alone(
    project: Callable[[Callable[[str], str]], None], pytester: pytest.Pytester
) -> None:
    """Beside itself it would never look slower than it was."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    engine = f'backend: openai, model: model, engine_args: {{url: "{url}"}}'
    project(lambda text: text.replace(text.partition("engine: {")[2].partition("}}")[0] + "}", engine))
    with subprocess.Popen([sys.executable, str(SERVER), str(port), "--step-ms", "10"]) as child:
        try:
            attach(url, patience=Patience(ready_s=20))
            runs = [pytester.runpytest_subprocess("--perfgate-rounds", "1") for _ in range(2)]
        finally:
            child.kill()

    assert [run.ret for run in runs] == [0, 0]
    run = read_record(pytester.path / "perfgate-out" / "run.json", Run, RUN_SCHEMA)
    assert run.rerunnable == ()
    assert [one.side for one in run.rounds] == [Side.CANDIDATE]
    assert run.environment.versions["server"] == "1.2.3"
