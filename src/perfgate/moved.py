"""What moved together with a metric, and where that points: prefill, decoding, scheduling, the host or the machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from perfgate.comparison import Comparison
from perfgate.record import CaseInfo
from perfgate.verdict import MetricVerdict, Verdict


class Move(StrEnum):
    """What the judge's own interval says of a metric."""

    WORSE = "worse"
    BETTER = "better"
    STEADY = "steady"
    UNCLEAR = "unclear"


def move_of(one: MetricVerdict) -> Move:
    """Worse or better where the verdict is, or the whole interval lies beyond the margin; steady where it is ok."""
    if one.verdict is Verdict.REGRESSED or (one.low is not None and one.low > one.margin):
        return Move.WORSE
    if one.verdict is Verdict.IMPROVED or (one.high is not None and one.high < -one.margin):
        return Move.BETTER
    return Move.STEADY if one.verdict is Verdict.OK else Move.UNCLEAR


def readings(metrics: Iterable[MetricVerdict]) -> tuple[str, ...]:
    """Where the metrics of one case point together; nothing where they do not."""
    return tuple(_readings({part: _together(metrics, names) for part, names in _PARTS.items()}))


_PARTS = {
    "prefill": ("ttft_", "device_prefill"),
    "decoding": ("itl_", "tpot_", "device_decode_step"),
    "rate": ("output_tokens_per_s", "total_tokens_per_s", "requests_per_s"),
    "device step": ("device_decode_step",),
    "wall step": ("itl_", "tpot_"),
}


def _together(metrics: Iterable[MetricVerdict], names: tuple[str, ...]) -> Move:
    """Worse where any metric of a part is, steady where all are, else better or unclear."""
    moves = {move_of(one) for one in metrics if one.metric.startswith(names)}
    for move in (Move.WORSE, Move.BETTER):
        if move in moves:
            return move
    return Move.STEADY if moves == {Move.STEADY} else Move.UNCLEAR


def _readings(moves: dict[str, Move]) -> Iterator[str]:
    match moves["prefill"], moves["decoding"]:
        case Move.WORSE, Move.STEADY:
            yield "TTFT is worse and decoding is not: prefill, or what waits before it"
        case Move.STEADY, Move.WORSE:
            yield "decoding is worse and TTFT is not: decode steps, not prefill"
        case Move.WORSE, Move.WORSE:
            yield "TTFT and decoding are both worse: clocks, kernels or the host, rather than one phase"
        case Move.STEADY, Move.STEADY if moves["rate"] is Move.WORSE:
            yield "throughput is worse and latencies are not: batching or scheduling, rather than the steps"
    match moves["device step"], moves["wall step"]:
        case Move.STEADY, Move.WORSE:
            yield "the device's step is steady and the wall time is worse: the host launches or samples more slowly"
        case Move.WORSE, _:
            yield "the device's own step is worse: kernels, clocks or what they are given to do"


def elsewhere(comparison: Comparison, one: MetricVerdict) -> tuple[str, ...]:
    """The same metric in the engine's other cases, and how many other engines moved the same way."""
    infos = {case.case.id: case.case for case in comparison.cases}
    mine, move = infos[one.case], move_of(one)
    alike = [other for other in comparison.metrics if other.metric == one.metric and other.case != one.case]
    same = [other for other in alike if infos[other.case].engine == mine.engine]
    return (
        *(f"{other.case}: {move_of(other)} ({other.verdict})" for other in same),
        *_other_engines([other for other in alike if infos[other.case].engine != mine.engine], infos, move),
    )


def _other_engines(others: Sequence[MetricVerdict], infos: dict[str, CaseInfo], move: Move) -> Iterator[str]:
    engines = {infos[other.case].engine for other in others}
    if not engines or move not in {Move.WORSE, Move.BETTER}:
        return
    moved = {infos[other.case].engine for other in others if move_of(other) is move}
    hint = ""
    if len(moved) == len(engines):
        hint = ": look at what all share (machine, driver, library) before this engine"
    if not moved:
        hint = ": it is this engine's own"
    yield f"other engines that are {move} as well: {len(moved)} of {len(engines)}{hint}"
