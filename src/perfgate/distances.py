"""How near the cases of a run came to the limits of the device: shares put into rounds, distances read out of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from perfgate.record import CaseInfo, CaseRound, Round, Run, Side
from perfgate.roofline import (
    Bound,
    Ceilings,
    Demand,
    Distance,
    Limits,
    Work,
    decode_step_s,
    device_step_s,
    distance,
    fits_in_cache,
    matrix_rate,
    prefill_s,
    shares,
)
from perfgate.versus import geometric_mean

_BY_DEVICE = "MBU is of the device's own step (device_decode_step_p50), 'x least' of the time between tokens"


def with_shares(done: Round, limits: Limits | None) -> Round:
    """A round whose cases have `mbu_decode` and `mfu_prefill`, as far as they are known."""
    if limits is None:
        return done
    return replace(done, cases=tuple(_with_shares(one, limits) for one in done.cases))


def _with_shares(one: CaseRound, limits: Limits) -> CaseRound:
    demand = limits.demands.get(one.case)
    if demand is None or one.faults:
        return one
    return replace(one, values={**one.values, **shares(one.values, demand, limits.ceilings)})


@dataclass(frozen=True, slots=True)
class Phase:
    """Decode or prefill of a case. share: of bandwidth (MBU) or of the matrix rate (MFU); None where not known.

    MBU is of the device's own step where the run has it; the distance is always of the wall clock.

    distance: None where no limit is known. is_least: the share is a lower bound. notes: what to know before reading it.
    """

    share: float | None
    distance: Distance | None
    is_least: bool = False
    notes: tuple[str, ...] = ()

    @property
    def bound(self) -> Bound | None:
        return self.distance.bound if self.distance else None


@dataclass(frozen=True, slots=True)
class Nearness:
    """A case and its two phases."""

    case: str
    decode: Phase
    prefill: Phase


def nearness(run: Run, limits: Limits) -> list[Nearness]:
    """Every case that generates text, by the geometric mean of its rounds."""
    asked = ((case, limits.demands[case.id]) for case in run.cases if case.id in limits.demands and case.skip is None)
    return [_near(run, case, demand, limits.ceilings) for case, demand in asked]


def _near(run: Run, case: CaseInfo, demand: Demand, ceilings: Ceilings) -> Nearness:
    step_s = _seconds(run, case, lambda values: decode_step_s(values, demand))
    first_s = _seconds(run, case, prefill_s)
    decode = _decode(demand, step_s, _seconds(run, case, device_step_s), ceilings)
    return Nearness(case.id, decode, _prefill(demand, first_s, ceilings))


def _seconds(run: Run, case: CaseInfo, read: Callable[[Mapping[str, float]], float | None]) -> float | None:
    """The geometric mean over the candidate's valid rounds; None where none tells."""
    rounds = (one for one in run.rounds if one.is_valid and one.side is Side.CANDIDATE)
    valid = (one for done in rounds for one in done.cases if one.case == case.id and not one.faults)
    found = [seconds for one in valid if (seconds := read(one.values))]
    return geometric_mean(found) if found else None


def _decode(demand: Demand, wall_s: float | None, device_s: float | None, ceilings: Ceilings) -> Phase:
    """A decode step; wall_s: as the client saw it. device_s: the part of it in which the device worked."""
    work, seconds = demand.decode, device_s or wall_s
    if work is None:
        return Phase(None, None, notes=(demand.untold.get("decode", "not known"),))
    if seconds is None:
        why = "the engine does not tell how many tokens a step gave" if demand.is_speculative else "no valid round"
        return Phase(None, None, notes=(f"not known: {why}",))
    share = work.moved_bytes / seconds / ceilings.copy_bytes_per_s.median
    far = distance(work, wall_s, demand, ceilings) if wall_s else None
    notes = (*_memory_notes(work, share, ceilings), *([_BY_DEVICE] if device_s else []))
    return Phase(share, far, notes=notes)


def _memory_notes(work: Work, share: float, ceilings: Ceilings) -> tuple[str, ...]:
    if fits_in_cache(work, ceilings) and ceilings.cache_bytes is not None:
        size = f"{ceilings.cache_bytes / 1e6:.1f} MB"
        return (f"weights fit in the cache ({size}): memory bandwidth is no limit, and MBU may pass 100 %",)
    if share > 1:
        return ("more than copies reach: the engine reads less than its spec says, or the copies were disturbed",)
    return ()


def _prefill(demand: Demand, seconds: float | None, ceilings: Ceilings) -> Phase:
    work, rate = demand.prefill, matrix_rate(demand, ceilings)
    if work is None:
        return Phase(None, None, notes=(demand.untold.get("prefill", "not known"),))
    if seconds is None:
        return Phase(None, None, notes=("not known: no valid round",))
    found = distance(work, seconds, demand, ceilings)
    if rate is None:
        why = f"not known: no {' or '.join(demand.rates)} matrix rate was measured on this device"
        return Phase(None, found, demand.is_queued, (why,))
    share = work.flops / seconds / rate
    return Phase(share, found, demand.is_queued, tuple(_compute_notes(demand, share, ceilings)))


def _compute_notes(demand: Demand, share: float, ceilings: Ceilings) -> Iterator[str]:
    if demand.is_queued:
        yield "prompts wait for steps of other requests: the share is a lower bound"
    if share > 1:
        name = next(name for name in demand.rates if name in ceilings.matrix_flops)
        yield f"more than the measured {name} rate: the engine multiplies in another precision, or the rate is too low"
