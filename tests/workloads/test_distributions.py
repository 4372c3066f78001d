"""Top-1 agreement and the bound of KL: exact where heads hold everything, never above the truth, through a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from perfgate.engines.base import log_probs, scored
from perfgate.plant import Plant
from perfgate.record import Likeness
from perfgate.workloads import distributions
from perfgate.workloads.distributions import TOP, Alike, Heads, keep, kept, likeness

SEEDS = st.integers(0, 10_000)


def _logits(seed: int, size: int, tokens: int = 6) -> NDArray[np.float64]:
    return 2 * np.random.default_rng(seed).standard_normal((tokens, size))


def _heads(logits: NDArray[np.float64]) -> Heads:
    found = scored(logits, [0] * len(logits), TOP, Plant(), np.random.default_rng())
    return Heads(found.top_ids.astype(np.int32), found.top_log_probs.astype(np.float32))


def _truth(p_logits: NDArray[np.float64], q_logits: NDArray[np.float64]) -> float:
    p, q = (one - np.log(np.exp(one).sum(axis=1, keepdims=True)) for one in (p_logits, q_logits))
    return float((np.exp(p) * (p - q)).sum())


@given(SEEDS, st.sampled_from([0.01, 0.3, 2.0]))
def test_the_bound_is_exact_where_heads_hold_the_whole_vocabulary(seed: int, change: float) -> None:
    p = _logits(seed, TOP)
    q = p + change * _logits(seed + 1, TOP)

    assert likeness(_heads(p), _heads(q)).kl == pytest.approx(_truth(p, q), rel=1e-3, abs=1e-5)


@given(SEEDS, st.integers(TOP + 1, 400), st.sampled_from([0.01, 0.3, 2.0]))
def test_the_bound_is_never_above_the_truth(seed: int, size: int, change: float) -> None:
    p = _logits(seed, size)
    q = p + change * _logits(seed + 1, size)

    found = likeness(_heads(p), _heads(q)).kl

    assert 0 <= found <= _truth(p, q) + 1e-4


@given(SEEDS, st.integers(3, 100))
def test_an_engine_is_like_itself(seed: int, size: int) -> None:
    heads = _heads(_logits(seed, size))

    assert likeness(heads, heads) == Likeness(6, 6, 0.0)


def test_agreement_counts_the_likeliest_token() -> None:
    p = np.eye(4)[[0, 1, 2, 3]] * 5
    q = np.eye(4)[[0, 1, 3, 2]] * 5

    assert likeness(_heads(p), _heads(q)).agreed == 2


@given(SEEDS, st.integers(2, 60))
def test_heads_are_the_likeliest_in_order_and_agree_with_plain_scores(seed: int, size: int) -> None:
    logits, targets = _logits(seed, size), [size - 1] * 6

    found = scored(logits, targets, 5, Plant(), np.random.default_rng(1))

    expected = np.sort(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), axis=1)[:, ::-1][:, :5]
    assert found.top_log_probs == pytest.approx(expected)
    assert found.log_probs == pytest.approx(log_probs(logits, targets, Plant(), np.random.default_rng(1)))


def _alike(tmp_path: Path, tag: str = "engine 1") -> Alike:
    return Alike("fp32", tmp_path / "kept" / "fp32-text.npz", tag, keeps=True)


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    documents = {name: _heads(_logits(at, 50, tokens=3 + at)) for at, name in enumerate(["a", "é b", "c"])}

    keep(_alike(tmp_path), documents)
    found = kept(_alike(tmp_path))

    assert not isinstance(found, str)
    assert list(found) == list(documents)
    assert all(
        likeness(found[name], heads) == Likeness(len(heads), len(heads), 0.0) for name, heads in documents.items()
    )


def test_a_small_vocabulary_is_kept_too(tmp_path: Path) -> None:
    heads = _heads(_logits(1, 4))

    keep(_alike(tmp_path), {"a": heads})
    found = kept(_alike(tmp_path))

    assert not isinstance(found, str)
    assert likeness(found["a"], heads) == Likeness(6, 6, 0.0)


def test_distributions_of_another_engine_are_refused(tmp_path: Path) -> None:
    keep(_alike(tmp_path), {"a": _heads(_logits(1, 50))})

    assert kept(_alike(tmp_path, "engine 2")) == "the distributions of fp32 are of another run"


@pytest.mark.parametrize("data", [None, b"", b"not a file of arrays", b"PK\x03\x04 cut short"])
def test_a_missing_or_damaged_file_is_a_reason(tmp_path: Path, data: bytes | None) -> None:
    alike = _alike(tmp_path)
    if data is not None:
        alike.path.parent.mkdir()
        alike.path.write_bytes(data)

    assert kept(alike) == "the distributions of fp32 were not kept"


def test_documents_beyond_the_cap_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributions, "MOST_BYTES", 10 * TOP * 8)  # ten tokens

    keep(_alike(tmp_path), {name: _heads(_logits(1, 50)) for name in ("a", "b")})
    found = kept(_alike(tmp_path))

    assert list(found) == ["a"]
