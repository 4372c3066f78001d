"""In-flight batching, speculation and the compiled decode step of the transformers backend, on the shipped models."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfgate.case import Batching, Drafting, EngineSpec, Speculation
from perfgate.device import Device
from perfgate.engines import transformers_assisted, transformers_continuous
from perfgate.engines.base import Request, TokenEvent
from perfgate.engines.device_steps import StepKind, Steps
from perfgate.engines.torch_steps import PREFILLS, TOGETHER, Tracer, Watch, Window
from perfgate.engines.transformers import Transformers
from perfgate.errors import EngineError
from perfgate.plant import Plant

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

ROOT = Path(__file__).parents[2]
CPU = Device("cpu/x86_64-avx512", "a CPU")
STATIC = EngineSpec(
    "hf",
    ROOT / "fixtures" / "models" / "tiny-llama",
    backend="transformers",
    batching=Batching.STATIC,
    paged_kv=False,
    max_batch_size=4,
    max_seq_len=128,
)
INFLIGHT = replace(STATIC, batching=Batching.INFLIGHT, paged_kv=True, chunked_prefill=True, max_num_tokens=64)
NGRAM = replace(STATIC, max_batch_size=1, speculative=Speculation(Drafting.NGRAM, 3))
DRAFT = replace(
    STATIC,
    max_batch_size=1,
    speculative=Speculation(Drafting.DRAFT_MODEL, 2, ROOT / "fixtures" / "models" / "tiny-llama-draft"),
)
TEXT = "def main():\n    for index in range(10):\n        print(index)\n    for index in range(10):\n"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The shipped model, and the same with its draft, as entries of an engine cache."""
    out = {}
    for name, spec in (("plain", STATIC), ("draft", DRAFT)):
        out[name] = tmp_path_factory.mktemp(name)
        Transformers().prepare(spec, CPU, out[name])
    return out


@contextmanager
def loaded(prepared: dict[str, Path], spec: EngineSpec, plant: Plant | None = None) -> Iterator[Any]:
    folder = prepared["draft" if spec is DRAFT else "plain"]
    with Transformers().load(spec, folder, plant or Plant()) as engine:
        yield engine


def of(events: list[TokenEvent], request: int) -> list[TokenEvent]:
    return [event for event in events if event.request == request]


@pytest.fixture(scope="module")
def greedy(prepared: dict[str, Path]) -> tuple[tuple[int, ...], list[int]]:
    """A prompt and the 12 tokens that plain greedy decoding gives it."""
    with loaded(prepared, STATIC) as engine:
        prompt = tuple(engine.encode(TEXT))[:24]
        return prompt, [step[0] for step in engine.greedy([prompt], 12)]


# ------------------------------------------------------------------ in-flight batching


def test_requests_of_any_length_get_exactly_their_tokens(prepared: dict[str, Path]) -> None:
    with loaded(prepared, INFLIGHT) as engine:
        words = engine.encode(TEXT)
        requests = [Request(index, tuple(words[: 5 + 7 * index]), 3 + index) for index in range(5)]
        begin_ns = time.perf_counter_ns()
        events = list(engine.generate(requests, 2))
        end_ns = time.perf_counter_ns()

    for request in requests:
        mine = of(events, request.id)
        assert [event.tokens for event in mine] == [0] + [1] * request.output_len
        assert all(a.time_ns < b.time_ns for a, b in pairwise(mine))
        assert begin_ns <= mine[0].time_ns < mine[-1].time_ns <= end_ns


def test_request_joins_when_another_ended_and_not_before(prepared: dict[str, Path]) -> None:
    with loaded(prepared, INFLIGHT) as engine:
        words = tuple(engine.encode(TEXT)[:9])
        events = list(engine.generate([Request(index, words, 4) for index in range(3)], 2))

    first_end_ns = min(of(events, 0)[-1].time_ns, of(events, 1)[-1].time_ns)
    assert of(events, 2)[0].time_ns > first_end_ns
    assert max(of(events, 0)[0].time_ns, of(events, 1)[0].time_ns) < first_end_ns


def test_loop_gives_the_tokens_of_plain_decoding(
    prepared: dict[str, Path], greedy: tuple[tuple[int, ...], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[list[int]] = []
    take = transformers_continuous.ContinuousEngine._next

    def seen(engine: Any, manager: Any) -> Any:
        done = take(engine, manager)
        found.append(done.generated_tokens)
        return done

    monkeypatch.setattr(transformers_continuous.ContinuousEngine, "_next", seen)
    with loaded(prepared, INFLIGHT) as engine:
        list(engine.generate([Request(0, greedy[0], 12)], 1))

    assert found == [greedy[1]]


def test_scoring_stops_the_loop_and_generating_starts_it_again(prepared: dict[str, Path]) -> None:
    with loaded(prepared, STATIC) as engine:
        words = tuple(engine.encode(TEXT)[:20])
        plain = engine.score(words)
    with loaded(prepared, INFLIGHT) as engine:
        before = list(engine.generate([Request(0, words, 3)], 1))
        scores = engine.score(words)
        after = list(engine.generate([Request(1, words, 3)], 1))

    np.testing.assert_allclose(scores, plain, atol=1e-5)
    assert len(before) == len(after) == 4


def test_planted_decode_slows_the_loop_itself(prepared: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    monkeypatch.setattr(transformers_continuous, "wait_after", lambda step_ns, _: waits.append(step_ns))

    with loaded(prepared, INFLIGHT, Plant(decode=1.5)) as engine:
        list(engine.generate([Request(0, tuple(engine.encode(TEXT)[:9]), 6)], 1))

    assert len(waits) == 6
    assert min(waits) > 0


def test_notes_tell_how_the_loop_was_asked(prepared: dict[str, Path]) -> None:
    with loaded(prepared, INFLIGHT) as engine:
        list(engine.generate([Request(0, (1, 2, 3), 2)], 1))
        notes = engine.stats().notes

    assert notes["max_batch_tokens"] == "64"
    assert notes["num_blocks"] == "8"
    assert notes["allow_block_sharing"] == "False"


def test_prefix_caching_shares_blocks_and_gives_the_same_number_of_tokens(prepared: dict[str, Path]) -> None:
    with loaded(prepared, replace(INFLIGHT, prefix_caching=True, overlap_scheduler=False)) as engine:
        words = tuple(engine.encode(TEXT * 3)[:60])
        events = list(engine.generate([Request(index, words, 4) for index in range(3)], 1))
        notes = engine.stats().notes

    assert sum(event.tokens for event in events) == 12
    assert notes["allow_block_sharing"] == "True"


@contextmanager
def windows_of(monkeypatch: pytest.MonkeyPatch, engine_module: Any) -> Iterator[list[Window]]:
    """The windows that an engine opens and closes, without a profiler."""
    watch = Watch(Tracer(long_s=math.inf))

    def run(work: Any) -> Steps:
        work(watch)
        return Steps()

    monkeypatch.setattr(engine_module, "traced", run)
    yield watch.windows


def test_windows_lie_where_the_loop_decodes(prepared: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with loaded(prepared, INFLIGHT) as engine, windows_of(monkeypatch, transformers_continuous) as found:
        words = tuple(engine.encode(TEXT)[:9])
        engine.device_steps([Request(index, words, 20) for index in range(3)], 2)
        after = list(engine.generate([Request(5, words, 3)], 1))

    kinds = [(one.kind, one.sequences) for one in found]
    assert kinds == [(StepKind.PREFILL, 2)] * PREFILLS + [(StepKind.DECODE, 2)] * 2  # of 20 tokens, 3 before
    assert len(after) == 4


def test_request_that_the_library_fails_is_one_line(prepared: dict[str, Path]) -> None:
    with loaded(prepared, INFLIGHT) as engine, pytest.raises(EngineError, match="transformers") as caught:
        list(engine.generate([Request(0, (10**9,), 2)], 1))

    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------ speculation


@pytest.mark.parametrize("spec", [NGRAM, DRAFT], ids=["n-gram", "draft model"])
def test_speculation_gives_the_tokens_of_plain_decoding(
    prepared: dict[str, Path], spec: EngineSpec, greedy: tuple[tuple[int, ...], list[int]]
) -> None:
    given: list[int] = []

    class Seen(transformers_assisted._Stamps):
        def put(self, tokens: Any) -> None:
            given.extend(tokens.flatten().tolist())
            super().put(tokens)

    with pytest.MonkeyPatch.context() as patch, loaded(prepared, spec) as engine:
        patch.setattr(transformers_assisted, "_Stamps", Seen)
        events = list(engine.generate([Request(7, greedy[0], 12)], 1))
        stats = engine.stats()

    assert given == [*greedy[0], *greedy[1]]
    assert sum(event.tokens for event in events) == 12
    assert len(events) < 13  # some step gave more than one token
    assert all(a.time_ns < b.time_ns for a, b in pairwise(events))
    assert stats.is_speculative


def test_windows_of_speculation_hold_whole_steps(prepared: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with loaded(prepared, NGRAM) as engine, windows_of(monkeypatch, transformers_assisted) as found:
        engine.device_steps([Request(0, tuple(engine.encode(TEXT)[:24]), 64)], 1)

    assert [one.kind for one in found][:PREFILLS] == [StepKind.PREFILL] * PREFILLS
    assert {one.steps for one in found[PREFILLS:]} == {TOGETHER}


def test_speculation_is_for_one_request_at_a_time(prepared: dict[str, Path]) -> None:
    with loaded(prepared, NGRAM) as engine, pytest.raises(EngineError, match="concurrency must be 1, found 2"):
        list(engine.generate([Request(0, (1, 2), 2)], 2))


# ------------------------------------------------------------------ compiled


def test_compiled_decode_gives_the_tokens_of_plain_decoding(
    prepared: dict[str, Path], greedy: tuple[tuple[int, ...], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way over the static cache; the compiler itself is torch's and takes longer than a test may."""
    asked: list[dict[str, Any]] = []
    kept: list[str] = []

    def compiled(function: Any, **options: Any) -> Any:
        asked.append(options)
        kept.extend(os.environ[name] for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"))
        return function

    monkeypatch.setattr(torch, "compile", compiled)
    with loaded(prepared, replace(STATIC, engine_args=(("torch_compile", True),))) as engine:
        twice = [[step[0] for step in engine.greedy([greedy[0]], 12)] for _ in range(2)]
        scores = engine.score(greedy[0])
        notes = engine.stats().notes

    assert twice == [greedy[1], greedy[1]]
    assert asked == [{"mode": None, "fullgraph": True, "dynamic": False}]
    assert len(scores) == len(greedy[0]) - 1
    assert notes["decode"] == "torch.compile, mode default, static cache"
    beside = prepared["plain"].with_name(f"{prepared['plain'].name}.scratch")
    assert kept == [str(beside / "inductor"), str(beside / "triton")]
    assert torch.compiler.config.recompile_limit == 64


def test_a_shape_that_is_compiled_first_is_told_as_progress(
    prepared: dict[str, Path],
    greedy: tuple[tuple[int, ...], list[int]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Compiling takes minutes: a round that is ended in it is to say so."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setenv("PERFGATE_HEARTBEAT", str(tmp_path / "state"))
    with loaded(prepared, replace(STATIC, engine_args=(("torch_compile", True),))) as engine:
        deque(engine.greedy([greedy[0]], 2), maxlen=0)

    assert (tmp_path / "state").read_text() == "compiling the decode step for 1 sequences of up to 64 tokens"


@pytest.mark.parametrize("changes", [{"cuda_graphs": True}, {"engine_args": (("torch_compile", True),)}])
def test_preparing_compiles_no_shape_that_no_workload_asks_for(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("it compiled"))

    found = Transformers().prepare(replace(STATIC, **changes), CPU, tmp_path)

    assert found.phases["try"] > 0
