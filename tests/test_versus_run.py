from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfgate.case import Case, EngineSpec, LatencyWork, ServingWork
from perfgate.errors import SuiteError
from perfgate.floats import Floats
from perfgate.metrics import CATALOGUE
from perfgate.record import CaseInfo, CaseRound, Environment, PreparedInfo, Round, Run, Side
from perfgate.report.versus import write_backends
from perfgate.suite import Suite, load_suite
from perfgate.terms import Gate
from perfgate.versus_run import result_files

WORK = ServingWork("c2", "8", "4", concurrency=2, requests=5, warmup_requests=1)
TTFT = (0.01, 0.02, 0.03, 0.04, 0.05)
VALUES = {
    "ttft_mean": 0.03, "ttft_p50": 0.03, "tpot_mean": 0.004, "itl_mean": 0.004, "itl_p99": 0.009, "e2el_mean": 0.04,
    "output_tokens": 20.0, "output_tokens_per_s": 10.0, "total_tokens_per_s": 30.0, "requests_per_s": 2.5,
}  # fmt: skip


def spec(name: str) -> EngineSpec:
    return EngineSpec(name, Path("/models/tiny"), "transformers", tp=2)


def suite_of(*engines: str, reference: str | None = "a") -> Suite:
    works = (WORK, LatencyWork("b1", Path("texts")), replace(WORK, name="r5", concurrency=None, request_rate=5.0))
    cases = tuple(Case(spec(name), work) for name in engines for work in works)
    return Suite("s", Path("s.yaml"), cases, Gate((CATALOGUE["ttft_mean"],)), (), reference)


def round_of(engine: str, index: int = 0, side: Side = Side.CANDIDATE, **changes: Any) -> Round:
    case = CaseRound(
        f"{engine}-c2", VALUES, {"ttft": Floats(TTFT), "tpot": Floats((0.004,) * 5), "e2el": Floats((0.04,) * 5)}
    )
    return Round(engine, side, index, "2026-11-21", 1.0, (replace(case, **changes),))


def run_of(suite: Suite, *rounds: Round, skip: str | None = None) -> Run:
    cases = tuple(CaseInfo(case.id, case.engine.name, case.kind, case.hash, skip) for case in suite.cases)
    prepared = tuple(PreparedInfo(name, "k", True, {}, 1, {"torch": "2.11"}) for name in ("a", "b"))
    return Run("s", "2026-11-21", Environment("cpu/x", "CPU", {}, "c"), cases, prepared, rounds)


def one_result(*rounds: Round) -> dict[str, Any]:
    suite = suite_of("a")
    (data,) = result_files(run_of(suite, *rounds), suite).values()
    plain: dict[str, Any] = json.loads(data)
    return plain


def test_a_round_is_a_result_in_the_fields_key_names() -> None:
    plain = one_result(round_of("a"))

    assert plain["mean_ttft_ms"] == pytest.approx(30.0)
    assert plain["p99_itl_ms"] == pytest.approx(9.0)
    assert (plain["num_prompts"], plain["completed"], plain["failed"], plain["max_concurrency"]) == (5, 5, 0, 2)
    assert (plain["duration"], plain["total_output_tokens"], plain["total_input_tokens"]) == (2.0, 20, 40)
    assert (plain["output_throughput"], plain["request_throughput"]) == (10.0, 2.5)
    assert plain["perfgate"]["invalid"] == []
    about = plain["perfgate"]["about"]
    assert (about["engine"], about["versions"], about["tp"], about["device"]) == ("a", {"torch": "2.11"}, 2, "cpu/x")


def test_a_percentile_that_is_not_gated_is_of_the_samples() -> None:
    assert one_result(round_of("a"))["p99_ttft_ms"] == pytest.approx(49.6)


def test_a_percentile_without_samples_is_absent() -> None:
    assert "p90_itl_ms" not in one_result(round_of("a"))


def test_requests_without_a_sample_failed() -> None:
    plain = one_result(round_of("a", samples={"ttft": Floats(TTFT[:3])}))

    assert (plain["completed"], plain["failed"]) == (3, 2)


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (replace(round_of("a"), fault="the server ended"), "the server ended"),
        (round_of("a", faults=("the client was the limit",)), "the client was the limit"),
        (replace(round_of("a"), cases=()), "it was not measured"),
    ],
)
def test_a_round_that_does_not_count_has_a_reason_and_no_figures(measured: Round, reason: str) -> None:
    plain = one_result(measured)

    assert plain["perfgate"]["invalid"] == [reason]
    assert "mean_ttft_ms" not in plain
    assert "output_throughput" not in plain


def test_rounds_are_numbered_by_engine_and_the_baselines_side_is_left_out() -> None:
    suite = suite_of("a", "b")
    rounds = [round_of("a", 0), round_of("b", 1), round_of("a", 2, Side.BASELINE), round_of("a", 3)]

    found = sorted(map(str, result_files(run_of(suite, *rounds), suite)))

    assert found == [f"{where}/concurrency_2.json" for where in ("a/round_1", "a/round_2", "b/round_1")]


def test_a_suite_without_a_reference_leaves_no_results() -> None:
    suite = suite_of("a", "b", reference=None)

    assert result_files(run_of(suite, round_of("a")), suite) == {}


@pytest.mark.parametrize("rounds", [(round_of("b"),), (round_of("a"),), ()])
def test_without_the_reference_or_another_there_is_no_comparison(rounds: tuple[Round, ...], tmp_path: Path) -> None:
    suite, told = suite_of("a", "b"), list[str]()

    found = write_backends(run_of(suite, *rounds), suite, tmp_path, told.append)

    assert found == (None, [])
    assert told == ["no comparison of backends: it needs results of 'a' and of another engine"]


def test_skipped_cases_leave_no_results() -> None:
    suite = suite_of("a", "b")

    assert result_files(run_of(suite, round_of("a"), skip="no such GPU"), suite) == {}


def test_the_reference_comes_first_whatever_the_order(tmp_path: Path) -> None:
    suite = suite_of("b", "a")

    versus, _ = write_backends(run_of(suite, round_of("b"), round_of("a")), suite, tmp_path, lambda _: None)

    assert versus is not None
    assert [side.name for side in versus.sides] == ["a", "b"]


SUITE = """
schema: 1
suite: s
defaults: {{engine: {{model: m}}}}
engines: {{a: {{}}, b: {{}}}}
workloads:
  build: {{kind: build}}
  c2: {{kind: serving, concurrency: 2, requests: 4}}
  other: {{kind: serving, {other}}}
cases:
- {{engines: [a, b], workloads: [build]}}
- {{engines: [{engines}], workloads: [c2, other]}}
versus: {{reference: {reference}}}
gate: {{metrics: {{ttft_mean: {{}}}}}}
"""


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"reference": "c"}, "versus.reference: no 'c' under engines; there: a, b"),
        ({"engines": "b"}, "versus.reference: 'a' has no serving workload with a concurrency"),
        ({"other": "concurrency: 2, osl: 9"}, "versus.reference: 'a' has two serving workloads of concurrency 2"),
    ],
)
def test_a_reference_that_cannot_be_is_a_fault_of_the_suite(
    tmp_path: Path, changes: dict[str, str], fault: str
) -> None:
    words = {"reference": "a", "engines": "a, b", "other": "concurrency: 4"} | changes
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE.format(**words))

    with pytest.raises(SuiteError) as caught:
        load_suite(path)

    assert fault in str(caught.value)
