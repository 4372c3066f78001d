"""What the time of a case goes to: its distance to the device's limits, how busy the device was, the prompt's part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perfgate.advising.goals import Goal
from perfgate.advising.sources import Source, Sources
from perfgate.boundness import BUSY, IDLE
from perfgate.case import Case, EngineSpec, LatencyWork, ServingWork
from perfgate.demand import limits_of, mean_length
from perfgate.distances import Phase, nearness
from perfgate.roofline import Bound, Ceilings
from perfgate.versus import geometric_mean


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one case in one run. busy: share of a decode step in which the device worked.

    decode, prefill: None where no limit of the device is known. prompt_share: time to the first token over that of the
    whole request. All None where not measured.
    """

    case: Case
    run: str
    decode: Phase | None = None
    prefill: Phase | None = None
    busy: float | None = None
    prompt_share: float | None = None

    @property
    def is_of_host(self) -> bool:
        """Whether the device is known to wait for the host."""
        return self.busy is not None and self.busy < IDLE

    @property
    def is_of_device(self) -> bool:
        """Whether the device is what is waited for, memory or not."""
        return self.busy is not None and self.busy >= BUSY

    @property
    def is_of_memory(self) -> bool:
        return self.decode is not None and self.decode.bound is Bound.MEMORY


def bounds_of(
    sources: Sources, engine: EngineSpec, cases: Sequence[Case], goal: Goal, ceilings: Ceilings | None
) -> Bounds | None:
    """Of the case that says most for the goal; None where the engine generated nothing.

    ceilings: the device's limits, for runs that do not hold them.
    """
    mine = [case for case in cases if case.engine == engine and isinstance(case.work, LatencyWork | ServingWork)]
    mine = [case for case in mine if sources.has(case)]
    if not mine:
        return None
    case = min(mine, key=lambda one: _place(one, goal))
    source = next(one for one in sources.every if Sources((one,)).has(case))
    return _bounds(sources, source, case, ceilings)


def streams(case: Case) -> int:
    """Concurrency of a closed loop; 0 of anything else."""
    return int(getattr(case.work, "concurrency", None) or 0)


def prompt_tokens(case: Case) -> float:
    """Mean length of a case's prompts; 0 of what has none."""
    match case.work:
        case LatencyWork():
            return case.work.input_len
        case ServingWork():
            return mean_length(case.work.isl)
        case _:
            return 0.0


def _place(case: Case, goal: Goal) -> tuple[float, float]:
    """The lowest comes first: latency is of few streams, long contexts of long prompts, the rest of many streams."""
    match goal:
        case Goal.LATENCY:
            return streams(case), prompt_tokens(case)
        case Goal.LONG_CONTEXT:
            return -prompt_tokens(case), -streams(case)
        case _:
            return -streams(case), prompt_tokens(case)


def _bounds(sources: Sources, source: Source, case: Case, ceilings: Ceilings | None) -> Bounds:
    run = source.run
    limits = run.limits or (limits_of([case], ceilings) if ceilings else None)
    near = next((one for one in nearness(run, limits) if one.case == case.id), None) if limits else None
    busy, first, whole = (_mean(sources, source, case, name) for name in ("device_busy_share", "ttft_p50", "e2el_p50"))
    return Bounds(
        case, source.name, near.decode if near else None, near.prefill if near else None, busy,
        first / whole if first and whole else None,
    )  # fmt: skip


def _mean(sources: Sources, source: Source, case: Case, metric: str) -> float | None:
    values = [one.value for one in sources.values(source, case, metric)]
    return geometric_mean(values) if values else None
