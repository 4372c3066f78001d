from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.errors import UsageError
from perfgate.load.lengths import Fixed, Histogram, Normal, Uniform, parse_lengths, read_histogram

SEEDS = st.integers(0, 2**32)


def drawn(lengths: Fixed | Uniform | Normal | Histogram, count: int, seed: int) -> list[int]:
    return [int(length) for length in lengths.draw(count, np.random.default_rng(seed))]


@given(st.integers(1, 4000), SEEDS)
def test_a_fixed_length_is_that_length(tokens: int, seed: int) -> None:
    assert drawn(parse_lengths(str(tokens)), 20, seed) == [tokens] * 20


@given(st.integers(1, 4000), st.integers(0, 4000), SEEDS)
def test_a_uniform_range_holds_both_ends(low: int, more: int, seed: int) -> None:
    lengths = parse_lengths(f"uniform:{low}:{low + more}")

    found = drawn(lengths, 50, seed)

    assert lengths.least == low
    assert all(low <= length <= low + more for length in found)
    assert found == drawn(lengths, 50, seed)


def test_both_ends_of_a_range_are_drawn() -> None:
    assert set(drawn(Uniform(3, 5), 200, 0)) == {3, 4, 5}


@given(st.floats(10, 2000), st.floats(1, 500), st.integers(1, 5), st.integers(3000, 5000), st.booleans(), SEEDS)
def test_a_cut_distribution_stays_within_its_bounds(
    mean: float,
    sd: float,
    low: int,
    high: int,
    is_log: bool,  # noqa: FBT001 - hypothesis
    seed: int,
) -> None:
    lengths = Normal(mean, sd, low, high, is_log)

    assert all(low <= length <= high for length in drawn(lengths, 100, seed))


@pytest.mark.parametrize("is_log", [False, True])
def test_mean_and_deviation_are_those_of_the_lengths(is_log: bool) -> None:  # noqa: FBT001
    found = np.array(drawn(Normal(500.0, 100.0, 1, 100_000, is_log), 20_000, 0))

    assert abs(found.mean() - 500) < 4  # five standard errors
    assert abs(found.std() - 100) < 4


def test_what_lies_outside_is_not_moved_to_the_bounds() -> None:
    found = drawn(Normal(100.0, 50.0, 100, 110), 4000, 0)

    assert abs(sum(length == 110 for length in found) / 4000 - 1 / 11) < 0.03
    assert abs(sum(length == 100 for length in found) / 4000 - 1 / 11) < 0.03


def test_bounds_that_hold_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match=r"normal:10:1:1000:2000 lies within its bounds"):
        drawn(Normal(10.0, 1.0, 1000, 2000), 1, 0)


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "-1", "1.5", "1e3", "99999999999", "gamma:1:2"),
        *("uniform:1", "uniform:5:4", "uniform:0:4", "uniform:1:2:3", "uniform:1:nan"),
        *(
            "normal:5:1:1",
            "normal:0:1:1:2",
            "normal:5:0:1:9",
            "normal:nan:1:1:9",
            "normal:5:inf:1:9",
            "lognormal:5:1:9:1",
        ),
    ],
)
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"found|above"):
        parse_lengths(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"128": 3, "256": 1}'),
        ("a.json", "[[128, 3], [256, 1]]"),
        ("a.csv", "128,3\n256,1\n"),
        ("a.csv", "length,weight\r\n128,3\r\n\r\n256,1\r\n"),
    ],
)
def test_a_histogram_is_drawn_by_its_weights(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)

    lengths = parse_lengths(name, tmp_path)

    assert lengths == Histogram((128, 256), (3.0, 1.0))
    assert lengths.least == 128
    found = drawn(lengths, 4000, 0)
    assert set(found) == {128, 256}
    assert abs(found.count(128) / 4000 - 0.75) < 0.035


def test_the_least_length_is_one_that_can_be_drawn() -> None:
    assert Histogram((1, 5, 9), (0.0, 1.0, 1.0)).least == 5


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "{"),
        ("a.json", "3"),
        ("a.json", "[1, 2]"),
        ("a.json", "[[1, 2, 3]]"),
        ("a.json", '{"a": 1}'),
        ("a.json", '{"0": 1}'),
        ("a.json", '{"5": -1}'),
        ("a.json", '{"5": true}'),
        ("a.json", '{"5": 0}'),
        ("a.json", '{"5": NaN}'),
        ("a.json", "{}"),
        ("a.csv", "length\n1\n"),
        ("a.csv", "1,2,3\n"),
        ("a.csv", ""),
    ],
)
def test_a_histogram_that_is_none_is_refused_by_name(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(UsageError, match=r"the histogram .*a\.(json|csv)|found a length"):
        read_histogram(tmp_path / name)


def test_a_missing_histogram_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        parse_lengths("none.json", tmp_path)


@given(st.dictionaries(st.integers(1, 9999), st.floats(0.001, 1e6), min_size=1, max_size=20), SEEDS)
def test_a_histogram_gives_only_what_it_holds(entries: dict[int, float], seed: int) -> None:
    found = drawn(Histogram(tuple(entries), tuple(entries.values())), 50, seed)

    assert set(found) <= set(json.loads(json.dumps(list(entries))))
