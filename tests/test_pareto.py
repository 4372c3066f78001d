"""The Pareto front: no dominated configuration on it, no undominated one missing, and noise decides nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from perfgate.pareto import SLACK, Figures, Noise, Standing, dominates, dominators, noise_of, standing

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
        ahead, limit = _ahead(metric, a, b), noise[metric].limit(len(a[metric]), len(b[metric]))
        better, worse = better + (ahead > limit), worse + (-ahead > min(limit, SLACK))
        total += ahead
    return worse == 0 < better and total > 0


def _ahead(metric: str, a: Figures, b: Figures) -> float:
    mean_a, mean_b = (math.fsum(map(math.log, one[metric])) / len(one[metric]) for one in (a, b))
    return (mean_a - mean_b) * (1 if metric == "requests_per_s" else -1)


def _is_close_call(a: Figures, b: Figures, noise: dict[str, Noise]) -> bool:
    """Whether rounding could decide."""
    leads = {metric: _ahead(metric, a, b) for metric in METRICS}
    limits = {metric: noise[metric].limit(len(a[metric]), len(b[metric])) for metric in METRICS}
    edges = [abs(leads[name]) - edge for name in METRICS for edge in (limits[name], SLACK)]
    return min(map(abs, [*edges, sum(leads.values())])) < 1e-9


@given(fields, noises)
def test_the_front_is_what_nothing_dominates(field: dict[str, Figures], noise: dict[str, Noise]) -> None:
    by = dominators(field, noise)

    assert by.keys() == field.keys()
    for name, mine in field.items():
        others = {other: theirs for other, theirs in field.items() if other != name}
        clear = {other for other, theirs in others.items() if not _is_close_call(theirs, mine, noise)}
        assert set(by[name]) & clear == {other for other in clear if _by_the_book(others[other], mine, noise)}


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

    assume(not _is_close_call(a, b, noise))
    assert dominates(scaled[0], scaled[1], noise) is dominates(a, b, noise)


def test_a_circle_that_slack_would_allow_does_not_empty_the_front() -> None:
    """Each is clearly better than the next in one metric, and behind it by a little in the others."""
    low, middle, high = 1.0, math.exp(0.004), math.exp(0.008)  # LEAST lies between one step and two
    field = {
        "a": _point(low, middle, 1 / high),
        "b": _point(high, low, 1 / middle),
        "c": _point(middle, high, 1 / low),
    }

    assert any(not others for others in dominators(field, EXACT).values())


def test_noise_takes_nothing_off_the_front_that_looks_better() -> None:
    """Memory speaks clearly against the second; that it looks twice as fast is within the noise of its latency."""
    noise = {"peak_memory_bytes": Noise(0.001, 10), "e2el_p95": Noise(1.0, 10)}
    small = {"peak_memory_bytes": (100.0,) * 3, "e2el_p95": (0.2,) * 3}
    fast = {"peak_memory_bytes": (110.0,) * 3, "e2el_p95": (0.1,) * 3}
    neither = {"peak_memory_bytes": (110.0,) * 3, "e2el_p95": (0.2,) * 3}

    by = dominators({"small": small, "fast": fast, "neither": neither}, noise)

    assert by == {"small": (), "fast": (), "neither": ("small",)}


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

    pooled = noise_of("build_s", several, 0.1)
    assert pooled.df == 2
    assert pooled.sd == pytest.approx(0.5)
    assert noise_of("build_s", single, 0.1) == Noise(0.1, 0)
    assert noise_of("perplexity", [{"perplexity": (5.0,)}], 0.1) == Noise(0.0, 0)
