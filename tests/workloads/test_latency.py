"""How the requests of a latency workload are spread over a round."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from perfgate.case import Case, EngineSpec, LatencyWork
from perfgate.workloads.latency import LatencyRun, block_share


@given(st.integers(1, 16), st.integers(1, 200), st.integers(0, 500))
def test_every_block_that_runs_can_reach_the_concurrency(of: int, concurrency: int, more: int) -> None:
    requests = list(range(concurrency + more))

    blocks = [requests[block_share(block, of, len(requests), concurrency)] for block in range(of)]

    assert [one for block in blocks for one in block] == requests
    assert all(len(block) >= concurrency for block in blocks if block)


def test_requests_that_fill_every_block_are_spread_evenly() -> None:
    assert [block_share(block, 8, 64, 8) for block in range(8)] == [slice(at, at + 8) for at in range(0, 64, 8)]


def test_two_blocks_of_work_lie_apart() -> None:
    assert [block_share(block, 4, 256, 128) for block in range(4)] == [
        slice(0, 128), slice(0), slice(128, 256), slice(0),
    ]  # fmt: skip


class Listener:
    """An engine that remembers which prompts it was given."""

    def __init__(self) -> None:
        self.prompts: list[tuple[int, ...]] = []

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def generate(self, requests: Sequence[Any], concurrency: int) -> Iterator[Any]:
        del concurrency
        self.prompts += [request.prompt for request in requests]
        return iter(())


def test_warm_up_takes_prompts_that_are_not_measured(tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"id": letter, "text": letter * 4}) + "\n" for letter in "abcdef"))
    work = LatencyWork("b1", texts, 4, 2, concurrency=1, requests=4, warmup_requests=2)

    run = LatencyRun(engine := Listener(), Case(EngineSpec("e", tmp_path), work), work)  # type: ignore[arg-type]
    warmed = ["".join(map(chr, prompt))[0] for prompt in engine.prompts]
    for block in range(2):
        run.measure(block, 2)

    assert warmed == ["e", "f"]
    assert ["".join(map(chr, prompt))[0] for prompt in engine.prompts[2:]] == ["a", "b", "c", "d"]


def test_a_block_without_requests_tells_nothing_of_the_machine(tmp_path: Path) -> None:
    """Counters tick every 10 ms: a tick in such a block was '655 % of the CPU taken by others' (on a busy machine)."""
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"id": letter, "text": letter * 4}) + "\n" for letter in "abcdef"))
    work = LatencyWork("b4", texts, 4, 2, concurrency=4, requests=8, warmup_requests=1)
    run = LatencyRun(Listener(), Case(EngineSpec("e", tmp_path), work), work)  # type: ignore[arg-type]

    hosts = [run.measure(block, 8) for block in range(8)]

    assert [host is not None for host in hosts] == [True, False, False, False, True, False, False, False]
