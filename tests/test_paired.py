"""The interval of a paired change: symmetric, scale-free, honest about few documents and skewed ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from perfgate.paired import MOST_MORE, PairedChange, paired_change, why_not_paired
from perfgate.record import DocumentScore

LOSSES = st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=30)


def _scores(per_token: list[float], tokens: int | list[int] = 500) -> dict[str, DocumentScore]:
    counts = [tokens] * len(per_token) if isinstance(tokens, int) else tokens
    pairs = zip(per_token, counts, strict=True)
    return {f"d{i:03}": DocumentScore(value * count, count, count * 3) for i, (value, count) in enumerate(pairs)}


def _change(losses: list[float], metric: str = "perplexity") -> PairedChange:
    return paired_change(metric, _scores([1.7] * len(losses)), _scores([1.7 + loss for loss in losses]))


@given(LOSSES)
def test_documents_of_one_length_give_students_t(losses: list[float]) -> None:
    found = _change(losses)

    assert found.size == pytest.approx(np.mean(losses), abs=1e-12)
    assert found.error == pytest.approx(np.std(losses, ddof=1) / math.sqrt(len(losses)), abs=1e-12)
    assert found.df == pytest.approx(len(losses) - 1)


@given(LOSSES)
def test_swapping_the_sides_mirrors_the_interval(losses: list[float]) -> None:
    before, after = _scores([1.7] * len(losses)), _scores([1.7 + loss for loss in losses])

    there, back = paired_change("perplexity", before, after), paired_change("perplexity", after, before)

    assert there.size == pytest.approx(-back.size, abs=1e-12)
    assert there.above(0.99) == pytest.approx(back.below(0.99), rel=1e-6, abs=1e-12)


@given(LOSSES, st.floats(0.8, 0.9999))
def test_no_bound_is_nearer_than_students(losses: list[float], share: float) -> None:
    found = _change(losses)

    t = found.error * stats.t.ppf(share, found.df)

    assert min(found.above(share), found.below(share)) >= t * (1 - 1e-9)


def test_few_documents_that_lose_much_push_the_upper_bound_out() -> None:
    found = _change([0.0] * 18 + [0.3, 0.5])

    assert found.skew > 0
    assert found.above(0.99) > 1.2 * found.below(0.99)


def test_a_text_that_is_mostly_one_document_has_hardly_any_degrees_of_freedom() -> None:
    sizes = [100_000, *[100] * 19]

    found = paired_change("perplexity", _scores([1.7] * 20, sizes), _scores([1.72] * 20, sizes))

    assert found.df == 1.0


def test_a_single_document_decides_nothing() -> None:
    found = _change([0.02])

    assert found.above(0.99) == math.inf
    assert found.documents_to(0.01, 0.99) is None


def test_bits_per_byte_change_by_the_ratio_of_summed_scores() -> None:
    found = paired_change("bits_per_byte", _scores([1.0, 2.0]), _scores([1.1, 2.2]))

    assert math.expm1(found.size) == pytest.approx(0.1)


@given(st.floats(0.001, 0.05), st.integers(5, 200))
def test_so_many_documents_put_the_limit_outside(distance: float, documents: int) -> None:
    now = PairedChange(0.02, 0.01, documents - 1.0, documents)

    more = now.documents_to(0.02 + distance, 0.996)

    if more is not None:
        then = PairedChange(0.02, 0.01 * math.sqrt(documents / (documents + more)), now.df, documents + more)
        assert then.above(0.996) <= distance * (1 + 1e-9)


def test_a_change_at_its_limit_is_decided_by_no_number_of_documents() -> None:
    now = PairedChange(0.02, 0.01, 39.0, 40)

    assert now.documents_to(0.02, 0.99) is None
    assert now.documents_to(0.02 + 1e-5, 0.99) is None
    assert (now.documents_to(0.03, 0.99) or 0) <= MOST_MORE * 40


def _coverage(shape: str, texts: int = 1500) -> float:
    """Share of simulated texts of 40 documents whose 99 % interval holds the truth."""
    rng, held = np.random.default_rng(5), 0
    for _ in range(texts):
        noise = rng.standard_normal(40) if shape == "normal" else rng.standard_t(3, 40)
        found = _change((0.03 + 0.02 * noise).tolist())
        held += -found.above(0.995) <= found.size - 0.03 <= found.below(0.995)
    return held / texts


@pytest.mark.parametrize("shape", ["normal", "student3"])
def test_the_interval_holds_the_truth_as_often_as_it_says(shape: str) -> None:
    assert 0.982 <= _coverage(shape) <= 0.998


@pytest.mark.parametrize(
    ("stored", "now", "why"),
    [
        ({}, _scores([1.0]), "missing"),
        (_scores([1.0]), _scores([1.0], 400), "other documents or tokens"),
        (_scores([1.0, 1.0]), _scores([1.0]), "other documents or tokens"),
        (_scores([1.0]), _scores([math.nan]), "not a number"),
    ],
)
def test_what_cannot_be_paired_says_why(
    stored: dict[str, DocumentScore], now: dict[str, DocumentScore], why: str
) -> None:
    assert why in (why_not_paired(stored, now) or "")
