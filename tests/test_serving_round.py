"""Rounds with a server: real processes on loopback, by the worker as a gate starts it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from perfgate.case import BuildWork, Case, EngineSpec, LatencyWork, ServingWork, Slo, Workload
from perfgate.engines.cache import Entry, Found
from perfgate.load.job import Job as LoadJob
from perfgate.measure import Ask, Bench
from perfgate.metrics import CATALOGUE
from perfgate.pinning import allowed_cpus
from perfgate.plant import Plant
from perfgate.record import CaseRound, Round, Side, decode, encode
from perfgate.terms import Gate
from serving_engine import SERVER, write_checkpoint

LOAD = ServingWork("c4", "8", "16", concurrency=4, requests=24, warmup_requests=4, slo=Slo(ttft_s=5.0))
Scalar = str | int | float | bool
GATE = Gate((CATALOGUE["ttft_p50"],), round_timeout_s=60.0, server_start_s=30.0, max_foreign_cpu=1000.0)
HERE = str(Path(__file__).parent)

Measured = Callable[..., list[Round]]


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measured:
    """Rounds of one engine under some workloads, each side with the same arguments."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([HERE, *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.syspath_prepend(HERE)

    def run(
        works: tuple[Workload, ...],
        backend: str = "serving_engine:ServingBackend",
        sides: tuple[Side, ...] = (Side.CANDIDATE,),
        gate: Gate = GATE,
        **args: Scalar,
    ) -> list[Round]:
        if backend != "openai":
            args = {"server_step_ms": 10, **args}  # slow enough for a busy machine
        spec = EngineSpec("one", write_checkpoint(tmp_path / "model"), backend, engine_args=tuple(sorted(args.items())))
        prepared = tmp_path / "prepared"
        prepared.mkdir(exist_ok=True)
        (prepared / "weights.bin").write_text("weights")
        found = Found(prepared, Entry("key", {}, {}, {}, 7, {}, ""), from_cache=True)
        cases = tuple(Case(spec, work) for work in works)
        bench = Bench(tmp_path / "work", gate, cases, {("one", side): found for side in Side}, Plant())
        return bench.measure(tuple(Ask("one", side) for side in sides), [])

    return run


def _case(one: Round, name: str) -> CaseRound:
    (found,) = (case for case in one.cases if case.case == f"one-{name}")
    return found


def test_a_round_measures_a_load_on_a_server_that_it_starts(measured: Measured, tmp_path: Path) -> None:
    (one,) = measured((LOAD,), server_step_ms=10)

    assert one.fault is None
    found = _case(one, "c4")
    assert found.faults == ()
    assert found.values["output_tokens"] == 24 * 16
    assert 0.009 < found.values["tpot_p50"] < 0.03
    assert found.values["goodput_per_s"] == found.values["requests_per_s"]
    assert found.values["total_tokens_per_s"] == pytest.approx(found.values["output_tokens_per_s"] * 24 / 16)
    files = {path.name for path in (tmp_path / "work" / "000-one-candidate").iterdir()}
    assert {"server.log", "c4.requests.jsonl", "c4.raw"} <= files
    lines = (tmp_path / "work" / "000-one-candidate" / "c4.requests.jsonl").read_text().splitlines()
    assert len(lines) == 24 + 4


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("server_repeat", "24 of 24 outputs are one token over and over: request 0 gave '!' 16 times in 16"),
        ("server_empty", "empty output: none of 24 requests gave a token"),
    ],
)
def test_answers_that_are_none_are_broken_and_have_no_figures(measured: Measured, fault: str, words: str) -> None:
    (one,) = measured((LOAD,), server_step_ms=2, **{fault: 1})

    found = _case(one, "c4")
    assert (found.broken, found.values, found.faults) == ((words,), {}, ())


def test_an_engine_is_closed_before_its_server_starts(measured: Measured, tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(f'{{"id": "d{i}", "text": "{"abc " * 20}"}}\n' for i in range(4)))
    works = (BuildWork("build"), LatencyWork("b1", texts, 8, 4, 1, 8, 0), LOAD)

    (one,) = measured(works)

    assert one.fault is None
    assert {case.case for case in one.cases} == {"one-build", "one-b1", "one-c4"}
    assert all(not case.faults for case in one.cases)


def test_sides_take_turns_by_whole_load_runs(measured: Measured, tmp_path: Path) -> None:
    load = ServingWork("c1", "8", "4", concurrency=1, requests=16, warmup_requests=1)

    last = allowed_cpus()[-1:]
    gate = replace(GATE, client_cpus=last)

    both = measured((load,), sides=(Side.CANDIDATE, Side.BASELINE), gate=gate, server_step_ms=12)

    assert [(one.fault, _case(one, "c1").faults) for one in both] == [(None, ()), (None, ())]
    assert [_case(one, "c1").values["output_tokens"] for one in both] == [64, 64]
    assert (tmp_path / "work" / "000-one-candidate" / "c1-2.requests.jsonl").is_file()
    assert [one.host.client_cpus for one in both] == [last, last]
    assert all(len(_case(one, "c1").regions) == 2 for one in both)
    job = decode((tmp_path / "work" / "000-one-candidate" / "c1-1.job.json").read_bytes(), LoadJob, "job")
    assert job.cpus == last


def test_a_failing_server_makes_the_case_invalid_and_says_why(measured: Measured) -> None:
    (one,) = measured((LOAD,), server_fail_every=3)

    found = _case(one, "c4")
    assert found.values == {}
    assert "requests failed" in found.faults[0]
    assert "http status" in found.faults[0]


def test_a_server_that_dies_under_load_is_a_fault_of_the_case_with_its_last_words(measured: Measured) -> None:
    (one,) = measured((LOAD,), server_die_after=10)

    assert any("the server says hello" in fault for fault in _case(one, "c4").faults)


def test_a_server_that_does_not_start_makes_the_round_count_for_nothing(measured: Measured) -> None:
    (one,) = measured((LOAD,), server_no_such_option=1)

    assert "before it was ready" in (one.fault or "")


def test_what_was_measured_before_a_server_failed_stays(measured: Measured) -> None:
    (one,) = measured((BuildWork("build"), LOAD), server_no_such_option=1)

    assert one.fault is None
    assert _case(one, "build").values["load_s"] > 0
    assert "before it was ready" in _case(one, "c4").faults[0]


def test_a_round_that_is_out_of_time_leaves_no_server_behind(measured: Measured, tmp_path: Path) -> None:
    gate = Gate(
        (CATALOGUE["ttft_p50"],), round_timeout_s=2.0, server_start_s=4.0
    )  # enough for a busy machine to start it
    pid = tmp_path / "pid"

    (one,) = measured((LOAD,), gate=gate, server_pid=str(pid), server_step_ms=2000)

    assert "no end within" in (one.fault or "")
    assert not Path(f"/proc/{pid.read_text()}").exists()


def test_a_command_is_an_engine_with_a_build(measured: Measured) -> None:
    command = f"{sys.executable} {SERVER} {{port}} --step-ms 10"

    (one,) = measured((BuildWork("build"), LOAD), backend="openai", command=command)

    assert one.fault is None
    assert _case(one, "c4").faults == ()
    assert 0.01 < _case(one, "build").values["load_s"] < 20
    assert _case(one, "build").values["peak_memory_bytes"] > 5e6


def test_a_round_survives_as_json(measured: Measured) -> None:
    (one,) = measured((LOAD,))
    assert decode(encode(one), Round, "here") == one
