from __future__ import annotations

import pytest

from perfgate.boundness import Bound, waits_for
from perfgate.spread import Spread

QUIET, MIDDLING, WILD = Spread(0.002, 20), Spread(0.03, 20), Spread(0.2, 20)


@pytest.mark.parametrize(
    ("busy", "rounds", "bound"),
    [
        (0.98, QUIET, Bound.GPU),
        (0.98, None, Bound.GPU),
        (0.98, WILD, Bound.UNKNOWN),  # the two contradict each other
        (0.8, QUIET, Bound.UNKNOWN),
        (0.3, WILD, Bound.HOST),
        (0.3, QUIET, Bound.HOST),
        (None, QUIET, Bound.UNKNOWN),
        (None, WILD, Bound.UNKNOWN),
        (1.7, QUIET, Bound.UNKNOWN),
    ],
)
def test_a_gpu_metric_is_classified_only_where_a_counter_tells(
    busy: float | None, rounds: Spread | None, bound: Bound
) -> None:
    assert waits_for(is_gpu=True, busy=busy, rounds=rounds).bound is bound


@pytest.mark.parametrize(
    ("rounds", "words"),
    [(QUIET, "device-bound"), (WILD, "host-bound"), (MIDDLING, "either"), (None, "no counter tells")],
)
def test_noise_alone_is_a_hint_and_said_to_be_one(rounds: Spread | None, words: str) -> None:
    found = waits_for(is_gpu=True, busy=None, rounds=rounds)

    assert found.bound is Bound.UNKNOWN
    assert "not known here" in found.reason
    assert words in found.reason


def test_a_cpu_engine_is_neither() -> None:
    assert waits_for(is_gpu=False, busy=None, rounds=WILD).bound is Bound.CPU_ENGINE
