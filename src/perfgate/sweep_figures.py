"""From a sweep's rounds to figures: one value a round for each metric of a configuration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perfgate.case import LatencyWork, ServingWork
from perfgate.load.spread import percentile
from perfgate.pareto import Figures
from perfgate.record import CaseRound
from perfgate.sweep import Sweep
from perfgate.sweep_plan import Planned
from perfgate.sweep_run import Stage, Visit

_OF_BUILDS = ("build_s", "engine_bytes", "load_s", "peak_memory_bytes", "peak_gpu_memory_bytes")
_OF_TRAFFIC = ("e2el_p95", "ttft_mean", "tpot_mean", "requests_per_s", "output_tokens_per_s")
_OF_TEXTS = ("perplexity",)
_P95 = "e2el_p95"


@dataclass(frozen=True, slots=True)
class Row:
    """A metric of one workload of a configuration: its value in each round that measured it, canonical units."""

    workload: str
    metric: str
    values: tuple[float, ...]


def figures_of(sweep: Sweep, point: Planned, visits: Sequence[Visit]) -> Figures:
    """What is weighed: of the build, of the traffic, of the text. What no round measured is absent."""
    chosen: list[tuple[str, tuple[str, ...]]] = [(sweep.build_work, _OF_BUILDS), (sweep.traffic, _OF_TRAFFIC)]
    if sweep.text_work is not None:
        chosen.append((sweep.text_work, _OF_TEXTS))
    loads = (work for work in sweep.works if isinstance(work, LatencyWork | ServingWork))
    requests = next(work.requests for work in loads if work.name == sweep.traffic)
    out: dict[str, tuple[float, ...]] = {}
    for work, names in chosen:
        for name in names:
            found = (_value(one, name, requests) for one in _cases(visits, f"{point.name}-{work}"))
            known = tuple(value for value in found if value is not None and 0 < value < math.inf)
            if known:
                out[name] = known
    return out


def _cases(visits: Sequence[Visit], case: str) -> Iterator[CaseRound]:
    for visit in visits:
        if visit.is_counted:
            yield from (one for one in visit.round.cases if one.case == case and not one.faults)


def _value(found: CaseRound, name: str, requests: int) -> float | None:
    """A metric of a round; p95 also of fewer requests than a gate wants, as the spread over rounds stands beside it."""
    value = found.values.get(name)
    sample = found.samples.get("e2el", ())
    if value is not None or name != _P95 or not sample:
        return value
    return percentile(sorted(sample), max(0, requests - len(sample)), 95.0)


def rows_of(visits: Sequence[Visit]) -> tuple[Row, ...]:
    """Every metric of every workload, in the order in which it first came."""
    out: dict[tuple[str, str], list[float]] = {}
    for visit in visits:
        for one in visit.round.cases if visit.is_counted else ():
            for name, value in one.values.items() if not one.faults else ():
                work = one.case.removeprefix(f"{visit.round.engine}-")
                out.setdefault((work, name), []).append(value)
    return tuple(Row(work, name, tuple(values)) for (work, name), values in out.items())


_NEEDED = {"build_s": "build seconds", _P95: "p95 latency", "requests_per_s": "throughput"}


def why_unmeasured(sweep: Sweep, visits: Sequence[Visit], figures: Figures, stopped: str = "") -> str:
    """Why a configuration cannot be weighed: it failed, or a figure of it is missing; empty where it can.

    stopped: why the sweep ended early.
    """
    needed = list(_NEEDED) + (["perplexity"] if sweep.text_work else [])
    missing = [_NEEDED.get(name, name) for name in needed if name not in figures]
    if not missing:
        return ""
    return next(_reasons(visits), f"not measured: {stopped}" if stopped else f"no {', '.join(missing)} was measured")


def _reasons(visits: Sequence[Visit]) -> Iterator[str]:
    for visit in reversed(visits):
        if visit.round.fault:
            yield f"{'build' if visit.stage is Stage.BUILD else 'round'}: {visit.round.fault}"
        yield from (f"{one.case}: {'; '.join(one.faults)}" for one in visit.round.cases if one.faults)
