"""Requests in a closed loop on TensorRT-LLM's `generate_async`, every token stamped when the host has it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from perfgate.engines.base import Request, TokenEvent, check_one_length
from perfgate.plant import Plant

_NS = 1e-9
Asked = tuple[Request, Any]  # with its SamplingParams
Arrival = tuple[tuple[int, ...], int]  # new tokens, perf_counter_ns


@dataclass(slots=True)
class Streams:
    """Streams of one `LLM`. `metrics` are the RequestPerfMetrics of finished requests, where the version has them."""

    llm: Any
    plant: Plant
    events: list[TokenEvent] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)

    async def closed_loop(self, asked: Sequence[Asked], concurrency: int) -> None:
        """At most `concurrency` requests at a time, a new one as soon as a place is free."""
        waiting = iter(asked)
        await _all(self._place(waiting) for _ in range(min(concurrency, len(asked))))

    async def batches(self, asked: Sequence[Asked], concurrency: int) -> None:
        """Static batching: `concurrency` requests of one length, and the next when all of them have ended."""
        for start in range(0, len(asked), concurrency):
            batch = asked[start : start + concurrency]
            check_one_length([request for request, _ in batch])
            await _all(self._one(one) for one in batch)

    async def _place(self, waiting: Iterator[Asked]) -> None:
        for one in waiting:
            await self._one(one)

    async def _one(self, asked: Asked) -> None:
        request, params = asked
        self.events.append(TokenEvent(request.id, time.perf_counter_ns(), 0))
        output = self.llm.generate_async(list(request.prompt), params, streaming=True)
        if self.plant.decode > 1:
            await self._slowed(request, output)
        else:
            async for ids, now_ns in _arrivals(output):
                self.events.append(TokenEvent(request.id, now_ns, len(ids), ids))
        if (told := getattr(output.outputs[0], "request_perf_metrics", None)) is not None:
            self.metrics.append(told)

    async def _slowed(self, request: Request, output: Any) -> None:
        """Hand tokens on later: all time since the first token counts `decode` times.

        The engine's steps cannot be made to wait from outside, so the wait is here; requests that follow
        start later for it, as they would on a slower engine.
        """
        arrived = asyncio.Queue[Arrival | None]()
        reader = asyncio.create_task(_read(output, arrived))
        first_ns = None
        while (arrival := await arrived.get()) is not None:
            ids, now_ns = arrival
            first_ns = first_ns or now_ns
            due_ns = first_ns + int((now_ns - first_ns) * self.plant.decode)
            await asyncio.sleep(max(0.0, (due_ns - time.perf_counter_ns()) * _NS))
            self.events.append(TokenEvent(request.id, time.perf_counter_ns(), len(ids), ids))
        await reader


async def _read(output: Any, arrived: asyncio.Queue[Arrival | None]) -> None:
    try:
        async for arrival in _arrivals(output):
            arrived.put_nowait(arrival)
    finally:
        arrived.put_nowait(None)


async def _arrivals(output: Any) -> Any:
    """Each chunk's new tokens with the moment they came, where it has any; its tokens are all so far."""
    seen = 0
    async for step in output:
        now_ns = time.perf_counter_ns()
        new = tuple(step.outputs[0].token_ids[seen:])
        if new:
            yield new, now_ns
            seen += len(new)


async def _all(works: Any) -> None:
    """Every work, at the same time; the first error ends the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
