from __future__ import annotations

from dataclasses import replace

from examples import BASELINE, PREPARED, comparison

from perfgate.gpu.facts import Gpu
from perfgate.report.around import Fact, bars, changed, facts


def test_what_differs_from_the_baseline_comes_first() -> None:
    found = facts(comparison())

    changed = [(one.name, one.before, one.now) for one in found if one.is_changed]
    assert changed == [
        ("commit", "a9b8c7d", "0b1c2d3"),
        ("openvino", "2026.0", "2026.1"),
        ("python", "-", "3.11.7"),
    ]
    assert all(one.is_changed for one in found[: len(changed)])


def test_a_version_that_is_gone_is_a_difference() -> None:
    found = facts(comparison(baseline=replace(BASELINE, versions={"nncf": "3.4"})))

    assert ("nncf", "3.4", "-", True) in [(one.name, one.before, one.now, one.is_changed) for one in found]


def test_gpus_that_are_set_otherwise_are_a_difference() -> None:
    gpu = Gpu(0, "GPU-a", "NVIDIA H200", (9, 0), 2**37, power_limit_w=500.0, ecc=True)
    made = comparison(
        baseline=replace(
            BASELINE, settings={"GPU power limit": "700 W", "GPU ECC": "on", "GPU clocks": "locked at 1500 MHz"}
        )
    )

    found = facts(replace(made, environment=replace(made.environment, gpus=(gpu,))))

    told = {one.name: one for one in found}
    assert told["GPU power limit"] == Fact("GPU power limit", "700 W", "500 W", is_changed=True)
    assert told["GPU clocks"] == Fact("GPU clocks", "locked at 1500 MHz", "not locked", is_changed=True)
    assert not told["GPU ECC"].is_changed


def test_a_baseline_without_settings_differs_in_none() -> None:
    gpu = Gpu(0, "GPU-a", "NVIDIA H200", (9, 0), 2**37, ecc=True)
    made = comparison()

    found = facts(replace(made, environment=replace(made.environment, gpus=(gpu,))))

    assert Fact("GPU ECC", "-", "on", is_changed=False) in found


def test_without_a_baseline_nothing_differs() -> None:
    assert not [one for one in facts(comparison(baseline=None)) if one.is_changed]


def test_phases_are_on_the_scale_of_the_slowest_engine() -> None:
    fast = replace(PREPARED, phases={"compile": PREPARED.build_s / 4, "save": PREPARED.build_s / 4})

    slow_bar, fast_bar = bars([PREPARED, fast])

    assert sum(size for _, _, _, size in slow_bar.pieces) == 100
    assert [(begin, size) for _, _, begin, size in fast_bar.pieces] == [(0, 25), (25, 25)]


def test_what_changed_is_a_line() -> None:
    assert changed(facts(comparison())) == "commit a9b8c7d → 0b1c2d3; openvino 2026.0 → 2026.1; python - → 3.11.7"
    assert changed(facts(comparison(baseline=None))) == ""
