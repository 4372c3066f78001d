from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.errors import RecordError
from perfgate.floats import Floats
from perfgate.record import CaseRound, decode, encode

NUMBERS = st.lists(st.floats(allow_nan=False, allow_infinity=False))


@given(NUMBERS, NUMBERS)
def test_numbers_are_kept_to_the_last_bit_and_compare_as_tuples_do(one: list[float], other: list[float]) -> None:
    packed = Floats(one)

    assert list(packed) == packed.as_list() == one
    assert [packed[at] for at in range(len(packed))] == one
    assert packed[1:] == Floats(one[1:])
    assert (packed == Floats(other)) == (one == other)
    assert hash(packed) == hash(Floats(one))


@pytest.mark.parametrize(
    "wrong", ['"ab"', "1.5", '{"a": 1}', '["1"]', "[true]", "[null]", "[[1.0]]", f"[1{'0' * 400}]"]
)
def test_what_is_no_list_of_numbers_is_refused_by_name(wrong: str) -> None:
    text = f'{{"case": "c", "values": {{}}, "samples": {{"ttft": {wrong}}}}}'.encode()

    with pytest.raises(RecordError, match=r"run\.json is damaged or not a perfgate file"):
        decode(text, CaseRound, "run.json")


def test_a_record_holds_them_as_a_list() -> None:
    case = CaseRound("c", {}, {"ttft": Floats([1, 0.25])})

    assert b'"samples":{"ttft":[1.0,0.25]}' in encode(case)
    assert decode(encode(case), CaseRound, "x") == case
