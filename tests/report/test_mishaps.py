"""Rounds that do not count: one by one, and by kind with what to do next."""

from __future__ import annotations

from perfgate.fault_kinds import ProcessFault
from perfgate.record import CaseRound, Environment, Round, Run, Side
from perfgate.report.mishaps import MOST_LISTED, mishaps


def run_of(*rounds: Round) -> Run:
    return Run("s", "", Environment("d", "p", {}, ""), (), (), rounds)


def failed(engine: str, index: int, kind: ProcessFault | None = ProcessFault.GPU_OUT_OF_MEMORY) -> Round:
    return Round(engine, Side.CANDIDATE, index, "", 1.0, (), fault="CUDA out of memory", fault_kind=kind)


def test_kinds_are_told_once_the_most_frequent_first_with_the_next_step() -> None:
    found = mishaps(run_of(failed("a", 0, ProcessFault.STALLED), failed("b", 1), failed("a", 2), failed("b", 3)))

    assert found is not None
    assert [one.kind for one in found.kinds] == ["gpu-out-of-memory", "stalled"]
    assert found.kinds[0].said == "out of GPU memory, 3 times: b, a"
    assert found.kinds[0].next_step.startswith("lower max_batch_size")
    assert found.kinds[1].said == "no progress, once: a"


def test_a_fault_of_one_case_counts_with_its_kind() -> None:
    case = CaseRound("e-b1", {}, faults=("crashed", "late"), fault_kind=ProcessFault.CRASHED)

    found = mishaps(run_of(Round("e", Side.BASELINE, 4, "", 1.0, (case,))))

    assert found is not None
    assert [(one.case, one.why, one.side) for one in found.listed] == [("e-b1", "crashed; late", Side.BASELINE)]
    assert [one.kind for one in found.kinds] == ["crashed"]


def test_a_fault_without_a_kind_is_listed_only() -> None:
    found = mishaps(run_of(failed("a", 0, None)))

    assert found is not None
    assert (found.kinds, len(found.listed)) == ((), 1)


def test_long_lists_are_cut_and_say_so() -> None:
    found = mishaps(run_of(*(failed(f"e{at}", at) for at in range(MOST_LISTED + 7))))

    assert found is not None
    assert (len(found.listed), found.left_out) == (MOST_LISTED, 7)
    assert found.kinds[0].said == "out of GPU memory, 107 times: e0, e1, e2, e3, e4 and 102 more"
    assert mishaps(run_of()) is None
