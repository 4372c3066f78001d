from __future__ import annotations

from dataclasses import replace

import pytest

from perfgate.gpu.seen import GpuRound, GpuSeen
from perfgate.record import CaseRound, Environment, Host, Round, Run, Side
from perfgate.report.machine import MOST, strips


def run_of(*rounds: Round) -> Run:
    return Run("s", "", Environment("d", "p", {}, ""), (), (), rounds)


def round_at(second: int, *, side: Side = Side.CANDIDATE, clock: float | None = None, fault: str | None = None,
             started: str = "", **values: float) -> Round:  # fmt: skip
    at = started or f"2026-01-01T00:{second // 60:02d}:{second % 60:02d}+00:00"
    return Round("e", side, 0, at, 1.0, (CaseRound("c", values),), Host(clock_mhz=clock), fault)


def test_each_reading_that_the_run_has_is_a_strip() -> None:
    made = strips(run_of(*(round_at(i, clock=2000.0 + i, peak_memory_bytes=1e9) for i in range(3))))

    assert [one.title for one in made] == ["core clock", "peak memory"]
    assert made[0].said == "core clock: 2,000 MHz to 2,002 MHz over 3 rounds"


def test_sides_and_rounds_that_do_not_count_are_told_apart() -> None:
    rounds = [round_at(i, clock=2000.0, side=side) for i, side in enumerate((Side.CANDIDATE, Side.BASELINE))]

    (made,) = strips(run_of(*rounds, round_at(9, clock=2000.0, fault="throttled")))

    assert [path.count("M") for path in (made.now, made.before, made.out)] == [1, 1, 1]


def test_power_is_energy_per_token_times_tokens_a_second() -> None:
    (made,) = strips(run_of(*(round_at(i, energy_j_per_token=0.5, output_tokens_per_s=100.0 + i) for i in (0, 2))))

    assert made.said == "package power: 50.00 W to 51.00 W over 2 rounds"


def test_gpus_have_strips_of_their_own() -> None:
    gpus = (GpuSeen("a", 5, sm_mhz=1500.0, temperature_most_c=60.0), GpuSeen("b", 5, sm_mhz=1700.0))
    rounds = [replace(round_at(i, gpu_power_mean_w=400.0), gpu=GpuRound(gpus)) for i in range(2)]

    said = [one.said for one in strips(run_of(*rounds))]

    assert "GPU power: 400.0 W to 400.0 W over 2 rounds" in said
    assert "GPU SM clock: 1,600 MHz to 1,600 MHz over 2 rounds" in said
    assert "GPU temperature: 60 C to 60 C over 2 rounds" in said


@pytest.mark.parametrize("started", ["", "yesterday", "99999-01-01"])
def test_rounds_without_a_time_are_left_out(started: str) -> None:
    other = round_at(0, clock=1.0, started=started or "?")

    assert strips(run_of(round_at(1, clock=1.0), other)) == []


def test_thousands_of_rounds_are_thinned() -> None:
    (made,) = strips(run_of(*(round_at(i, clock=2000.0) for i in range(3000))))

    assert made.now.count("M") <= MOST
