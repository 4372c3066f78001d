from __future__ import annotations

from dataclasses import replace

from examples import BASELINE, PREPARED, comparison

from perfgate.report.around import bars, facts


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


def test_without_a_baseline_nothing_differs() -> None:
    assert not [one for one in facts(comparison(baseline=None)) if one.is_changed]


def test_phases_are_on_the_scale_of_the_slowest_engine() -> None:
    fast = replace(PREPARED, phases={"compile": PREPARED.build_s / 4, "save": PREPARED.build_s / 4})

    slow_bar, fast_bar = bars([PREPARED, fast])

    assert sum(size for _, _, _, size in slow_bar.pieces) == 100
    assert [(begin, size) for _, _, begin, size in fast_bar.pieces] == [(0, 25), (25, 25)]
