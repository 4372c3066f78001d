"""Samples summed up over timed regions, and rounds judged by them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.fault_kinds import ProcessFault
from perfgate.gpu.facts import GpuProcess
from perfgate.gpu.lock import lock_told
from perfgate.gpu.rounds import notes_of, with_gpus
from perfgate.gpu.sample import Reading, Region, Samples, Tick
from perfgate.gpu.seen import EnergyBy, gaps, percentile, seen
from perfgate.gpu.validity import GpuLimits, GpuWish, why_invalid
from perfgate.record import CaseRound, Round, Side

BUSY = Reading(
    power_w=500.0, sm_mhz=1980, mem_mhz=3201, temperature_c=60, utilization=1.0, memory_bytes=2**30, reasons=()
)
OURS = GpuProcess(10, "python", 2**30, is_own=True, busy=0.9)
FOREIGN = GpuProcess(20, "other", 2**30, is_own=False, busy=0.2)
UNSEEN = GpuProcess(30, None, 2**30, is_own=None, busy=None)
TWO_S = [Region(0.0, 2.0)]


def samples(*readings: Reading, period_s: float = 0.1, begin_s: float = 0.0) -> Samples:
    """One GPU, a reading a period."""
    ticks = tuple(Tick(begin_s + at * period_s, (one,)) for at, one in enumerate(readings))
    return Samples(("GPU-a",), period_s, ticks)


def steady(count: int = 21, **changes: object) -> list[Reading]:
    return [replace(BUSY, **changes)] * count  # type: ignore[arg-type]


def test_energy_is_the_counters_difference() -> None:
    counted = [replace(BUSY, energy_j=1000 + 50.0 * at, power_w=1.0) for at in range(21)]

    (gpu,) = seen(samples(*counted), [Region(0.5, 1.5)])

    assert gpu.energy_j == pytest.approx(500.0)
    assert gpu.power_mean_w == pytest.approx(500.0)
    assert gpu.energy_by is EnergyBy.COUNTER


def test_without_a_counter_power_is_integrated() -> None:
    rising = [replace(BUSY, power_w=100.0 * at) for at in range(21)]

    (gpu,) = seen(samples(*rising), [Region(0.05, 1.05)])

    assert gpu.energy_by is EnergyBy.POWER
    assert gpu.energy_j == pytest.approx(100 * 10 * (1.05**2 - 0.05**2) / 2)
    assert gpu.is_energy_sure


def test_a_counter_that_began_anew_is_no_energy() -> None:
    (gpu,) = seen(samples(*[replace(BUSY, energy_j=5.0 - at) for at in range(21)]), TWO_S)

    assert gpu.energy_by is EnergyBy.POWER


@given(st.floats(0.01, 1.98), st.floats(0.01, 1000.0))
def test_two_parts_of_a_region_take_its_energy(cut: float, watts: float) -> None:
    found = samples(*[replace(BUSY, power_w=watts * (1 + at % 3)) for at in range(21)])

    whole, parts = seen(found, TWO_S)[0], seen(found, [Region(0.0, cut), Region(cut, 2.0)])[0]

    assert whole.energy_j == pytest.approx(parts.energy_j)


def test_outside_of_the_samples_there_is_no_energy() -> None:
    (gpu,) = seen(samples(*steady()), [Region(1.0, 3.0)])

    assert (gpu.energy_j, gpu.gaps) == (None, 1)


def test_a_gap_is_more_than_three_periods() -> None:
    ticks = tuple(Tick(at, (BUSY,)) for at in (0.0, 0.1, 0.39, 0.71, 0.8, 0.9, 1.0))
    found = Samples(("GPU-a",), 0.1, ticks)

    assert gaps(found, [Region(0.0, 1.0)]) == 1
    assert gaps(found, [Region(0.75, 1.0)]) == 0
    assert gaps(found, [Region(0.8, 2.0)]) == 1
    assert gaps(Samples(("GPU-a",), 0.1), [Region(0.0, 1.0)]) == 1


def test_an_integral_over_a_gap_is_no_metric() -> None:
    ticks = tuple(Tick(at, (BUSY,)) for at in (0.0, 0.5, 1.0))
    done = _round(Region(0.0, 1.0))

    found = with_gpus(done, Samples(("GPU-a",), 0.1, ticks), 1, GpuWish())

    assert found.gpu is not None
    assert found.gpu.gpus[0].energy_j == 500.0
    assert set(found.cases[0].values) == {"output_tokens", "gpu_utilization"}


def test_a_round_gets_power_energy_and_utilisation() -> None:
    found = with_gpus(_round(Region(0.0, 1.0), Region(1.5, 2.0)), samples(*steady()), 1, GpuWish())

    values = found.cases[0].values
    assert values["gpu_power_mean_w"] == pytest.approx(500.0)
    assert values["gpu_energy_j_per_token"] == pytest.approx(750.0 / 50)
    assert values["gpu_utilization"] == 1.0
    assert found.is_valid


def test_gpus_of_an_engine_are_added_up() -> None:
    ticks = tuple(Tick(at / 10, (BUSY, replace(BUSY, power_w=100.0, utilization=0.5), BUSY)) for at in range(21))

    found = with_gpus(_round(*TWO_S), Samples(("a", "b", "c"), 0.1, ticks), 2, GpuWish())

    assert found.gpu is not None
    assert [one.uuid for one in found.gpu.gpus] == ["a", "b"]
    assert found.cases[0].values["gpu_power_mean_w"] == pytest.approx(600.0)
    assert found.cases[0].values["gpu_utilization"] == 0.75


def test_a_round_without_gpus_or_without_timed_work_stays_as_it_is() -> None:
    assert with_gpus(_round(*TWO_S), Samples((), 0.1), 0, GpuWish()) == _round(*TWO_S)


def test_sampling_that_broke_off_gives_no_figures_and_is_told() -> None:
    broken = replace(samples(*steady()), fault="killed")

    found = with_gpus(_round(*TWO_S), broken, 1, GpuWish())

    assert found.cases == _round(*TWO_S).cases
    assert found.gpu is not None
    assert notes_of(found.gpu) == ["killed"]
    assert with_gpus(_round(), samples(*steady()), 1, GpuWish()) == _round()


def test_a_fault_of_the_sampler_is_kept() -> None:
    found = with_gpus(_round(*TWO_S), Samples(("GPU-a",), 0.1, fault="NVML: gone"), 1, GpuWish())

    assert found.is_valid
    assert found.gpu is not None
    assert (found.gpu.fault, found.gpu.gpus[0].samples) == ("NVML: gone", 0)
    assert set(found.cases[0].values) == {"output_tokens"}


def test_what_became_of_a_lock_and_of_the_sampler_is_told() -> None:
    done = with_gpus(_round(*TWO_S), replace(samples(*steady()), fault="late"), 1, GpuWish(lock_mhz=1980))

    assert notes_of(done.gpu) == ["GPU clocks: locked at 1980 MHz", "late"]
    assert notes_of(None) == []


# ------------------------------------------------------------------ validity


@pytest.mark.parametrize(
    "reason", ["hardware slowdown", "thermal slowdown (driver)", "thermal slowdown (hardware)", "power brake"]
)
def test_a_gpu_that_throttled_makes_a_round_invalid(reason: str) -> None:
    hot = steady(19) + steady(2, reasons=(reason,), temperature_c=90)

    found = with_gpus(_round(*TWO_S), samples(*hot), 1, GpuWish())

    assert found.fault == f"the engine's GPU 0 throttled while it was timed: {reason} in 10 % of 21 samples, up to 90 C"


def test_the_power_cap_is_no_fault_and_explains_moving_clocks() -> None:
    capped = [replace(BUSY, reasons=("power cap",), sm_mhz=1980 - 20 * at) for at in range(21)]

    (gpu,) = seen(samples(*capped), TWO_S)

    assert (gpu.reasons, gpu.clock_move) == ({"power cap": 1.0}, None)
    assert why_invalid([gpu], GpuLimits()) is None


def test_clocks_that_move_for_no_reason_make_a_round_invalid() -> None:
    moved = steady(15) + steady(6, sm_mhz=1500)

    (gpu,) = seen(samples(*moved), TWO_S)

    assert gpu.clock_move == pytest.approx(1 - 1500 / 1980)
    assert (
        why_invalid([gpu], GpuLimits())
        == "the engine's GPU 0 moved its clocks by 24.2 % while it was timed, 5.0 % are allowed"
    )
    assert why_invalid([gpu], GpuLimits(clock_move=0.3)) is None


def test_memory_clocks_count_too_and_idle_ones_do_not() -> None:
    slow = steady(15) + steady(6, mem_mhz=1600)
    idle = steady(15) + steady(6, sm_mhz=345, reasons=("idle",))

    assert seen(samples(*slow), TWO_S)[0].clock_move == pytest.approx(0.5, abs=0.01)
    assert seen(samples(*idle), TWO_S)[0].clock_move == 0.0


def test_where_reasons_are_not_told_clocks_are_not_judged() -> None:
    (gpu,) = seen(samples(*(steady(15, reasons=None) + steady(6, sm_mhz=1500, reasons=None))), TWO_S)

    assert gpu.clock_move is None


def test_clocks_beside_the_power_cap_are_left_to_it() -> None:
    """As seen on an H200: reasons are renewed once a second, so that a capped moment may not yet be told as one."""
    late = steady(21, reasons=("power cap",)) + steady(8, sm_mhz=1500) + steady(21, reasons=("power cap",))
    long_free = steady(21, reasons=("power cap",)) + steady(40) + steady(9, sm_mhz=1500)
    seven_s = [Region(0.0, 7.0)]

    assert seen(samples(*late), seven_s)[0].clock_move is None
    assert seen(samples(*long_free), seven_s)[0].clock_move == pytest.approx(1 - 1500 / 1980)


def test_one_sample_off_is_no_move() -> None:
    assert seen(samples(*(steady(20) + steady(1, sm_mhz=1500))), TWO_S)[0].clock_move == 0.0


def test_a_round_at_other_clocks_than_the_earlier_ones_does_not_count() -> None:
    capped = [
        with_gpus(_round(*TWO_S), samples(*steady(sm_mhz=mhz, reasons=("power cap",))), 1, GpuWish())
        for mhz in (1560, 1575)
    ]
    slow = samples(*steady(sm_mhz=1410, reasons=("power cap",)))

    found = with_gpus(_round(*TWO_S), slow, 1, GpuWish(), capped)

    assert found.fault_kind is ProcessFault.GPU_DISTURBED
    assert found.fault == (
        "the engine's GPU 0 ran at 1410 MHz (median), its 2 earlier rounds at 1568 MHz: more than 5.0 % apart"
    )
    assert with_gpus(_round(*TWO_S), slow, 1, GpuWish(GpuLimits(clock_move=0.2)), capped).is_valid


@pytest.mark.parametrize("changes", [{"side": Side.BASELINE}, {"engine": "other"}, {"fault": "crashed"}])
def test_clocks_are_compared_with_rounds_that_count_of_the_same_engine_and_side(changes: dict[str, Any]) -> None:
    done = with_gpus(_round(*TWO_S), samples(*steady()), 1, GpuWish())

    assert with_gpus(
        _round(*TWO_S), samples(*steady(sm_mhz=1410)), 1, GpuWish(), [replace(done, **changes)] * 3
    ).is_valid
    assert with_gpus(_round(*TWO_S), samples(*steady(sm_mhz=1410)), 1, GpuWish(), [done]).is_valid


@pytest.mark.parametrize(
    ("looks", "used", "idle", "unknown"),
    [
        ([(OURS,), (OURS,)], (), (), ()),
        ([(), (OURS, FOREIGN)], (FOREIGN,), (), ()),
        ([(), (OURS, replace(FOREIGN, busy=0.0))], (), (replace(FOREIGN, busy=0.0),), ()),
        ([(), (OURS, UNSEEN)], (UNSEEN,), (), ()),
        ([(), (UNSEEN,)], (), (), (UNSEEN,)),
        ([(UNSEEN,), (UNSEEN,)], (UNSEEN,), (), ()),
    ],
    ids=["ours", "another's", "idle", "another container's", "perhaps ours", "there before"],
)
def test_who_else_used_a_gpu(
    looks: list[tuple[GpuProcess, ...]],
    used: tuple[GpuProcess, ...],
    idle: tuple[GpuProcess, ...],
    unknown: tuple[GpuProcess, ...],
) -> None:
    before, during = (replace(BUSY, processes=one) for one in looks)
    found = samples(before, *steady(4), during, *steady(15), begin_s=-0.3)

    (gpu,) = seen(found, [Region(0.0, 1.0)])

    assert (gpu.foreign, gpu.idle_foreign, gpu.unknown) == (used, idle, unknown)
    assert (why_invalid([gpu], GpuLimits()) is None) == (not used)
    assert why_invalid([gpu], GpuLimits(foreign=True)) is None


def test_looks_are_a_second_apart_and_those_beside_a_short_region_count() -> None:
    found = samples(replace(BUSY, processes=()), *steady(9), replace(BUSY, processes=(FOREIGN,)))

    assert seen(found, [Region(0.4, 0.6)])[0].foreign == (FOREIGN,)


def test_percentiles_are_interpolated() -> None:
    assert percentile([1.0, 3.0], 0.5) == 2.0
    assert percentile([], 0.5) is None


@pytest.mark.parametrize(
    ("fault", "clocks", "told"),
    [
        (None, [1500.0, 1515.0], "locked at 1500 MHz"),
        (None, [1500.0, 1400.0], "not locked: set to 1500 MHz, but the GPU ran at 1400 MHz"),
        (None, [None], "not locked: set to 1500 MHz, but no SM clock was read back while the GPU worked"),
        (None, [], "not locked: set to 1500 MHz, but no SM clock was read back while the GPU worked"),
        ("Insufficient Permissions", [1500.0], "not locked: Insufficient Permissions"),
    ],
)
def test_locked_is_said_of_clocks_that_were_read_back(fault: str | None, clocks: list[float | None], told: str) -> None:
    assert lock_told(1500, fault, clocks) == told


def _round(*regions: Region) -> Round:
    case = CaseRound("one-b1", {"output_tokens": 50.0}, regions=regions)
    return Round("one", Side.CANDIDATE, 0, "2026-11-21T00:00:00+00:00", 3.0, (case,))
