"""What is of a whole process compares only under the same loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from perfgate.case import BuildWork, Case, EngineSpec, LatencyWork, PerplexityWork
from perfgate.device import Device
from perfgate.loads import left_out, why_unlike
from perfgate.record import CaseInfo, Environment, Run

ONE = EngineSpec("one", Path("model"), backend="openvino")
WORKS = (
    BuildWork("build"), LatencyWork("c1", Path("p")), LatencyWork("c8", Path("p"), concurrency=8),
    PerplexityWork("text", Path("t")),
)  # fmt: skip
CASES = tuple(Case(ONE, work) for work in WORKS)
OTHERS = tuple(Case(replace(ONE, name="two"), work) for work in WORKS)
DEVICE = Device("cpu/x", "a CPU")


def _run(*cases: Case, skip: str | None = None) -> Run:
    infos = tuple(CaseInfo(case.id, case.engine.name, case.kind, case.hash, skip) for case in cases)
    return Run("s", "2026", Environment("cpu/x", "a CPU", {}, ""), infos, (), ())


def test_a_load_that_is_not_selected_is_named() -> None:
    found = left_out((*CASES, *OTHERS), CASES[:2], DEVICE)

    why = "of a process under all loads of one, and one-c8 is left out: select all of its cases"
    assert found == {"one": why}


def test_texts_and_loads_that_no_engine_here_can_carry_leave_nothing_out() -> None:
    assert left_out(CASES, CASES[:3], DEVICE) == {}
    assert left_out((*CASES, Case(replace(ONE, tp=2), LatencyWork("c64", Path("p")))), CASES, DEVICE) == {}


@pytest.mark.parametrize(
    ("metric", "cases", "why"),
    [
        ("peak_memory_bytes", (*CASES, *OTHERS), ""),
        ("peak_memory_bytes", (*CASES[:3], *OTHERS), ""),  # texts come after the peak was read
        ("peak_memory_bytes", (*CASES[:2], *OTHERS), "of a whole process, and only two's ran c8"),
        ("peak_gpu_memory_bytes", (*CASES, *OTHERS[:2]), "of a whole process, and only one's ran c8"),
        ("engine_bytes", (*CASES, *OTHERS[:2]), ""),
    ],
)
def test_processes_compare_under_the_same_loads_only(metric: str, cases: tuple[Case, ...], why: str) -> None:
    run = _run(*cases)

    told = why_unlike(metric, (run, "one"), (run, "two"))

    assert told.removeprefix(f"{metric} is ") == why


def test_a_load_that_was_skipped_was_not_carried() -> None:
    run = replace(_run(*CASES), cases=(*_run(*CASES[:2]).cases, *_run(CASES[2], skip="no").cases))

    assert why_unlike("peak_memory_bytes", (run, "one"), (_run(*OTHERS[:2]), "two")) == ""
