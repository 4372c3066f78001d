"""The embedded engine behind the bridge, for real: static and in flight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from perfgate.case import Batching, EngineSpec, KvDtype
from perfgate.device import Device
from perfgate.engines.base import LiveEngine, Request
from perfgate.engines.bridge import serve_engine
from perfgate.engines.cache import EngineCache
from perfgate.engines.openvino import OpenVino
from perfgate.load.ask import Ask, LoadPlan
from perfgate.load.client import run_load
from perfgate.load.target import Target
from perfgate.plant import Plant

pytest.importorskip("openvino_genai")

MODEL = Path(__file__).parents[2] / "fixtures" / "models" / "tiny-llama"
CPU = Device("cpu/test", "a CPU")
INFLIGHT = EngineSpec("fp32", MODEL, kv_cache_dtype=KvDtype.FP32, max_batch_size=4)
STATIC = replace(INFLIGHT, name="static", batching=Batching.STATIC, paged_kv=False)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> EngineCache:
    return EngineCache(tmp_path_factory.mktemp("engines"), lambda: "2026-01-01")


def asks(count: int, tokens: int) -> tuple[Ask, ...]:
    bodies = [
        {"model": "x", "prompt": [5 + at, *range(10, 41)], "max_tokens": tokens, "ignore_eos": True}
        for at in range(count)
    ]
    return tuple(Ask(body, 32, tokens) for body in bodies)


@pytest.mark.parametrize("spec", [INFLIGHT, STATIC], ids=["inflight", "static"])
def test_every_request_gets_its_tokens_as_they_come(cache: EngineCache, tmp_path: Path, spec: EngineSpec) -> None:
    prepared = cache.get(spec, CPU, OpenVino()).folder
    plan = LoadPlan(tuple(replace(ask, body={**ask.body, "model": spec.name}) for ask in asks(12, 16)), concurrency=4)

    with serve_engine(spec, prepared, Plant(), tmp_path) as server:
        result = run_load(Target(server.url), plan, tmp_path)

    assert [(one.fault, one.output_tokens, one.usage.input_tokens) for one in result.records] == [(None, 16, 32)] * 12
    assert {one.event_tokens for one in result.records} == {(1,) * 16 + (0,)}
    assert server.facts.answers["/server_info"]["versions"]["openvino"]


def test_requests_that_nobody_waits_for_leave_the_pipeline(cache: EngineCache) -> None:
    with OpenVino().load(INFLIGHT, cache.get(INFLIGHT, CPU, OpenVino()).folder, Plant()) as engine:
        assert isinstance(engine, LiveEngine)
        events = list(engine.generate_live(Leaving(), 2))

    tokens = {request: sum(event.tokens for event in events if event.request == request) for request in (1, 2, 3)}
    assert tokens == {1: 3, 2: 40, 3: 5}


class Leaving:
    """Requests 1 and 2; the first is given up before the fourth step, and a third one takes its place."""

    def __init__(self) -> None:
        self._steps = 0

    def join(self, places: int, *, is_idle: bool) -> Sequence[Request] | None:
        del is_idle
        self._steps += 1
        match self._steps:
            case 1:
                return [Request(1, (5, 6, 7), 40), Request(2, (8, 9), 40)]
            case 5 if places:
                return [Request(3, (5, 6, 7), 5)]
            case _:
                return None if self._steps > 5 else ()

    def left(self) -> Sequence[int]:
        return [1] if self._steps == 4 else []


def test_token_ids_outside_the_vocabulary_are_refused(cache: EngineCache, tmp_path: Path) -> None:
    prepared = cache.get(INFLIGHT, CPU, OpenVino()).folder
    wrong = Ask({"model": "fp32", "prompt": [1, 10_000_000], "max_tokens": 2, "ignore_eos": True}, 2, 2)

    with serve_engine(INFLIGHT, prepared, Plant(), tmp_path) as server:
        (record,) = run_load(Target(server.url), LoadPlan((wrong,), 1), tmp_path).records

    assert record.status == 400
    assert "expected 0 to" in str(record.fault)
