"""Rounds with what their GPUs did meanwhile: metrics, the summary that is kept, and whether the round counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from perfgate.case import EngineSpec
from perfgate.fault_kinds import ProcessFault
from perfgate.gpu.facts import Gpu
from perfgate.gpu.lock import lock_told
from perfgate.gpu.sample import Samples
from perfgate.gpu.seen import GpuRound, GpuSeen, seen
from perfgate.gpu.trace import traced
from perfgate.gpu.validity import GpuWish, why_invalid, why_unlike
from perfgate.record import CaseRound, Round

MOST_TRACES = 1000  # of a run, about 1.5 MB of run.json


def gpus_of(spec: EngineSpec, gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """The GPUs that an engine takes: the first tp x pp of those that are visible."""
    return tuple(gpus[: spec.tp * spec.pp])


def with_gpus(done: Round, samples: Samples, count: int, wish: GpuWish, before: Sequence[Round] = ()) -> Round:
    """A round with its GPUs' figures; invalid, with the reason, where they were disturbed. Others stay as they are.

    Where sampling broke off there are no figures, as they would be of a part of the round.

    count: the engine's GPUs are the first so many of those that were sampled. before: rounds that were done earlier.
    """
    regions = [region for case in done.cases for region in case.regions]
    if not samples.uuids or not regions:
        return done
    gpus = seen(samples, regions, count)
    lock = None if wish.lock_mhz is None else lock_told(wish.lock_mhz, samples.lock_fault, [one.sm_mhz for one in gpus])
    cases = done.cases if samples.fault else tuple(with_values(case, samples, count) for case in done.cases)
    trace = traced(samples, regions, [{one.pid for one in gpu.foreign} for gpu in gpus])
    kept = replace(done, cases=cases, gpu=GpuRound(gpus, samples.sampling, lock, samples.fault, trace))
    reason = why_invalid(gpus, wish.limits) or why_unlike(gpus, _earlier(before, done), wish.limits)
    return replace(kept, fault=reason, fault_kind=ProcessFault.GPU_DISTURBED) if done.is_valid and reason else kept


def _earlier(before: Sequence[Round], done: Round) -> list[tuple[GpuSeen, ...]]:
    """The GPUs of rounds that count, of the same engine and side."""
    alike = [one for one in before if one.is_valid and (one.engine, one.side) == (done.engine, done.side)]
    return [one.gpu.gpus for one in alike if one.gpu]


def with_few_traces(rounds: Sequence[Round], most: int = MOST_TRACES) -> tuple[Round, ...]:
    """The rounds of a run, of which so many GPUs keep their trace: first those of rounds that do not count."""
    left, kept = most, set[int]()
    for at in sorted(range(len(rounds)), key=lambda at: rounds[at].is_valid):
        left -= len(gpu.trace.gpus) if (gpu := rounds[at].gpu) and gpu.trace else 0
        if left >= 0:
            kept.add(at)
    return tuple(one if at in kept else without_trace(one) for at, one in enumerate(rounds))


def without_trace(one: Round) -> Round:
    """A round without the course of its GPUs over time."""
    return replace(one, gpu=replace(one.gpu, trace=None)) if one.gpu else one


def notes_of(done: GpuRound | None) -> list[str]:
    """What people should be told of a round's GPUs, though it counts."""
    return [] if done is None else [told for told in (done.lock and f"GPU clocks: {done.lock}", done.fault) if told]


def with_values(case: CaseRound, samples: Samples, count: int) -> CaseRound:
    """A case with the metrics of its GPUs that can be told."""
    if case.faults or not case.regions:
        return case
    gpus = seen(samples, case.regions, count)
    return replace(case, values={**case.values, **_figures(gpus, case.values.get("output_tokens"))})


def _figures(gpus: Sequence[GpuSeen], tokens: float | None) -> dict[str, float]:
    """Power and energy are of all GPUs together, utilisation is their mean."""
    out: dict[str, float] = {}
    energies = [one.energy_j for one in gpus if one.is_energy_sure and one.energy_j is not None]
    if len(energies) == len(gpus) and gpus[0].seconds:
        out["gpu_power_mean_w"] = sum(energies) / gpus[0].seconds
        if tokens:
            out["gpu_energy_j_per_token"] = sum(energies) / tokens
    busy = [one.utilization for one in gpus if one.utilization is not None]
    if len(busy) == len(gpus):
        out["gpu_utilization"] = fmean(busy)
    return out
