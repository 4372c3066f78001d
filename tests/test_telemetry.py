from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from perfgate import telemetry
from perfgate.record import Host
from perfgate.telemetry import Counters, energy_between, host_between, peak_memory_bytes, read_counters

BEFORE = Counters(wall_s=100.0, own_cpu_s=5.0, busy_cpu_s=1000.0, steal_cpu_s=10.0, energy_j=50.0)
STAT = "cpu  100 20 30 4000 50 6 7 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"


@pytest.fixture
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(telemetry, "clock_mhz", lambda: 2400.0)


@pytest.mark.usefixtures("four_cpus")
def test_shares_are_of_all_cpu_time_of_the_machine() -> None:
    after = Counters(wall_s=110.0, own_cpu_s=15.0, busy_cpu_s=1018.0, steal_cpu_s=12.0, energy_j=None)

    found = host_between(BEFORE, after)

    assert found.foreign_cpu_share == pytest.approx((18 - 10) / 40)
    assert found.steal_share == pytest.approx(2 / 40)
    assert found.clock_mhz == 2400.0


@pytest.mark.usefixtures("four_cpus")
def test_a_machine_of_our_own_has_no_foreign_share() -> None:
    after = replace(BEFORE, wall_s=110.0, own_cpu_s=15.0, busy_cpu_s=1010.0)

    assert host_between(BEFORE, after) == Host(0.0, 0.0, 2400.0)


@pytest.mark.usefixtures("four_cpus")
def test_rounding_of_ticks_gives_no_negative_share() -> None:
    after = replace(BEFORE, wall_s=110.0, own_cpu_s=15.0, busy_cpu_s=1009.99, steal_cpu_s=9.99)

    assert host_between(BEFORE, after) == Host(0.0, 0.0, 2400.0)


@pytest.mark.usefixtures("four_cpus")
def test_rounding_of_ticks_gives_no_more_than_the_machine() -> None:
    after = replace(BEFORE, wall_s=100.1, busy_cpu_s=1000.5, steal_cpu_s=10.5)

    assert host_between(BEFORE, after) == Host(1.0, 1.0, 2400.0)


@pytest.mark.usefixtures("four_cpus")
def test_no_time_between_readings_is_no_division_by_zero() -> None:
    assert host_between(BEFORE, BEFORE) == Host(0.0, 0.0, 2400.0)


@pytest.mark.usefixtures("four_cpus")
@pytest.mark.parametrize("counter", ["busy_cpu_s", "steal_cpu_s"])
def test_without_machine_counters_only_the_clock_is_known(counter: str) -> None:
    blind = {"busy_cpu_s": replace(BEFORE, busy_cpu_s=None), "steal_cpu_s": replace(BEFORE, steal_cpu_s=None)}[counter]

    assert host_between(BEFORE, blind) == Host(clock_mhz=2400.0)
    assert host_between(blind, BEFORE) == Host(clock_mhz=2400.0)


def test_an_unknown_number_of_cpus_counts_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: None)

    after = replace(BEFORE, wall_s=110.0, busy_cpu_s=1005.0)

    assert host_between(BEFORE, after).foreign_cpu_share == pytest.approx(0.5)


def test_energy_is_the_difference_of_readings() -> None:
    assert energy_between(BEFORE, replace(BEFORE, energy_j=62.5)) == 12.5


def test_a_counter_that_wrapped_gives_no_energy() -> None:
    assert energy_between(BEFORE, replace(BEFORE, energy_j=0.5)) is None


def test_without_a_counter_there_is_no_energy() -> None:
    assert energy_between(BEFORE, replace(BEFORE, energy_j=None)) is None
    assert energy_between(replace(BEFORE, energy_j=None), BEFORE) is None


def test_a_machine_without_proc_and_sys_has_no_counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _under(monkeypatch, tmp_path)

    found = read_counters()

    assert (found.busy_cpu_s, found.steal_cpu_s, found.energy_j) == (None, None, None)
    assert host_between(found, found) == Host()


def test_machine_counters_are_seconds_of_the_first_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _under(monkeypatch, tmp_path, stat=STAT)
    monkeypatch.setattr(os, "sysconf", {"SC_CLK_TCK": 100}.__getitem__)

    found = read_counters()

    assert found.busy_cpu_s == pytest.approx((100 + 20 + 30 + 6 + 7) / 100)
    assert found.steal_cpu_s == pytest.approx(0.08)


@pytest.mark.parametrize("stat", ["", "\n", "cpu\n", "cpu  1 2 x 4 5 6 7 8\n", "cpu  1 2 3 4\n"])
def test_machine_counters_that_make_no_sense_are_no_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stat: str
) -> None:
    _under(monkeypatch, tmp_path, stat=stat)

    found = read_counters()

    assert (found.busy_cpu_s, found.steal_cpu_s) == (None, None)


def test_energy_is_read_in_joules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "energy_uj"
    path.write_text("12500000\n")
    monkeypatch.setattr(telemetry, "_RAPL", path)

    assert read_counters().energy_j == 12.5


@pytest.mark.parametrize("text", ["", "nonsense\n"])
def test_energy_that_makes_no_sense_is_no_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "energy_uj"
    path.write_text(text)
    monkeypatch.setattr(telemetry, "_RAPL", path)

    assert read_counters().energy_j is None


def test_readings_of_this_machine_never_run_backwards() -> None:
    before = read_counters()

    after = read_counters()

    assert after.wall_s >= before.wall_s
    assert after.own_cpu_s >= before.own_cpu_s


def test_a_process_has_a_peak_memory_of_some_megabytes() -> None:
    assert peak_memory_bytes() > 5_000_000


def _under(monkeypatch: pytest.MonkeyPatch, root: Path, stat: str | None = None) -> None:
    """Let telemetry find /proc and /sys under a folder of the test's own."""
    if stat is not None:
        (root / "proc").mkdir()
        (root / "proc" / "stat").write_text(stat)
    monkeypatch.setattr(telemetry, "Path", lambda path: root / str(path).lstrip("/"))
    monkeypatch.setattr(telemetry, "_RAPL", root / "energy_uj")
