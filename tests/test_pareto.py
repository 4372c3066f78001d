"""The Pareto front: no dominated configuration on it, no undominated one missing, and noise decides nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.pareto import LEAST, Figures, Noise, Standing, dominates, dominators, merit, noise_of, standing

METRICS = ("build_s", "e2el_p95", "requests_per_s", "perplexity")
EXACT = dict.fromkeys(METRICS, Noise(0.0, 0))

values = st.lists(st.floats(0.5, 2.0), min_size=1, max_size=3).map(tuple)
points = st.fixed_dictionaries(dict.fromkeys(METRICS, values))
fields = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), points, min_size=1, max_size=6)
noises = st.fixed_dictionaries(dict.fromkeys(METRICS, st.builds(Noise, st.floats(0, 0.5), st.integers(0, 12))))


def _point(build_s: float, p95_s: float, rate: float = 1.0, perplexity: float = 5.0, rounds: int = 3) -> Figures:
    every = (build_s, p95_s, rate, perplexity)
    return {metric: (value,) * rounds for metric, value in zip(METRICS, every, strict=True)}


def _by_the_book(a: Figures, b: Figures, noise: dict[str, Noise]) -> bool:
    """Domination written out anew: nowhere clearly worse, somewhere clearly better, ahead all in all."""
    better = worse = 0
    total = 0.0
    for metric in METRICS:
        mean_a, mean_b = (math.fsum(map(math.log, one[metric])) / len(one[metric]) for one in (a, b))
        ahead = (mean_a - mean_b) * (1 if metric == "requests_per_s" else -1)
        limit = noise[metric].limit(len(a[metric]), len(b[metric]))
        better, worse = better + (ahead > limit), worse + (-ahead > limit)
        total += ahead / max(noise[metric].sd, LEAST)
    return worse == 0 < better and total > 1e-9


@given(fields, noises)
def test_the_front_is_what_nothing_dominates(field: dict[str, Figures], noise: dict[str, Noise]) -> None:
    by = dominators(field, noise)

    assert by.keys() == field.keys()
    for name, mine in field.items():
        expected = {other for other, theirs in field.items() if other != name and _by_the_book(theirs, mine, noise)}
        close = {other for other in field if abs(merit(field[other], noise) - merit(mine, noise)) <= 1e-6}
        assert set(by[name]) - close == expected - close


@given(fields, noises)
def test_the_front_is_never_empty_and_dominates_the_rest(field: dict[str, Figures], noise: dict[str, Noise]) -> None:
    by = dominators(field, noise)

    front = {name for name, others in by.items() if not others}
    reached = set(front)
    while fresh := {name for name, others in by.items() if name not in reached and set(others) & reached}:
        reached |= fresh

    assert front
    assert reached == set(field)


@given(points, points, noises)
def test_two_never_dominate_each_other(a: Figures, b: Figures, noise: dict[str, Noise]) -> None:
    assert not (dominates(a, b, noise) and dominates(b, a, noise))
    assert not dominates(a, a, noise)


@given(points, points, noises, st.floats(0.1, 10.0))
def test_units_do_not_matter(a: Figures, b: Figures, noise: dict[str, Noise], factor: float) -> None:
    scaled = [{metric: tuple(value * factor for value in one[metric]) for metric in METRICS} for one in (a, b)]

    leads = [abs(merit(a, noise) - merit(b, noise))]
    if min(leads) > 1e-6 and not _is_at_a_limit(a, b, noise):
        assert dominates(scaled[0], scaled[1], noise) is dominates(a, b, noise)


def _is_at_a_limit(a: Figures, b: Figures, noise: dict[str, Noise]) -> bool:
    """Whether rounding could move a difference over its limit."""
    for metric in METRICS:
        mean_a, mean_b = (math.fsum(map(math.log, one[metric])) / len(one[metric]) for one in (a, b))
        if abs(abs(mean_a - mean_b) - noise[metric].limit(len(a[metric]), len(b[metric]))) < 1e-9:
            return True
    return False


def test_a_cycle_that_noise_would_allow_does_not_empty_the_front() -> None:
    """Each is clearly better than the next in one metric, and within the noise of it in the others."""
    noise = {metric: Noise(0.5, 0) for metric in METRICS}
    low, middle, high = 1.0, math.exp(0.5), math.exp(1.0)
    field = {
        "a": _point(low, middle, 1 / high),
        "b": _point(high, low, 1 / middle),
        "c": _point(middle, high, 1 / low),
    }

    assert all(not others for others in dominators(field, noise).values())


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [(1.30, Standing.BETTER), (1.02, Standing.SAME), (0.98, Standing.SAME), (0.7, Standing.WORSE)],
)
def test_only_what_exceeds_the_spread_counts(ahead: float, expected: Standing) -> None:
    noise = Noise(0.02, 6)  # two rounds each: beyond 2.45 x 2 % = 4.9 %

    assert standing("e2el_p95", {"e2el_p95": (1.0, 1.0)}, {"e2el_p95": (ahead, ahead)}, noise) is expected


def test_more_rounds_tell_smaller_differences_apart() -> None:
    few, many = Noise(0.02, 6).limit(2, 2), Noise(0.02, 60).limit(20, 20)

    assert few == pytest.approx(2.447 * 0.02, rel=1e-3)
    assert many < few / 3


def test_a_faster_build_that_is_as_good_otherwise_dominates() -> None:
    by = dominators({"dear": _point(20, 0.1), "cheap": _point(10, 0.1)}, EXACT)

    assert by == {"dear": ("cheap",), "cheap": ()}


def test_what_is_better_in_anything_stays_on_the_front() -> None:
    by = dominators({"dear": _point(20, 0.1), "cheap": _point(10, 0.2), "exact": _point(30, 0.3, perplexity=4)}, EXACT)

    assert not any(by.values())


def test_noise_is_pooled_over_configurations_and_assumed_where_there_is_one_round() -> None:
    several = [{"build_s": (1.0, math.e)}, {"build_s": (5.0, 5.0)}]
    single = [{"build_s": (1.0,)}, {"build_s": (3.0,)}]

    assert noise_of("build_s", several, 0.1) == Noise(pytest.approx(0.5), 2)
    assert noise_of("build_s", single, 0.1) == Noise(0.1, 0)
    assert noise_of("perplexity", [{"perplexity": (5.0,)}], 0.1) == Noise(0.0, 0)
