"""The self-test of a baseline finds two levels and drift, and leaves plain noise alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfgate.halves import discords
from perfgate.metrics import CATALOGUE
from perfgate.record import CaseInfo, CaseRound, DocumentScore, Environment, PreparedInfo, Round, Run, Side
from perfgate.terms import Gate, Noise

NAMES = ("ttft_p50", "itl_p50", "output_tokens_per_s")
GATE = Gate(tuple(CATALOGUE[name] for name in NAMES), Noise(0.02, 0.20, 0.03))


def _run(values: Sequence[float], name: str = "itl_p50") -> Run:
    rounds = tuple(
        Round("e", Side.CANDIDATE, i, "", 1.0, (CaseRound("e-c", {name: value}),)) for i, value in enumerate(values)
    )
    environment = Environment("cpu/x", "A CPU", {}, "")
    cases, prepared = (CaseInfo("e-c", "e", "latency", "00ff"),), (PreparedInfo("e", "k", False, {}, 1, {}),)
    return Run("s", "2026-01-14T08:00:00+00:00", environment, cases, prepared, rounds)


GATE_OF_ITL = replace(GATE, metrics=(CATALOGUE["itl_p50"],))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([100, 123, 101, 124, 99, 122], "e-c itl_p50: rounds 2, 4, 6 are 23.0 % worse than 1, 3, 5; they alternate"),
        ([123, 100, 124, 101, 122, 99], "e-c itl_p50: rounds 1, 3, 5 are 23.0 % worse than 2, 4, 6; they alternate"),
        ([100, 101, 99, 123, 124, 122], "e-c itl_p50: rounds 4, 5, 6 are 23.0 % worse than 1, 2, 3; the level shifted"),
        ([100, 130, 101, 131], "e-c itl_p50: rounds 2, 4 are 29.9 % worse than 1, 3; they alternate"),
        ([100, 200, 101, 201, 99], "e-c itl_p50: rounds 2, 4 are 100.5 % worse than 1, 3, 5; they alternate"),
        ([100, 1000, 101, 1001, 99], "e-c itl_p50: rounds 2, 4 are 900.5 % worse than 1, 3, 5; they alternate"),
    ],
)
def test_two_levels_are_found_with_rounds_and_size(values: list[float], words: str) -> None:
    (found,) = discords(_run(values), GATE_OF_ITL)

    assert str(found).startswith(words)


def test_a_steady_drift_is_found() -> None:
    drifting = [100 * 1.06**i for i in range(10)]

    (found,) = discords(_run(drifting), GATE_OF_ITL)

    assert found.is_shift
    assert found.slow == (6, 7, 8, 9, 10)


def test_a_drop_of_throughput_is_the_worse_half() -> None:
    gate = replace(GATE, metrics=(CATALOGUE["output_tokens_per_s"],))

    (found,) = discords(_run([100, 70, 101, 71, 99, 69], "output_tokens_per_s"), gate)

    assert found.slow == (2, 4, 6)


@pytest.mark.parametrize("values", [[100], [100, 200], [100, 100, 100], [100, 200, 101], [100, 101, 99, 102, 98]])
def test_steady_rounds_agree_and_a_single_one_condemns_nobody(values: list[float]) -> None:
    assert discords(_run(values), GATE_OF_ITL) == []


def test_rounds_that_do_not_count_are_not_looked_at() -> None:
    run = _run([100, 101, 99, 500, 100, 102])
    bad = replace(run.rounds[3], fault="disturbed")

    assert discords(replace(run, rounds=(*run.rounds[:3], bad, *run.rounds[4:])), GATE_OF_ITL) == []


def test_a_text_that_was_scored_once_is_no_discord() -> None:
    scores = {f"d{i}": DocumentScore(20.0 + i, 10, 40) for i in range(4)}
    run = _run([100] * 5)
    first = replace(run.rounds[0], cases=(CaseRound("e-c", {"perplexity": 28.0}, documents=scores),))
    text = replace(run, cases=(CaseInfo("e-c", "e", "perplexity", "00ff"),), rounds=(first, *run.rounds[1:]))

    assert discords(text, replace(GATE, metrics=(CATALOGUE["perplexity"],))) == []


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.sampled_from([3, 5, 6, 10]), st.sampled_from([0.002, 0.01, 0.02]))
def test_noise_as_large_as_stated_or_smaller_is_left_alone(seed: int, count: int, sd: float) -> None:
    """Measured: no refusal among 1,440 cases (docs/baselines.md); the bound of theory is 6 alpha a case."""
    values = 100 * np.exp(np.random.default_rng(seed).normal(0, sd, count))

    assert discords(_run([float(value) for value in values]), GATE_OF_ITL) == []


@settings(max_examples=30)
@given(st.lists(st.floats(1e-6, 1e6), min_size=3, max_size=8), st.floats(1e-3, 1e3))
def test_the_scale_of_values_does_not_matter(values: list[float], factor: float) -> None:
    scaled = [value * factor for value in values]

    assert len(discords(_run(values), GATE_OF_ITL)) == len(discords(_run(scaled), GATE_OF_ITL))
