"""The self-test's order, tally and words, by plain data."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from perfgate.metrics import CATALOGUE
from perfgate.plant import Plant
from perfgate.record import decode, encode
from perfgate.selftest import (
    UNCHANGED,
    Expected,
    Finding,
    Outcome,
    Planted,
    Tally,
    What,
    faults,
    left_to_do,
    share_of,
    tally,
)
from perfgate.selftest_report import Report, render_markdown, render_text, sentences
from perfgate.verdict import Verdict

TWO, TEN, LOSS = Planted(What.DECODE, 0.02), Planted(What.DECODE, 0.1), Planted(What.PERPLEXITY, 0.01)
MISSED = "was found in 0 of 3 gates, called ok in 3"
RED, OK, OPEN, INVALID = Verdict.REGRESSED, Verdict.OK, Verdict.INCONCLUSIVE, Verdict.INVALID

KINDS = st.lists(st.sampled_from([TWO, TEN, LOSS]), unique=True)


def _itl(verdict: Verdict, change: float = 0.1, more: int | None = None) -> Finding:
    return Finding("e-b1", "itl_p50", verdict, 0.02, 0.05, change, 1.0, more)


def _ttft(verdict: Verdict) -> Finding:
    return Finding("e-b1", "ttft_p50", verdict, 0.02, 0.05, 0.0)


def _gate(planted: Planted, *findings: Finding, rounds: int = 4, seconds: float = 10.0) -> Outcome:
    return Outcome(planted, "2026-01-14T08:00:00+00:00", rounds, seconds, findings)


def _only(planted: Planted, *outcomes: Outcome) -> Tally:
    return next(one for one in tally([planted], outcomes) if one.planted == planted)


# ------------------------------------------------------------------ order


def test_kinds_take_turns_beginning_with_an_unchanged_gate() -> None:
    assert left_to_do([TWO, TEN], 2, []) == [UNCHANGED, TWO, TEN, UNCHANGED, TWO, TEN]


def test_what_is_done_is_left_out_and_turns_go_on() -> None:
    assert left_to_do([TWO], 2, [_gate(UNCHANGED), _gate(TWO), _gate(UNCHANGED)]) == [TWO]


@given(KINDS, st.integers(1, 6), st.data())
def test_a_test_stopped_anywhere_ends_with_the_same_gates(
    planted: list[Planted], gates: int, data: st.DataObject
) -> None:
    whole = left_to_do(planted, gates, [])
    cut = data.draw(st.integers(0, len(whole)))

    rest = left_to_do(planted, gates, map(_gate, whole[:cut]))

    assert rest == whole[cut:]


@given(KINDS, st.lists(st.sampled_from([UNCHANGED, TWO, TEN]), max_size=12), st.integers(1, 6))
def test_every_kind_ends_with_as_many_gates_as_were_asked(
    planted: list[Planted], before: list[Planted], gates: int
) -> None:
    counts = Counter([*before, *left_to_do(planted, gates, map(_gate, before))])

    assert all(counts[one] == max(gates, before.count(one)) for one in (UNCHANGED, *planted))


# ------------------------------------------------------------------ what a plant is


def test_a_size_is_planted_as_a_ratio() -> None:
    assert [one.plant for one in (UNCHANGED, TEN, LOSS)] == [Plant(), Plant(decode=1.1), Plant(perplexity=1.01)]


def test_a_slow_decode_moves_decoding_and_throughput_alone() -> None:
    moved = {name.removesuffix("_p50") for name in CATALOGUE if TEN.moves(name) and "_p9" not in name}

    assert moved >= {"itl", "tpot", "e2el", "output_tokens_per_s", "requests_per_s"}
    assert not any(TEN.moves(name) for name in ("ttft_p50", "output_tokens", "peak_memory_bytes", "perplexity"))


def test_a_loss_of_quality_moves_the_text_metrics_alone() -> None:
    assert {name for name in CATALOGUE if LOSS.moves(name)} == {"perplexity", "bits_per_byte"}


def test_an_outcome_survives_its_file() -> None:
    outcome = _gate(TEN, _itl(RED), _ttft(OPEN))

    assert decode(encode(outcome), Outcome, "test") == outcome


# ------------------------------------------------------------------ answers


@pytest.mark.parametrize(
    ("findings", "answer"),
    [
        ([_itl(RED), _itl(OK)], RED),
        ([_itl(RED), _itl(INVALID)], RED),
        ([_itl(OK), _itl(Verdict.IMPROVED)], OK),
        ([_itl(OK), _itl(OPEN)], OPEN),
        ([_itl(OK), _itl(INVALID)], INVALID),
        ([_itl(OK), _itl(Verdict.NO_BASELINE)], INVALID),
        ([], INVALID),
    ],
)
def test_a_gate_answers_by_the_gravest_planted_metric(findings: list[Finding], answer: Verdict) -> None:
    assert _gate(TEN, *findings).answer is answer


def test_a_metric_that_the_plant_leaves_alone_is_no_miss_and_no_find() -> None:
    gates = [_gate(TEN, _itl(RED), _ttft(OK)), _gate(TEN, _itl(OPEN), _ttft(RED))]

    found = _only(TEN, *gates)

    assert (found.found.count, found.ok.count, found.inconclusive.count, found.red.count) == (1, 0, 1, 2)
    assert found.red_metrics == {"itl_p50": 1, "ttft_p50": 1}
    assert [one.metric for one in found.metrics] == ["itl_p50"]


@given(st.lists(st.lists(st.sampled_from(list(Verdict)), max_size=4), max_size=12))
def test_every_gate_has_one_answer(verdicts: list[list[Verdict]]) -> None:
    found = _only(TEN, *(_gate(TEN, *map(_itl, mine)) for mine in verdicts))

    answered = found.found.count + found.ok.count + found.inconclusive.count + found.invalid
    assert answered == found.gates == len(verdicts)
    assert sum(m.red + m.ok + m.inconclusive + m.invalid for m in found.metrics) == sum(map(len, verdicts))


def test_effort_and_change_are_means_and_the_wait_a_median() -> None:
    gates = [
        _gate(TEN, _itl(OPEN, 0.08, more=3), _itl(OPEN, 0.1, more=2), rounds=4, seconds=10.0),
        _gate(TEN, _itl(OPEN, 0.12, more=9), rounds=8, seconds=20.0),
        _gate(TEN, _itl(RED, 0.1), rounds=6, seconds=30.0),
    ]

    found = _only(TEN, *gates)

    assert (found.rounds, found.seconds, found.more_rounds) == (6.0, 20.0, 6.0)
    assert found.metrics[0].change == pytest.approx(0.1)


# ------------------------------------------------------------------ shares


@given(st.integers(0, 60), st.integers(1, 60))
def test_shares_have_the_interval_of_wilson(count: int, more: int) -> None:
    of = count + more - 1
    if of == 0:
        return
    ours, theirs = share_of(count, of), stats.binomtest(count, of).proportion_ci(0.95, "wilson")

    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


def test_nothing_counted_is_nothing_known() -> None:
    assert (share_of(0, 0).low, share_of(0, 0).high) == (0.0, 1.0)


# ------------------------------------------------------------------ what is right


@pytest.mark.parametrize(("size", "expected"), [(0.02, "ok"), (0.03, "either"), (0.05, "found"), (0.1, "found")])
def test_what_is_right_depends_on_margin_and_detect(size: float, expected: str) -> None:
    planted = Planted(What.DECODE, size)

    assert _only(planted, _gate(planted, _itl(OPEN, 0.0))).metrics[0].expected == expected


def test_a_diluted_metric_is_held_to_what_it_showed() -> None:
    diluted = Finding("e-b1", "output_tokens_per_s", OK, 0.02, 0.05, change=0.03)

    assert _only(TEN, _gate(TEN, diluted)).metrics[0].expected is Expected.EITHER


def test_a_false_alarm_is_a_fault() -> None:
    assert faults(tally([], [_gate(UNCHANGED, _ttft(RED)), _gate(UNCHANGED, _ttft(OK))])) == [
        "1 of 2 unchanged gates were red"
    ]


def test_ok_for_twice_what_is_promised_is_a_fault_and_for_less_is_none() -> None:
    five = Planted(What.DECODE, 0.05)
    gates = [_gate(UNCHANGED, _itl(OK)), _gate(TEN, _itl(OK)), _gate(five, _itl(OK)), _gate(TEN, _itl(OPEN))]

    assert faults(tally([five, TEN], gates)) == [
        "decode +10 % was called ok by itl_p50 1 times, though it promises to find 5 %"
    ]


def test_a_gate_that_was_not_measured_is_a_fault() -> None:
    assert faults(tally([], [_gate(UNCHANGED, _itl(INVALID))])) == ["1 of 1 gates of unchanged were not measured"]


# ------------------------------------------------------------------ words


def test_sentences_say_what_was_found_missed_and_undecided() -> None:
    gates = [
        *[_gate(UNCHANGED, _itl(OK))] * 3,
        *[_gate(TEN, _itl(RED))] * 2,
        _gate(TEN, _itl(OPEN, more=4)),
        *[_gate(TWO, _itl(OK, 0.02))] * 3,
    ]

    assert sentences(tally([TWO, TEN], gates)) == [
        "decode +10 % was found in 2 of 3 gates, never called ok, undecided in 1 (wanting 4 more rounds in the median)",
        f"decode +2 % {MISSED}: it is within the margin of itl_p50 (2.0 %), so ok is right",
        "none of 3 unchanged gates was red; a gate took 4.0 rounds and 10.0 s on average",
    ]


def test_unchanged_gates_that_were_red_or_not_measured_are_told() -> None:
    gates = [_gate(UNCHANGED, _itl(RED), _ttft(RED)), _gate(UNCHANGED, _itl(INVALID))]

    assert sentences(tally([], gates))[0].startswith(
        "1 of 2 unchanged gates was red (by itl_p50 (1), ttft_p50 (1)), not measured in 1;"
    )


@given(KINDS, st.lists(st.tuples(st.sampled_from([UNCHANGED, TWO, TEN, LOSS]), st.sampled_from(list(Verdict)))))
def test_any_outcome_can_be_shown(planted: list[Planted], gates: list[tuple[Planted, Verdict]]) -> None:
    tallies = tally(planted, [_gate(kind, _itl(verdict)) for kind, verdict in gates])
    report = Report("s", "cpu/x", "A CPU", "now", ("e-b1",), 5, tallies, tuple(sentences(tallies)))

    text, markdown = render_text(report), render_markdown(report)

    assert all(one.label in text and one.label in markdown for one in (UNCHANGED, *planted))
    assert all(sentence in text and sentence in markdown for sentence in report.sentences)
    assert decode(encode(report), Report, "test") == report
