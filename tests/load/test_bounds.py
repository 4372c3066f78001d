"""What a server may answer, by what was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from perfgate.errors import UsageError
from perfgate.load.bounds import Bounds, answer_bytes

_EVENT = 500 + 512  # a large event of a real server with what its read takes in memory
_ALTERNATIVE = 130  # a token's log probability in a chat answer, with its bytes as numbers


@pytest.mark.parametrize(
    ("body", "larger"),
    [
        ({}, _EVENT),
        ({"logprobs": True, "top_logprobs": 20}, _EVENT + 21 * _ALTERNATIVE),
        ({"logprobs": 100}, _EVENT + 101 * _ALTERNATIVE),
        ({"logprobs": None, "top_logprobs": "many"}, _EVENT),
    ],
)
def test_what_real_servers_send_is_within_the_bounds(body: dict[str, Any], larger: int) -> None:
    answer = answer_bytes(body, 1000, 4000)

    assert 4000 * larger < answer < 20 * 4000 * larger
    assert Bounds().when_given_up(answer) < Bounds().of_response(answer)


def test_no_response_is_bounded_by_less_than_the_base_or_more_than_the_most() -> None:
    few, many = answer_bytes({}, 8, 4), answer_bytes({}, 8, 10**6)

    assert 1 << 20 < Bounds().of_response(few) < 2 << 20
    assert Bounds().of_response(many) == 256 << 20


@pytest.mark.parametrize("name", ["response_bytes", "most_response_bytes", "run_bytes", "cut_bytes"])
def test_a_bound_is_above_0(name: str) -> None:
    with pytest.raises(UsageError, match=f"bounds.{name}: found 0"):
        Bounds(**{name: 0})
