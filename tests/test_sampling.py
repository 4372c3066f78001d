"""Spread against samples: the floor that is the process itself, and what samples bring."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.sampling import sample_curve, summary_of


def _pairs(process: float, sample: float, samples: int = 64, pairs: int = 200) -> list[tuple[list[float], list[float]]]:
    rng = np.random.default_rng(17)

    def side() -> list[float]:
        return list(np.exp(process * rng.standard_normal() + sample * rng.standard_normal(samples)))

    return [(side(), side()) for _ in range(pairs)]


def test_noise_of_processes_is_a_floor_that_samples_do_not_lower() -> None:
    found = sample_curve(_pairs(process=0.03, sample=0.02), summary_of("mean"))

    assert found is not None
    assert found.floor == pytest.approx(0.03 * 2**0.5, rel=0.15)
    assert found.at(10_000) == pytest.approx(found.floor, rel=0.01)


def test_noise_of_samples_falls_with_their_root() -> None:
    found = sample_curve(_pairs(process=0.0, sample=0.2), summary_of("mean"))

    assert found is not None
    assert found.at(64) == pytest.approx(0.2 * (2 / 64) ** 0.5, rel=0.15)
    assert found.at(256) < 0.65 * found.at(64)


@given(st.floats(0.001, 0.1), st.floats(0.001, 0.3))
def test_more_samples_are_never_noisier(process: float, sample: float) -> None:
    found = sample_curve(_pairs(process, sample, pairs=4), summary_of("p50"))

    assert found is not None
    assert found.floor <= found.at(128) <= found.at(64) <= found.at(32)


@pytest.mark.parametrize("pairs", [_pairs(0.1, 0.1, pairs=1), _pairs(0.1, 0.1, samples=15), []])
def test_too_little_makes_no_curve(pairs: list[tuple[list[float], list[float]]]) -> None:
    assert sample_curve(pairs, summary_of("mean")) is None


def test_rounds_that_never_differ_have_no_noise() -> None:
    found = sample_curve([([1.0] * 64, [1.0] * 64)] * 3, summary_of("tmean"))

    assert found is not None
    assert (found.floor, found.noise) == (0, 0)


def test_summaries_are_those_of_the_metrics() -> None:
    values = np.arange(1.0, 101.0)

    assert [summary_of(name)(values) for name in ("mean", "tmean", "p50")] == [50.5, 50.5, 50.5]
    assert summary_of("p10")(values) == pytest.approx(10.9)
