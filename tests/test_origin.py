from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from perfgate.accepting import Request, accept
from perfgate.baselines import Baseline, Provenance, baseline_from_run, load_baseline
from perfgate.comparison import compare
from perfgate.errors import BaselineError
from perfgate.judge import judge
from perfgate.metrics import CATALOGUE
from perfgate.origin import joined, told, why_not_comparable
from perfgate.record import CaseInfo, CaseRound, Environment, Origin, PreparedInfo, Round, Run, Side
from perfgate.suite import Suite
from perfgate.terms import DEFAULT_POLICIES, Gate
from perfgate.verdict import Verdict

DEVICE = "sm_90/h200-141gb"
GATE = Gate((CATALOGUE["ttft_p50"],))
SUITE = Suite("small", Path("small.yaml"), (), GATE, tuple(DEFAULT_POLICIES.items()))
THEIRS = Origin("vLLM's benchmark_serving", {"a.json": "aa"}, ("versions",))


def _run(origin: Origin | None, day: int = 14) -> Run:
    rounds = tuple(
        Round("e", Side.CANDIDATE, i, "", 1.0, (CaseRound("e-chat", {"ttft_p50": 0.02 + i * 1e-5}),)) for i in range(5)
    )
    case = CaseInfo("e-chat", "e", "latency", "00ff", origin=origin)
    made = Environment(DEVICE, "a GPU", {}, "0b1c2d3")
    started = f"2026-01-{day}T08:00:00+00:00"
    return Run("small", started, made, (case,), (PreparedInfo("e", "k", False, {}, 0, {}),), rounds)


def _baseline(run: Run) -> Baseline:
    return baseline_from_run(run, Provenance(run.started, "test", "a GPU", {}, ""))


@pytest.mark.parametrize(
    ("stored", "now"),
    [(THEIRS, None), (None, THEIRS), (replace(THEIRS, instrument="trtllm-bench"), THEIRS)],
)
def test_another_instrument_is_no_baseline_even_for_the_same_case(stored: Origin | None, now: Origin | None) -> None:
    (verdict,) = judge(_run(now), _baseline(_run(stored)), GATE)

    assert verdict.verdict is Verdict.NO_BASELINE
    assert "figures of different instruments are not compared" in verdict.reason


@pytest.mark.parametrize("origin", [None, THEIRS])
def test_the_same_instrument_is_compared(origin: Origin | None) -> None:
    (verdict,) = judge(_run(origin), _baseline(_run(origin)), GATE)

    assert verdict.change == pytest.approx(0.0)


def test_a_comparison_says_what_was_imported_on_either_side() -> None:
    mixed = compare(_run(None), SUITE, (Path("b.json"), _baseline(_run(THEIRS))), "ci")
    ours = compare(_run(None), SUITE, (Path("b.json"), _baseline(_run(None))), "ci")

    (note,) = mixed.notes
    assert note == (
        "figures of the baseline were imported, measured by vLLM's benchmark_serving: a.json (sha256 aa); not told: "
        "versions (docs/importing.md)"
    )
    assert ours.notes == ()
    again = compare(_run(THEIRS), SUITE, (Path("b.json"), _baseline(_run(THEIRS))), "ci")
    assert again.notes[-1] == "a.json is in the baseline of e-chat as well: it is compared with itself"
    assert mixed.is_red


def test_the_baseline_file_keeps_the_origin_of_every_session(tmp_path: Path) -> None:
    later = replace(THEIRS, files={"b.json": "bb"}, untold=("versions", "driver"))
    accept([_run(THEIRS)], [], tmp_path, Request("first"), GATE)
    accept([_run(later, 15)], [], tmp_path, Request("second"), GATE)

    stored = load_baseline(tmp_path / DEVICE / "small.json", DEVICE, "small").cases["e-chat"]
    assert len(stored.metrics["ttft_p50"].sessions) == 2
    assert stored.origin == Origin(THEIRS.instrument, {"a.json": "aa", "b.json": "bb"}, ("versions", "driver"))


def test_rounds_of_another_instrument_start_the_baseline_anew(tmp_path: Path) -> None:
    accept([_run(None)], [], tmp_path, Request("ours"), GATE)
    accept([_run(THEIRS, 15)], [], tmp_path, Request("theirs"), GATE)

    stored = load_baseline(tmp_path / DEVICE / "small.json", DEVICE, "small").cases["e-chat"]
    assert len(stored.metrics["ttft_p50"].sessions) == 1
    assert stored.origin == THEIRS


def test_an_imported_file_counts_once_whatever_it_is_called(tmp_path: Path) -> None:
    copy = replace(THEIRS, files={"copy.json": "aa"})
    accept([_run(THEIRS)], [], tmp_path, Request("first"), GATE)

    with pytest.raises(BaselineError, match=r"copy\.json was imported before, its rounds of e-chat are in already"):
        accept([_run(copy, 15)], [], tmp_path, Request("again"), GATE)
    with pytest.raises(BaselineError, match=r"copy\.json was imported before"):
        accept([_run(THEIRS, 15), _run(copy, 16)], [], tmp_path / "other", Request("both"), GATE)


def test_words() -> None:
    many = Origin("trtllm-bench", {f"{i}.json": "f" * 64 for i in range(5)})

    assert why_not_comparable(THEIRS, THEIRS) is None
    assert joined(None, THEIRS) == THEIRS
    assert told("this run", [None, many])[0].endswith("2 more; not told: nothing (docs/importing.md)")
