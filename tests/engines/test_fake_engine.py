from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fake_engine import FakeBackend, FakeEngine
from perfgate.case import EngineSpec
from perfgate.device import Device
from perfgate.engines import backend
from perfgate.engines.base import Backend, Request, TokenEvent
from perfgate.errors import EngineError
from perfgate.plant import Plant

DEVICE = Device("cpu/x86_64-avx2", "A CPU")
REQUESTS = [Request(index, (1, 2, 3), 4) for index in range(5)]


@pytest.fixture
def spec(tmp_path: Path) -> EngineSpec:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    return EngineSpec("fake", tmp_path / "model", "fake_engine:FakeBackend")


def test_a_suite_finds_the_fake_by_its_name(spec: EngineSpec) -> None:
    found: Backend = backend(spec.backend)

    assert isinstance(found, FakeBackend)


def test_a_prepared_engine_loads_and_an_empty_folder_does_not(spec: EngineSpec, tmp_path: Path) -> None:
    prepared = FakeBackend().prepare(spec, DEVICE, tmp_path)

    with FakeBackend().load(spec, prepared.folder, Plant()) as engine:
        assert engine.encode("ab") == [97, 98]
    with pytest.raises(EngineError, match="no engine in"), FakeBackend().load(spec, spec.model, Plant()):
        pass


def test_support_is_refused_with_the_reason_that_was_told(spec: EngineSpec) -> None:
    refused = replace(spec, engine_args=(("refuse", "needs sm_89"),))

    assert FakeBackend().support(spec, DEVICE).is_supported
    assert FakeBackend().support(refused, DEVICE).reason == "needs sm_89"


@pytest.mark.parametrize("concurrency", [1, 2, 8])
def test_every_request_is_due_once_and_gives_its_tokens(concurrency: int) -> None:
    events = list(FakeEngine({}, Plant()).generate(REQUESTS, concurrency))

    assert Counter(event.request for event in events if event.tokens == 0) == dict.fromkeys(range(5), 1)
    assert Counter(event.request for event in events if event.tokens == 1) == dict.fromkeys(range(5), 4)


def test_no_more_requests_than_asked_run_at_a_time() -> None:
    events = list(FakeEngine({}, Plant()).generate(REQUESTS, 2))

    assert _most_at_a_time(events) == 2


@pytest.mark.parametrize("sleep", [True, False])
def test_time_never_runs_backwards_and_a_step_takes_its_length(*, sleep: bool) -> None:
    events = list(FakeEngine({"step_us": 300, "sleep": sleep}, Plant()).generate(REQUESTS[:1], 1))

    gaps = [later.time_ns - earlier.time_ns for earlier, later in pairwise(events)]
    assert min(gaps) >= 300_000


def test_a_planted_slowdown_lengthens_every_step() -> None:
    events = list(FakeEngine({"step_us": 300}, Plant(decode=2.0)).generate(REQUESTS[:1], 1))

    gaps = [later.time_ns - earlier.time_ns for earlier, later in pairwise(events)]
    assert min(gaps) >= 600_000


def test_scores_are_the_same_each_time_and_probabilities() -> None:
    tokens = list(b"the same text")

    first, second = (FakeEngine({}, Plant()).score(tokens) for _ in range(2))

    assert first.shape == (len(tokens) - 1,)
    assert np.array_equal(first, second)
    assert first.max() < 0


def test_a_planted_loss_of_quality_raises_perplexity() -> None:
    tokens = list(b"a text that is long enough for the noise to tell" * 20)

    sound, dumber = (FakeEngine({}, Plant(perplexity=ratio)).score(tokens) for ratio in (1.0, 2.0))

    assert dumber.mean() < sound.mean()


def test_an_engine_told_to_fail_fails() -> None:
    with pytest.raises(EngineError, match="told to fail at 'run'"):
        list(FakeEngine({"fail": "run"}, Plant()).generate(REQUESTS, 1))
    with pytest.raises(EngineError, match="told to fail at 'score'"):
        FakeEngine({"fail": "score"}, Plant()).score([1, 2])


def _most_at_a_time(events: Sequence[TokenEvent]) -> int:
    """The largest number of requests between their due event and their fourth token."""
    left, most = dict[int, int](), 0
    for event in events:
        left[event.request] = 4 if event.tokens == 0 else left[event.request] - 1
        most = max(most, sum(tokens > 0 for tokens in left.values()))
    return most
