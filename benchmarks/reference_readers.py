"""Readers in the style of `benchmark_serving`, as references: asyncio, JSON parsed as it comes, perf_counter stamps.

    python benchmarks/reference_readers.py aiohttp|httpx URL REQUESTS CONCURRENCY TOKENS RESULT

Writes one JSON object per request: seed, ttft_ns, itl_ns, e2el_ns.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

Ask = Callable[[dict[str, Any]], AsyncIterator[bytes]]


@asynccontextmanager
async def aiohttp_reader(url: str) -> AsyncIterator[Ask]:
    import aiohttp

    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def lines(body: dict[str, Any]) -> AsyncIterator[bytes]:
            async with session.post(url, json=body) as response:
                async for line in response.content:
                    yield line

        yield lines


@asynccontextmanager
async def httpx_reader(url: str) -> AsyncIterator[Ask]:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=600) as client:

        async def lines(body: dict[str, Any]) -> AsyncIterator[bytes]:
            async with client.stream("POST", url, json=body) as response:
                async for line in response.aiter_lines():
                    yield line.encode()

        yield lines


async def one_request(ask: Ask, seed: int, tokens: int) -> dict[str, Any]:
    body = {"model": "m", "prompt": "x", "max_tokens": tokens, "seed": seed, "stream": True, "ignore_eos": True}
    begin = last = time.perf_counter_ns()
    first, gaps = 0, list[int]()
    async for line in ask(body):
        if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
            continue
        choices = json.loads(line[6:])["choices"]
        if choices and choices[0]["text"]:
            now = time.perf_counter_ns()
            if first:
                gaps.append(now - last)
            else:
                first = now
            last = now
    return {"seed": seed, "ttft_ns": first - begin, "itl_ns": gaps, "e2el_ns": last - begin}


async def run(name: str, url: str, requests: int, concurrency: int, tokens: int) -> list[dict[str, Any]]:
    slots = asyncio.Semaphore(concurrency)
    reader: Callable[[str], AbstractAsyncContextManager[Ask]] = {"aiohttp": aiohttp_reader, "httpx": httpx_reader}[name]
    async with reader(f"{url}/v1/completions") as ask:

        async def limited(seed: int) -> dict[str, Any]:
            async with slots:
                return await one_request(ask, seed, tokens)

        return await asyncio.gather(*(limited(seed) for seed in range(requests)))


def main(name: str, url: str, requests: str, concurrency: str, tokens: str, result: str) -> None:
    found = asyncio.run(run(name, url, int(requests), int(concurrency), int(tokens)))
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
