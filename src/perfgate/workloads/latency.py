"""Closed-loop generation: TTFT, TPOT, ITL, E2EL and throughput of a loaded engine.

Definitions: TTFT counts from when a request was due; TPOT is (last - first token) / (tokens - 1);
ITL is the time between consecutive token events of a request, per token where an event held
several; throughput is over the timed blocks, each from its first due to its last token. Device times
are of a short run after the blocks, where the engine can tell them (`engines/device_steps.py`).
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from perfgate.case import Case, LatencyWork
from perfgate.engines.base import Engine, EngineStats, Request, TokenEvent
from perfgate.engines.device_steps import SteppedEngine, Steps, step_figures
from perfgate.floats import Floats
from perfgate.gpu.sample import Region
from perfgate.metrics import needed_samples, trimmed_mean
from perfgate.record import CaseRound, Host
from perfgate.telemetry import Counters, energy_between, host_between, read_counters
from perfgate.workloads.output import look_at
from perfgate.workloads.texts import prompts

_NS = 1e-9
_SUMMARIES = {"p10": 10.0, "p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}


class LatencyRun:
    """A latency workload on a loaded engine, measured in blocks."""

    def __init__(self, engine: Engine, case: Case, work: LatencyWork) -> None:
        """Tokenize the prompts and warm up at the measured load."""
        self._engine, self._case, self._work = engine, case, work
        texts = prompts(work.prompts, engine, work.input_len)
        self._requests = _requests(texts, work, 0, work.requests)
        self._blocks: list[Block] = []
        self._done = 0
        self._steps = Steps()
        for _ in engine.generate(_requests(texts, work, work.requests, work.warmup_requests), work.concurrency):
            pass

    @property
    def case_id(self) -> str:
        return self._case.id

    @property
    def progress(self) -> str:
        """'34 of 64 requests': those of the blocks so far."""
        return f"{self._done} of {len(self._requests)} requests"

    def measure(self, block: int, of: int) -> Host | None:
        """Run the requests of one of `of` blocks; nothing else happens inside.

        None of a block without requests: a tick of the machine's counters over no time is no share of it.
        """
        mine = self._requests[block_share(block, of, len(self._requests), self._work.concurrency)]
        if not mine:
            return None
        gc.collect()
        gc.disable()
        try:
            before = read_counters()
            events = list(self._engine.generate(mine, self._work.concurrency))
            after = read_counters()
        finally:
            gc.enable()
        self._blocks.append(Block(events, before, after))
        self._done += len(mine)
        return host_between(before, after)

    @property
    def has_steps(self) -> bool:
        """Whether the engine may tell device times."""
        return isinstance(self._engine, SteppedEngine)

    def measure_steps(self) -> str | None:
        """Run a few steps after all blocks for their device times; returns why there are none."""
        assert isinstance(self._engine, SteppedEngine)
        self._steps = self._engine.device_steps(self._requests, self._work.concurrency)
        return self._steps.reason

    def summarise(self) -> CaseRound:
        """The round's values and samples; nothing but the reason where the output is broken."""
        events = [event for block in self._blocks for event in block.events]
        look = look_at(events, [request.id for request in self._requests], self._case.engine)
        if look.broken:
            return CaseRound(self._case.id, {}, broken=look.broken)
        found = summarise(self._case.id, self._requests, self._blocks, self._engine.stats(), self._steps)
        return replace(found, unchecked=look.unchecked)


def block_share(block: int, of: int, requests: int, concurrency: int) -> slice:
    """Which of so many requests are run in a block: at least `concurrency` of them, which is reached then, or none.

    Where the requests fill fewer than `of` blocks, some blocks stay empty.
    """
    filled = max(1, min(of, requests // concurrency))
    part = block * filled // of
    if block and (block - 1) * filled // of == part:
        return slice(0)
    return slice(part * requests // filled, (part + 1) * requests // filled)


def _requests(texts: Sequence[tuple[int, ...]], work: LatencyWork, first: int, count: int) -> list[Request]:
    """So many requests, their prompts from the first on: warm-up takes some that are not measured, if there are any."""
    return [Request(at, texts[(first + at) % len(texts)], work.output_len) for at in range(count)]


@dataclass(frozen=True, slots=True)
class Block:
    """What one block of requests gave, and the counters around it."""

    events: Sequence[TokenEvent]
    before: Counters
    after: Counters

    @property
    def span_s(self) -> float:
        """From the first due to the last token."""
        times = [event.time_ns for event in self.events]
        return (max(times) - min(times)) * _NS if times else 0.0

    @property
    def region(self) -> Region:
        """When it ran."""
        return Region(self.before.wall_s, self.after.wall_s)


@dataclass(frozen=True, slots=True)
class Timeline:
    """One request: when it was due and when its tokens came, in seconds."""

    due_s: float
    token_s: tuple[float, ...]  # time of each event
    token_counts: tuple[int, ...]  # tokens in each event

    @property
    def tokens(self) -> int:
        return sum(self.token_counts)

    @property
    def ttft_s(self) -> float:
        return self.token_s[0] - self.due_s

    @property
    def e2el_s(self) -> float:
        return self.token_s[-1] - self.due_s

    @property
    def tpot_s(self) -> float:
        """Time per token after the first event, whose own tokens are not counted."""
        return (self.token_s[-1] - self.token_s[0]) / (self.tokens - self.token_counts[0])

    @property
    def gaps_s(self) -> list[float]:
        return [later - earlier for earlier, later in pairwise(self.token_s)]

    @property
    def itl_s(self) -> list[float]:
        return [gap / count for gap, count in zip(self.gaps_s, self.token_counts[1:], strict=True)]


def timelines(events: Sequence[TokenEvent]) -> dict[int, Timeline]:
    """Events by request; a request without a due event or without tokens is left out."""
    due: dict[int, float] = {}
    times: defaultdict[int, list[float]] = defaultdict(list)
    counts: defaultdict[int, list[int]] = defaultdict(list)
    for event in events:
        if event.tokens == 0:
            due[event.request] = event.time_ns * _NS
        else:
            times[event.request].append(event.time_ns * _NS)
            counts[event.request].append(event.tokens)
    return {name: Timeline(due[name], tuple(times[name]), tuple(counts[name])) for name in due if times[name]}


def summarise(
    case_id: str, requests: Sequence[Request], blocks: Sequence[Block], stats: EngineStats, steps: Steps
) -> CaseRound:
    """A round's values and samples; every request that fell short is a fault."""
    lines = timelines([event for block in blocks for event in block.events])
    faults = tuple(_faults(requests, lines))
    if faults:
        return CaseRound(case_id, {}, faults=faults)
    samples = {
        "ttft": tuple(line.ttft_s for line in lines.values()),
        "tpot": tuple(line.tpot_s for line in lines.values()),
        "itl": tuple(gap for line in lines.values() for gap in line.itl_s),
        "e2el": tuple(line.e2el_s for line in lines.values()),
    }
    values = {name: value for stem, sample in samples.items() for name, value in _percentiles(stem, sample).items()}
    values |= _rates(lines, blocks, stats) | step_figures(steps.steps, _wall_step_s(lines))
    regions = tuple(block.region for block in blocks if block.events)
    kept = {stem: Floats(sample) for stem, sample in samples.items()}
    return CaseRound(case_id, values, kept, regions=regions)


def _wall_step_s(lines: Mapping[int, Timeline]) -> float:
    """Median time between a request's token events, however many tokens they hold: a decode step as users see it."""
    return float(np.median([gap for line in lines.values() for gap in line.gaps_s]))


def _faults(requests: Sequence[Request], lines: Mapping[int, Timeline]) -> list[str]:
    out = []
    for request in requests:
        line = lines.get(request.id)
        if line is None or line.tokens != request.output_len:
            out.append(
                f"request {request.id} gave {line.tokens if line else 0} tokens, {request.output_len} were asked for"
            )
        elif line.ttft_s <= 0 or line.tokens == line.token_counts[0] or min(line.itl_s) < 0:
            out.append(
                f"request {request.id} has times that cannot be: the clock went backwards or all tokens came at once"
            )
    return out[:3]


def _percentiles(stem: str, sample: Sequence[float]) -> dict[str, float]:
    """Mean and those percentiles that the number of samples carries."""
    out = {f"{stem}_mean": float(np.mean(sample)), f"{stem}_tmean": trimmed_mean(sample)}
    for name, share in _SUMMARIES.items():
        if len(sample) >= needed_samples(f"{stem}_{name}"):
            out[f"{stem}_{name}"] = float(np.percentile(sample, share))
    return out


def _rates(lines: Mapping[int, Timeline], blocks: Sequence[Block], stats: EngineStats) -> dict[str, float]:
    tokens = sum(line.tokens for line in lines.values())
    span_s = sum(block.span_s for block in blocks)
    out = {
        "output_tokens": float(tokens),
        "output_tokens_per_s": tokens / span_s,
        "requests_per_s": len(lines) / span_s,
        "cpu_s_per_token": sum(block.after.own_cpu_s - block.before.own_cpu_s for block in blocks) / tokens,
    }
    energies = [energy_between(block.before, block.after) for block in blocks]
    if all(energy is not None for energy in energies):
        out["energy_j_per_token"] = sum(filter(None, energies)) / tokens
    if stats.is_speculative:
        out["acceptance_len"] = float(np.mean([count for line in lines.values() for count in line.token_counts[1:]]))
    return out
