from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from perfgate.case import Case, EngineSpec, PerplexityWork
from perfgate.engines.base import EngineStats, Request, TokenEvent
from perfgate.record import CaseRound, DocumentScore
from perfgate.workloads.perplexity import Score, measure_perplexity, plain, score_document, summary, windows
from perfgate.workloads.texts import Document

SHAPES = st.integers(2, 60).flatmap(lambda window: st.tuples(st.just(window), st.integers(1, window - 1)))


@given(st.integers(0, 300), SHAPES)
def test_each_token_but_the_first_counts_in_exactly_one_window(length: int, shape: tuple[int, int]) -> None:
    counted = [index for _, end, fresh in windows(length, _work(*shape)) for index in range(end - fresh, end)]

    assert counted == list(range(1, length))


@given(st.integers(0, 300), SHAPES)
def test_each_token_that_counts_has_a_token_before_it_in_its_window(length: int, shape: tuple[int, int]) -> None:
    found = list(windows(length, _work(*shape)))

    assert [one for one in found if one[2] >= one[1] - one[0]] == []


def test_each_token_of_windows_that_do_not_overlap_has_a_token_before_it() -> None:
    found = list(windows(20, _work(4, 4)))

    assert [one for one in found if one[2] >= one[1] - one[0]] == []


@given(st.integers(0, 300), SHAPES)
def test_no_window_is_longer_than_asked_or_reaches_past_the_end(length: int, shape: tuple[int, int]) -> None:
    found = list(windows(length, _work(*shape)))

    assert [one for one in found if not 0 <= one[0] < one[1] <= min(length, one[0] + shape[0])] == []


@given(st.integers(0, 300), SHAPES)
def test_tokens_past_the_first_window_have_the_overlap_as_context(length: int, shape: tuple[int, int]) -> None:
    window, stride = shape

    context = [end - fresh - start for start, end, fresh in windows(length, _work(window, stride)) if start]

    assert [tokens for tokens in context if tokens < window - stride] == []


def test_windows_of_a_document_that_fits_one() -> None:
    assert list(windows(10, _work(512, 256))) == [(0, 10, 9)]


def test_windows_of_a_longer_document() -> None:
    assert list(windows(11, _work(6, 4))) == [(0, 6, 5), (4, 10, 4), (8, 11, 1)]


@pytest.mark.parametrize("length", [0, 1])
def test_a_document_without_context_has_no_window(length: int) -> None:
    assert list(windows(length, _work(6, 4))) == []


@settings(deadline=None)
@given(st.text(st.characters(max_codepoint=300), min_size=1, max_size=80), SHAPES)
def test_a_document_scores_as_its_tokens_one_by_one(text: str, shape: tuple[int, int]) -> None:
    window, stride = shape
    tokens = _encode(text)
    first_windows = [_start_of_first_window(index, window, stride) for index in range(len(tokens))]
    expected = -math.fsum(
        _log_prob(tokens[first_windows[index] : index], tokens[index]) for index in range(1, len(tokens))
    )

    found = _scored(text, _score, window, stride)

    assert found.nll == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert found.tokens == len(tokens) - 1
    assert found.text_bytes == len(text.encode())


def test_windows_that_do_not_overlap_lose_no_token() -> None:
    found = _scored("abcdefghijkl", _even_odds, 4, 4)

    assert found.nll == pytest.approx(found.tokens * math.log(2))


def test_an_empty_document_counts_no_token() -> None:
    found = _scored("", _score, 6, 4)

    assert found == DocumentScore(0.0, 0, 0)


def test_a_document_of_one_token_counts_no_token() -> None:
    found = _scored("a", _score, 6, 4)

    assert found == DocumentScore(0.0, 0, 1)


def test_even_odds_have_a_perplexity_of_two() -> None:
    documents = {"a": DocumentScore(10 * math.log(2), 10, 40), "b": DocumentScore(6 * math.log(2), 6, 8)}

    found = summary(documents)

    assert found["perplexity"] == pytest.approx(2.0)
    assert found["bits_per_byte"] == pytest.approx(16 / 48)


def test_documents_weigh_by_their_tokens() -> None:
    long, short = DocumentScore(900.0, 300, 1000), DocumentScore(1.0, 1, 1000)

    assert summary({"long": long, "short": short})["perplexity"] == pytest.approx(math.exp(901 / 301))


@given(st.lists(st.builds(DocumentScore, st.floats(0, 500), st.integers(1, 500), st.integers(1, 2000)), min_size=1))
def test_the_order_of_documents_does_not_matter(scores: list[DocumentScore]) -> None:
    documents = {str(index): one for index, one in enumerate(scores)}

    found = summary(dict(reversed(documents.items())))

    assert found == pytest.approx(summary(documents))


def test_measuring_scores_every_document_of_the_text(tmp_path: Path) -> None:
    found = _measure(tmp_path, ToyEngine(_even_odds), '{"id": "a", "text": "abc"}\n{"id": "b", "text": "déf"}\n')

    assert found.faults == ()
    assert {name: (one.tokens, one.text_bytes) for name, one in found.documents.items()} == {"a": (2, 3), "b": (3, 4)}
    assert found.values["perplexity"] == pytest.approx(2.0)
    assert set(found.values) == {"perplexity", "bits_per_byte"}


@pytest.mark.parametrize("odds", [-math.inf, math.nan])
def test_a_score_that_is_no_number_is_broken_output_that_names_the_document(tmp_path: Path, odds: float) -> None:
    found = _measure(tmp_path, ToyEngine(lambda tokens: np.full(len(tokens) - 1, odds)), '{"id": "a", "text": "abc"}')

    assert found.faults == ()
    assert found.broken[0].startswith("document 'a' scored ")
    assert found.values == {}


def test_odds_too_small_for_a_perplexity_are_broken_output(tmp_path: Path) -> None:
    found = _measure(tmp_path, ToyEngine(lambda tokens: np.full(len(tokens) - 1, -800.0)), '{"id": "a", "text": "abc"}')

    assert "beyond every number" in found.broken[0]
    assert found.values == {}


@pytest.mark.parametrize("text", ["", "a"])
def test_a_text_without_a_token_to_score_is_a_fault(tmp_path: Path, text: str) -> None:
    found = _measure(tmp_path, ToyEngine(_even_odds), f'{{"id": "a", "text": "{text}"}}')

    assert len(found.faults) == 1
    assert found.values == {}


@dataclass(frozen=True)
class ToyEngine:
    """An engine whose tokens are bytes; it only scores."""

    odds: Score

    def encode(self, text: str) -> list[int]:
        return _encode(text)

    def generate(self, requests: Sequence[Request], concurrency: int) -> Iterator[TokenEvent]:
        raise NotImplementedError

    def score(self, token_ids: Sequence[int]) -> NDArray[np.float64]:
        return self.odds(token_ids)

    def stats(self) -> EngineStats:
        raise NotImplementedError


def _measure(folder: Path, engine: ToyEngine, text: str) -> CaseRound:
    path = folder / "text.jsonl"
    path.write_text(text, encoding="utf-8")
    work = PerplexityWork("text", path, 6, 4)
    return measure_perplexity(engine, Case(EngineSpec("toy", Path("model")), work), work)


def _scored(text: str, score: Score, window: int, stride: int) -> DocumentScore:
    document = Document("d", text)
    return score_document(document, _encode(text), plain(score), _work(window, stride)).score


def _work(window: int, stride: int) -> PerplexityWork:
    return PerplexityWork("text", Path("held-out.jsonl"), window, stride)


def _encode(text: str) -> list[int]:
    return list(text.encode())


def _log_prob(context: Sequence[int], token: int) -> float:
    """A toy model: any change of context or token changes the odds."""
    seen = sum((place + 1) * (known + 1) for place, known in enumerate(reversed(context)))
    return -1.0 / (1 + (31 * seen + token) % 97)


def _score(tokens: Sequence[int]) -> NDArray[np.float64]:
    return np.array([_log_prob(tokens[:index], tokens[index]) for index in range(1, len(tokens))])


def _even_odds(tokens: Sequence[int]) -> NDArray[np.float64]:
    return np.full(len(tokens) - 1, math.log(0.5))


def _start_of_first_window(index: int, window: int, stride: int) -> int:
    """Start of the first window (0, stride, 2 stride, ...) that holds a token."""
    return next(start for start in range(0, index + 1, stride) if start + window > index)
