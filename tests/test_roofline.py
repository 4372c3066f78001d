"""Shares of a device's limits, least times, and what bounds a phase."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.errors import RecordError
from perfgate.record import decode, encode
from perfgate.roofline import Bound, Ceilings, Demand, Limits, Rate, Work, decode_step_s, distance, shares


def rate(value: float) -> Rate:
    return Rate(value, value * 0.9, value * 1.1, 10)


CEILINGS = Ceilings("sm_90/x", "X", {"torch": "2"}, "2026-01-01", rate(1e12), {"bf16": rate(1e14)}, 50_000_000)
DEMAND = Demand(("bf16",), Work(1e10, 1e10), Work(1e10, 1e13))
LIMITS = Limits(CEILINGS, {"a-b1": DEMAND})
AMOUNTS = st.floats(1e6, 1e15)


def test_mbu_is_bytes_over_step_time_over_bandwidth() -> None:
    assert shares({"itl_p50": 0.02}, DEMAND, CEILINGS) == {"mbu_decode": pytest.approx(0.5)}


def test_mfu_is_flops_over_time_to_first_token_over_the_matrix_rate() -> None:
    assert shares({"ttft_p50": 0.4}, DEMAND, CEILINGS) == {"mfu_prefill": pytest.approx(0.25)}


def test_a_step_under_speculation_gives_several_tokens() -> None:
    speculative = replace(DEMAND, is_speculative=True)

    assert decode_step_s({"tpot_mean": 0.01, "acceptance_len": 2.5, "itl_p50": 9.0}, speculative) == 0.025
    assert decode_step_s({"tpot_mean": 0.01, "itl_p50": 0.01}, speculative) is None


def test_without_a_rate_of_its_precision_there_is_no_mfu() -> None:
    assert shares({"ttft_p50": 1.0}, replace(DEMAND, rates=("fp8",)), CEILINGS) == {}


def test_the_first_known_rate_counts() -> None:
    asked = replace(DEMAND, rates=("int8", "bf16"))

    assert shares({"ttft_p50": 0.4}, asked, CEILINGS) == {"mfu_prefill": pytest.approx(0.25)}


@pytest.mark.parametrize(
    ("work", "seconds", "bound", "times"),
    [
        (Work(1e10, 1e10), 0.0125, Bound.MEMORY, 1.25),
        (Work(1e8, 1e13), 0.125, Bound.COMPUTE, 1.25),
        (Work(1e10, 1e10), 0.05, Bound.NEITHER, 5.0),
        (Work(1e10, 1e10), 0.005, Bound.MEMORY, 0.5),
    ],
    ids=["memory", "compute", "overhead", "above the limit"],
)
def test_what_bounds_a_phase(work: Work, seconds: float, bound: Bound, times: float) -> None:
    found = distance(work, seconds, DEMAND, CEILINGS)

    assert found is not None
    assert found.bound is bound
    assert found.times == pytest.approx(times)


def test_memory_is_no_limit_to_what_fits_in_the_cache() -> None:
    found = distance(Work(4e7, 1e9), 1e-5, DEMAND, CEILINGS)

    assert found is not None
    assert found.of_memory is None
    assert found.bound is Bound.COMPUTE
    assert distance(Work(4e7, 1e9), 1e-5, replace(DEMAND, rates=("fp8",)), CEILINGS) is None


@given(AMOUNTS, AMOUNTS, st.floats(1e-6, 1e3), st.floats(1.01, 100))
def test_longer_is_further_and_more_work_is_nearer(moved: float, flops: float, seconds: float, more: float) -> None:
    plain = replace(CEILINGS, cache_bytes=None)
    here, slower, harder = (
        distance(work, time, DEMAND, plain)
        for work, time in (
            (Work(moved, flops), seconds),
            (Work(moved, flops), seconds * more),
            (Work(moved, flops) * more, seconds),
        )
    )

    assert here is not None
    assert slower is not None
    assert harder is not None
    assert slower.times == pytest.approx(here.times * more)
    assert harder.times == pytest.approx(here.times / more)


def test_limits_survive_json() -> None:
    assert decode(encode(LIMITS), Limits, "here") == LIMITS


def test_a_rate_that_cannot_be_is_refused_in_files_too() -> None:
    broken = encode(LIMITS).replace(b'"low":900000000000.0', b'"low":0.0')

    with pytest.raises(RecordError, match="cannot be"):
        decode(broken, Limits, "here")


def test_a_disturbed_measurement_is_doubted() -> None:
    assert CEILINGS.doubt == ""
    assert "took 40 %" in replace(CEILINGS, foreign_share=0.4).doubt
    assert "best copy was 50 % faster" in replace(CEILINGS, copy_bytes_per_s=Rate(1.0, 0.9, 1.5, 9)).doubt
