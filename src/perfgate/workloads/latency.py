"""Closed-loop generation: TTFT, TPOT, ITL, E2EL and throughput of a loaded engine.

Definitions: TTFT counts from when a request was due; TPOT is (last - first token) / (tokens - 1);
ITL is the time between consecutive token events of a request, per token where an event held
several; throughput is over the span from the first due to the last token.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from perfgate.case import Case, LatencyWork
from perfgate.engines.base import Engine, EngineStats, Request, TokenEvent
from perfgate.metrics import needed_samples
from perfgate.record import CaseRound
from perfgate.telemetry import Counters, energy_between, read_counters
from perfgate.workloads.texts import prompts

_NS = 1e-9
_SUMMARIES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}


def measure_latency(engine: Engine, case: Case, work: LatencyWork) -> CaseRound:
    """Warm up at the measured load, measure, summarise."""
    requests = _requests(prompts(work.prompts, engine, work.input_len), work)
    for _ in engine.generate(requests[: work.warmup_requests], work.concurrency):
        pass
    gc.collect()
    gc.disable()
    try:
        before = read_counters()
        events = list(engine.generate(requests, work.concurrency))
        after = read_counters()
    finally:
        gc.enable()
    return summarise(case.id, requests, events, engine.stats(), before, after)


def _requests(texts: Sequence[tuple[int, ...]], work: LatencyWork) -> list[Request]:
    return [Request(index, texts[index % len(texts)], work.output_len) for index in range(work.requests)]


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
    def itl_s(self) -> list[float]:
        gaps = (later - earlier for earlier, later in pairwise(self.token_s))
        return [gap / count for gap, count in zip(gaps, self.token_counts[1:], strict=True)]


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
    case_id: str,
    requests: Sequence[Request],
    events: Sequence[TokenEvent],
    stats: EngineStats,
    before: Counters,
    after: Counters,
) -> CaseRound:
    """A round's values and samples; every request that fell short is a fault."""
    lines = timelines(events)
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
    return CaseRound(case_id, values | _rates(lines, stats, before, after), samples)


def _faults(requests: Sequence[Request], lines: Mapping[int, Timeline]) -> list[str]:
    out = []
    for request in requests:
        line = lines.get(request.id)
        if line is None or line.tokens != request.output_len:
            out.append(f"request {request.id} gave {line.tokens if line else 0} tokens, {request.output_len} were asked for")
        elif line.ttft_s <= 0 or line.tokens == line.token_counts[0] or min(line.itl_s) < 0:
            out.append(f"request {request.id} has times that cannot be: the clock went backwards or all tokens came at once")
    return out[:3]


def _percentiles(stem: str, sample: Sequence[float]) -> dict[str, float]:
    """Mean and those percentiles that the number of samples carries."""
    out = {f"{stem}_mean": float(np.mean(sample))}
    for name, share in _SUMMARIES.items():
        if len(sample) >= needed_samples(f"{stem}_{name}"):
            out[f"{stem}_{name}"] = float(np.percentile(sample, share))
    return out


def _rates(lines: Mapping[int, Timeline], stats: EngineStats, before: Counters, after: Counters) -> dict[str, float]:
    tokens = sum(line.tokens for line in lines.values())
    span_s = max(line.token_s[-1] for line in lines.values()) - min(line.due_s for line in lines.values())
    out = {
        "output_tokens": float(tokens),
        "output_tokens_per_s": tokens / span_s,
        "requests_per_s": len(lines) / span_s,
        "cpu_s_per_token": (after.own_cpu_s - before.own_cpu_s) / tokens,
    }
    energy_j = energy_between(before, after)
    if energy_j is not None:
        out["energy_j_per_token"] = energy_j / tokens
    if stats.is_speculative:
        out["acceptance_len"] = float(np.mean([count for line in lines.values() for count in line.token_counts[1:]]))
    return out
