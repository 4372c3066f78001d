"""Which round is next: turns over engines, pairs in BAAB order, limits."""

from dataclasses import replace
from pathlib import Path

import pytest

from perfgate.case import Case, EngineSpec, LatencyWork, PerplexityWork
from perfgate.engines.cache import Entry, Found
from perfgate.fault_kinds import ProcessFault
from perfgate.heartbeat import path_beside
from perfgate.measure import RETRIES, Ask, Bench, first_rounds, further_rounds, may_go_on
from perfgate.metrics import CATALOGUE
from perfgate.plant import Plant
from perfgate.process import Ended
from perfgate.record import CaseRound, Round, Side
from perfgate.terms import Gate, Pairing
from perfgate.turns import Launch

GATE = Gate((CATALOGUE["tpot_p50"],), most_rounds=4, pairing=Pairing.INTERLEAVED)
A, B = Side.BASELINE, Side.CANDIDATE


def _done(engine: str, side: Side, count: int, fault: str | None = None) -> list[Round]:
    return [Round(engine, side, i, "", 1.0, (), fault=fault) for i in range(count)]


def test_first_rounds_go_over_all_engines_in_turn() -> None:
    asked = first_rounds([], ["one", "two"], 2, frozenset(), GATE)

    assert asked == [(Ask("one", B),), (Ask("two", B),), (Ask("one", B),), (Ask("two", B),)]


def test_rounds_that_are_done_are_not_asked_for_again() -> None:
    asked = first_rounds(_done("one", B, 2), ["one", "two"], 2, frozenset(), GATE)

    assert asked == [(Ask("two", B),), (Ask("two", B),)]


def test_pairs_alternate_their_order_so_that_a_linear_drift_cancels() -> None:
    asked = first_rounds([], ["one"], 3, frozenset({"one"}), GATE)

    assert asked == [(Ask("one", B), Ask("one", A)), (Ask("one", A), Ask("one", B)), (Ask("one", B), Ask("one", A))]


def test_consecutive_rounds_come_one_by_one_in_baab_order() -> None:
    gate = replace(GATE, pairing=Pairing.CONSECUTIVE)
    rounds: list[Round] = []
    order = []
    while turnouts := further_rounds(rounds, ["one"], ["one"], gate):
        ((ask,),) = turnouts
        order.append(ask.side)
        rounds += _done("one", ask.side, 1)

    assert order == [B, A, A, B, B, A, A, B]


def test_a_side_that_is_behind_catches_up() -> None:
    gate = replace(GATE, pairing=Pairing.CONSECUTIVE)

    assert further_rounds(_done("one", B, 3), ["one"], ["one"], gate) == [(Ask("one", A),)]


def test_consecutive_first_rounds_of_engines_that_need_pairs() -> None:
    gate = replace(GATE, pairing=Pairing.CONSECUTIVE)

    asked = first_rounds([], ["one", "two"], 2, frozenset({"one"}), gate)

    assert [ask.side for (ask,) in asked if ask.engine == "one"] == [B, A, A, B]
    assert [ask.side for (ask,) in asked if ask.engine == "two"] == [B, B]


def test_an_engine_whose_baseline_is_gone_runs_alone() -> None:
    assert further_rounds(_done("one", B, 3), ["one"], [], GATE) == [(Ask("one", B),)]


def test_no_engine_gets_more_than_the_most_rounds() -> None:
    rounds = _done("one", B, 4) + _done("one", A, 4)

    assert not may_go_on(rounds, "one", ["one"], GATE)
    assert further_rounds(rounds, ["one"], ["one"], GATE) == []


def test_rounds_that_fail_are_tried_again_a_bounded_number_of_times() -> None:
    some, many = (_done("one", B, count, fault="crash") for count in (RETRIES, RETRIES + 1))

    assert len(first_rounds(some, ["one"], 3, frozenset(), GATE)) == 3
    assert first_rounds(many, ["one"], 3, frozenset(), GATE) == []


def _failed(kind: ProcessFault, side: Side = B) -> Round:
    return Round("one", side, 0, "", 1.0, (), fault=str(kind), fault_kind=kind)


def test_round_without_memory_is_not_tried_again_and_one_without_a_port_is() -> None:
    assert first_rounds([_failed(ProcessFault.GPU_OUT_OF_MEMORY)], ["one"], 3, frozenset(), GATE) == []
    assert len(first_rounds([_failed(ProcessFault.PORT_IN_USE)], ["one"], 3, frozenset(), GATE)) == 3


def test_what_went_well_before_is_tried_again() -> None:
    rounds = [*_done("one", B, 1), _failed(ProcessFault.GPU_OUT_OF_MEMORY)]

    assert may_go_on(rounds, "one", [], GATE)
    assert not may_go_on([*rounds, _failed(ProcessFault.GPU_OUT_OF_MEMORY, A)], "one", ["one"], GATE)


TEXT, TIMED = PerplexityWork("text", Path("t.jsonl")), LatencyWork("b1", Path("p.jsonl"))
ENGINE = EngineSpec("one", Path("model"), "fake")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """One whose children are not started: `run_in_turns` is for a test to replace."""
    monkeypatch.setattr("perfgate.measure.await_returned", lambda *_: None)
    found = Found(tmp_path, Entry("key", {}, {}, {}, 1, {}, "now"), from_cache=True)
    return Bench(tmp_path, GATE, (Case(ENGINE, TEXT), Case(ENGINE, TIMED)), {("one", B): found}, Plant())


def test_round_does_not_begin_while_gpu_memory_is_held(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfgate.measure.await_returned", lambda *_: "GPU 0 has 20.0 GiB more, by 42 (python)")

    (done,) = bench.measure((Ask("one", B),), [])

    assert done.fault_kind is ProcessFault.GPU_MEMORY_HELD
    assert done.fault == "not begun: GPU 0 has 20.0 GiB more, by 42 (python)"


def _round(*faults: str) -> Round:
    return Round("one", B, 0, "", 1.0, (CaseRound("one-text", {}, faults=faults),))


@pytest.mark.parametrize(
    ("rounds", "asked"),
    [
        ([], [TEXT]),
        ([_round()], []),
        ([_round("no logits")], [TEXT]),
        ([_round("no logits"), _round("no logits")], []),
        (_done("one", B, 2, fault="crash"), [TEXT]),
    ],
    ids=["first", "scored", "once in vain", "twice in vain", "after crashes"],
)
def test_text_is_scored_once_and_tried_twice(bench: Bench, rounds: list[Round], asked: list[PerplexityWork]) -> None:
    assert list(bench._job(Ask("one", B), 0, rounds).perplexity) == asked


def test_child_that_dies_is_told_by_kind_signal_and_last_word(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(launches: list[Launch], _: float) -> list[Ended]:
        path_beside(launches[0].log).write_text("loading the engine")
        launches[0].log.write_text("all is well")
        return [Ended(-11, launches[0].log)]

    monkeypatch.setattr("perfgate.measure.run_in_turns", die)

    (done,) = bench.measure((Ask("one", B),), [])

    assert done.fault_kind is ProcessFault.SEGFAULT
    assert str(done.fault).startswith(
        "a segmentation fault: ended by SIGSEGV; the measuring process ended with code -11 while 'loading the engine'"
    )
