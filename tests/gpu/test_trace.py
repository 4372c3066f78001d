"""A round's GPUs over time: thinned series, timed regions, marks, and how many of them a run keeps."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from perfgate.gpu.facts import GpuProcess
from perfgate.gpu.rounds import with_few_traces, with_gpus, without_trace
from perfgate.gpu.sample import Reading, Region, Samples, Tick
from perfgate.gpu.seen import GpuRound
from perfgate.gpu.trace import MOST_POINTS, GpuTrace, Trace, traced
from perfgate.gpu.validity import GpuWish
from perfgate.record import CaseRound, Round, Side, decode, encode

BUSY = Reading(
    power_w=500.4, sm_mhz=1980, mem_mhz=3201, temperature_c=60, utilization=0.97, memory_bytes=2**30, reasons=()
)
FOREIGN = GpuProcess(20, "other", 2**30, is_own=False, busy=0.2)


def samples(*readings: Reading, period_s: float = 0.1, begin_s: float = 100.0) -> Samples:
    ticks = tuple(Tick(begin_s + at * period_s, (one,)) for at, one in enumerate(readings))
    return Samples(("GPU-a",), period_s, ticks)


def one_gpu(found: Samples, *regions: Region, foreign: frozenset[int] = frozenset()) -> GpuTrace:
    made = traced(found, regions, [foreign])
    assert made is not None
    return made.gpus[0]


def test_a_stretch_is_the_mean_or_what_was_worst_in_it() -> None:
    pair = [
        BUSY,
        replace(BUSY, power_w=300.0, sm_mhz=1200, utilization=0.5, temperature_c=70, memory_bytes=3 * 2**30),
    ]

    made = one_gpu(samples(*pair * 4))

    assert made.power_w == (400,) * 4
    assert made.sm_mhz == (1200,) * 4
    assert made.utilization_percent == (74,) * 4
    assert made.temperature_c == (70,) * 4
    assert made.memory_mib == (3072,) * 4


def test_a_dip_of_one_sample_in_a_long_round_is_not_lost() -> None:
    readings = [BUSY] * 6000
    readings[3333] = replace(BUSY, sm_mhz=345, reasons=("thermal slowdown (hardware)",))

    made = one_gpu(samples(*readings))

    assert len(made.sm_mhz) == MOST_POINTS
    assert [value for value in made.sm_mhz if value != 1980] == [345]
    assert made.slowed == (made.sm_mhz.index(345),)


def test_the_power_cap_is_no_mark() -> None:
    assert one_gpu(samples(*[replace(BUSY, reasons=("power cap",))] * 20)).slowed == ()


def test_only_processes_that_used_the_gpu_are_marked() -> None:
    there = [replace(BUSY, processes=(FOREIGN,))] * 2
    idle = [replace(BUSY, processes=(replace(FOREIGN, busy=0.0),))] * 2
    found = samples(*[BUSY] * 8, *there, *idle, *[BUSY] * 8)

    assert one_gpu(found, foreign=frozenset({20})).foreign == (4,)
    assert one_gpu(found, foreign=frozenset({21})).foreign == ()


def test_what_was_never_told_is_empty_and_what_was_not_told_then_a_hole() -> None:
    made = one_gpu(samples(*[replace(BUSY, power_w=None)] * 4, *[replace(BUSY, power_w=None, sm_mhz=None)] * 4))

    assert made.power_w == ()
    assert made.sm_mhz == (1980, 1980, None, None)


def test_timed_regions_are_told_from_the_first_sample_and_close_ones_are_one() -> None:
    found = samples(*[BUSY] * 101)

    made = traced(
        found, [Region(104.0, 106.0), Region(101.0, 103.9), Region(108.0, 120.0), Region(50.0, 60.0)], [set()]
    )

    assert made is not None
    assert made.seconds == 10.0
    assert made.timed == (Region(1.0, 6.0), Region(8.0, 10.0))


def test_too_few_samples_are_no_line() -> None:
    assert traced(samples(*[BUSY] * 3), [Region(100.0, 101.0)], [set()]) is None
    assert traced(samples(), [], []) is None
    assert traced(samples(*[BUSY] * 4, period_s=0.0), [], [set()]) is not None


@given(st.integers(4, 400), st.floats(0.01, 10.0))
def test_a_trace_is_as_long_as_the_round_and_no_longer_than_its_limit(count: int, period_s: float) -> None:
    made = one_gpu(samples(*[BUSY] * count, period_s=period_s))

    assert len(made.power_w) == min(count // 2, MOST_POINTS)
    assert set(made.power_w) == {500}


def _round(number: int, *, fault: str | None = None) -> Round:
    trace = Trace(1.0, (), (GpuTrace(power_w=(1, 2)),) * 2)
    return Round("e", Side.CANDIDATE, number, "", 1.0, (), fault=fault, gpu=GpuRound((), trace=trace))


def test_a_run_keeps_traces_up_to_a_limit_and_first_those_of_rounds_that_do_not_count() -> None:
    rounds = [_round(0), _round(1), _round(2, fault="throttled"), Round("e", Side.CANDIDATE, 3, "", 1.0, ())]

    kept = with_few_traces(rounds, most=4)

    assert [one.gpu is not None and one.gpu.trace is not None for one in kept] == [True, False, True, False]
    assert with_few_traces(rounds) == tuple(rounds)
    assert without_trace(kept[3]) == kept[3]


def test_a_round_with_its_trace_survives_json_and_one_without_reads_as_before() -> None:
    done = Round("e", Side.CANDIDATE, 0, "", 2.0, (CaseRound("c", {}, regions=(Region(100.5, 101.5),)),))

    kept = with_gpus(done, samples(*[BUSY] * 21), 1, GpuWish())

    assert kept.gpu is not None
    assert kept.gpu.trace is not None
    assert kept.gpu.trace.timed == (Region(0.5, 1.5),)
    assert decode(encode(kept), Round, "here") == kept
    old = encode(without_trace(kept)).replace(b',"trace":null', b"")
    assert b"trace" not in old
    assert decode(old, Round, "here") == without_trace(kept)


def test_a_minute_of_samples_is_two_kilobytes_a_gpu() -> None:
    readings = [replace(BUSY, power_w=600.0 + at % 90, memory_bytes=140 * 10**9 + at * 2**20) for at in range(600)]

    assert len(encode(one_gpu(samples(*readings)))) < 2000
