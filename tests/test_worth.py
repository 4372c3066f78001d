"""Which cases are worth the minutes: kinds first, then engines, then further loads; never beyond the budget."""

from hypothesis import given
from hypothesis import strategies as st

from perfgate.record import CaseInfo
from perfgate.worth import Candidate, Choice, Cost, choose


def _candidate(
    engine: str, kind: str, number: int = 1, *, seconds: float = 10.0, needs: tuple[str, ...] = (), blunt: str = ""
) -> Candidate:
    case = CaseInfo(f"{engine}-{kind}{number}", engine, kind, "hash")
    return Candidate(case, Cost(20.0, seconds), needs, blunt)


def _ids(found: Choice) -> list[str]:
    return [one.case.id for one in found.chosen]


ALL = [_candidate(engine, kind) for engine in ("a", "b") for kind in ("build", "latency", "perplexity")]


def test_all_kinds_come_before_a_second_engine() -> None:
    found = choose(ALL, 60.0)

    assert {one.case.kind for one in found.chosen} == {"build", "latency", "perplexity"}
    assert {one.case.engine for one in found.chosen} == {"a"}
    assert found.seconds == 50.0


def test_what_fits_is_all_taken_and_an_engine_is_paid_once() -> None:
    found = choose(ALL, 100.0)

    assert (len(found.chosen), found.left_out, found.seconds) == (6, (), 100.0)


def test_of_two_loads_of_an_engine_one_is_left_out_first() -> None:
    found = choose([*ALL, _candidate("a", "latency", 2)], 100.0)

    (left,) = found.left_out
    assert (left.case.engine, left.case.kind) == ("a", "latency")
    assert "another load beside a-latency" in left.why


def test_a_text_brings_the_reference_that_it_is_compared_with() -> None:
    both = [_candidate("int8", "perplexity", needs=("fp32-perplexity1",)), _candidate("fp32", "perplexity")]

    found = choose(both, 60.0)

    assert _ids(found) == ["fp32-perplexity1", "int8-perplexity1"]
    assert choose(both, 59.0).left_out[0].case.id == "int8-perplexity1"


def test_a_case_whose_noise_hides_everything_gives_way() -> None:
    noisy = _candidate("a", "latency", 1, blunt="noise: itl_p10 shows 60.0 % at best here, 10.0 % is asked for")
    quiet = _candidate("b", "latency")

    found = choose([noisy, quiet], 30.0)

    assert _ids(found) == ["b-latency1"]
    assert "noise: itl_p10" in found.left_out[0].why


@given(st.floats(0.0, 200.0))
def test_the_budget_holds_and_no_case_is_lost(budget: float) -> None:
    found = choose(ALL, budget)

    assert found.seconds <= budget + 1e-6
    assert sorted([*_ids(found), *(one.case.id for one in found.left_out)]) == sorted(one.case.id for one in ALL)
