"""The suite that TensorRT-LLM users start from: what it plans, and a small part of it against the doubles."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.version import Version

from doubles.tensorrt_llm_double import install
from engines.tensorrt_llm_helpers import CPU, H200, Bench, hf_model
from perfgate.case import Flow, ServingWork, WorkKind
from perfgate.device import Device
from perfgate.engines.carrying import why_skipped
from perfgate.suite import Suite, load_suite

FILE = Path(__file__).resolve().parents[2] / "fixtures" / "suites" / "tensorrt_llm.yaml"
BUSY = "the client was the limit"  # a busy machine: rightly a fault where a request takes 8 ms


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite(FILE)


def skips(suite: Suite, device: Device) -> dict[str, str]:
    found = {case.id: why_skipped(case, device) for case in suite.cases}
    return {name: reason for name, reason in found.items() if reason}


def pretend(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    told = Version(version) if version else None
    monkeypatch.setattr("perfgate.engines.tensorrt_llm.version_told", lambda: told)


def test_every_case_is_a_listed_skip_where_nothing_is_installed(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, None)

    assert set(skips(suite, CPU)) == set(skips(suite, H200)) == {case.id for case in suite.cases}
    assert set(skips(suite, CPU).values()) == {f"TensorRT-LLM needs an NVIDIA GPU; this is {CPU.key}"}
    assert all("tensorrt_llm is not installed: see https://" in reason for reason in skips(suite, H200).values())


def test_version_with_both_flows_runs_every_case(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "1.2.1")

    assert skips(suite, H200) == {}
    assert set(Counter(case.kind for case in suite.cases)) == set(WorkKind) - {WorkKind.TASKS}


@pytest.mark.parametrize(("version", "lost"), [("1.3.0rc21", Flow.ENGINE), ("0.20.0", Flow.PYTORCH)])
def test_version_with_one_flow_skips_the_other_alone(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, version: str, lost: Flow
) -> None:
    pretend(monkeypatch, version)

    found = skips(suite, H200)

    assert set(found) == {case.id for case in suite.cases if case.engine.flow is lost}
    assert all(f"has no flow {lost}: it is in" in reason for reason in found.values())


@pytest.mark.parametrize("name", ["ngram-forced", "trt-scored"])
def test_engine_of_the_suite_runs_against_the_double(
    suite: Suite, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    double = install(tmp_path / "double", "1.2.1")
    monkeypatch.setenv("PATH", os.pathsep.join([str(double.programs), os.environ["PATH"]]))
    one = Bench(double, tmp_path, tmp_path / "shared", {})
    spec = next(engine for engine in suite.engines if engine.name == name)
    spec = replace(spec, model=hf_model(tmp_path / "model"), max_batch_size=4, max_num_tokens=256, max_seq_len=128)
    serving = ServingWork("c2", "8", "6", concurrency=2, requests=6, warmup_requests=2)

    found = one.prepared(spec)
    measured = one.measured(
        spec, found, latency=(one.latency(),), perplexity=(one.perplexity(),), serving=(serving,), folder=tmp_path / "s"
    )

    assert measured.fault is None
    faults = {case.case: [fault for fault in case.faults if BUSY not in fault] for case in measured.cases}
    assert faults == {f"{name}-{work}": [] for work in ("b", "text", "c2")}
    assert all("double" in version for version in found.entry.versions.values() if "+" in version)
