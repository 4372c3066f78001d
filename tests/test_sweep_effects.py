"""Effects of an axis's values: against the cheapest to build, all else equal, with intervals over pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import pytest

from perfgate.pareto import Figures, Noise
from perfgate.sweep_effects import Basis, Effect, effects_of

QUIET = {"build_s": Noise(0.01, 10), "e2el_p95": Noise(0.01, 10)}


@dataclass(frozen=True)
class Made:
    values: tuple[tuple[str, str], ...]
    figures: Figures


def _made(build: Mapping[str, float], latency: Mapping[str, float], others: Sequence[float] = (1, 2, 4)) -> list[Made]:
    """Every length under every batch size; the batch size multiplies whatever the length gives."""
    return [
        Made((("len", length), ("bs", f"{factor:g}")), {
            "build_s": (build[length] * factor,) * 3, "e2el_p95": (latency[length] * factor,) * 3,
        })
        for length, factor in product(build, others)
    ]  # fmt: skip


def _of_len(made: Sequence[Made], noises: Mapping[str, Noise] = QUIET) -> list[Effect]:
    values = tuple(dict.fromkeys(dict(one.values)["len"] for one in made))
    return list(effects_of(made, [("len", values)], noises))


def test_a_dear_value_without_a_gain_is_told_with_its_factor() -> None:
    (effect,) = _of_len(_made({"2k": 10, "32k": 21}, {"2k": 0.1, "32k": 0.1}))

    assert (effect.value, effect.against, effect.pairs) == ("32k", "2k", 3)
    (cost,) = effect.costs
    assert cost.metric == "build_s"
    assert cost.ratio == pytest.approx(2.1)
    assert cost.basis is Basis.PAIRS
    assert not effect.gains


def test_the_cheapest_is_chosen_by_build_time_all_else_equal() -> None:
    effects = _of_len(_made({"a": 30, "b": 10, "c": 20}, {"a": 0.1, "b": 0.2, "c": 0.3}))

    assert {one.value: one.against for one in effects} == {"a": "b", "c": "b"}
    assert [change.metric for change in effects[0].gains] == ["e2el_p95"]


def test_of_values_that_build_alike_the_first_is_the_reference() -> None:
    effects = _of_len(_made({"a": 10.02, "b": 10.0}, {"a": 0.1, "b": 0.2}))

    assert [one.against for one in effects] == ["a"]


def test_the_interval_is_that_of_the_pairs() -> None:
    made = _made({"a": 10, "b": 20}, {"a": 0.1, "b": 0.1})
    wild = [
        Made(one.values, {**one.figures, "e2el_p95": (0.1 * factor,) * 3})
        for one, factor in zip(made, [1, 1, 1, 1.1, 1.2, 1.3], strict=True)
    ]

    change = next(one for one in _of_len(wild)[0].changes if one.metric == "e2el_p95")

    logs = [math.log(factor) for factor in (1.1, 1.2, 1.3)]
    mean = sum(logs) / 3
    sd = math.sqrt(sum((one - mean) ** 2 for one in logs) / 2)
    assert change.ratio == pytest.approx(math.exp(mean))
    assert change.high == pytest.approx(math.exp(mean + 4.3027 * sd / math.sqrt(3)), rel=1e-4)
    assert not change.is_clear


def test_few_pairs_take_the_rounds_noise() -> None:
    made = _made({"a": 10, "b": 20}, {"a": 0.10, "b": 0.101}, others=(1,))

    (effect,) = _of_len(made, {"build_s": Noise(0.01, 10), "e2el_p95": Noise(0.05, 10)})

    assert {one.basis for one in effect.changes} == {Basis.ROUNDS}
    assert [one.metric for one in effect.costs] == ["build_s"]


def test_configurations_that_differ_in_more_than_the_axis_are_no_pair() -> None:
    made = _made({"a": 10, "b": 20}, {"a": 0.1, "b": 0.2})
    apart = [one for one in made if (dict(one.values)["len"] == "a") == (dict(one.values)["bs"] == "1")]

    assert _of_len(apart) == []
