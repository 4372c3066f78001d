"""Whether a round counts, by what its GPUs did while it was timed: limits, and the first reason against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from perfgate.gpu.sample import THROTTLING
from perfgate.gpu.seen import GpuSeen
from perfgate.percent import percent

FEWEST_ALIKE = 2  # earlier rounds with which clocks are compared


@dataclass(frozen=True, slots=True)
class GpuLimits:
    """What a round's GPUs may do.

    throttled: share of the samples in which a GPU was slowed by heat or a power brake. One sample of a short round is
    more than 1 %; in a long one a moment may pass that no figure would show.
    clock_move: how far clocks may move without the power cap as the reason (`GpuSeen.clock_move`), and how far a
    round's median SM clock may be from that of earlier rounds like it. Clocks go in steps of 15 MHz, below 1 % of what
    data-centre GPUs run at, and figures go with them: 5 % is what a gate promises to find.
    foreign: whether processes of others may use the GPU.
    """

    throttled: float = 0.01
    clock_move: float = 0.05
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class GpuWish:
    """What a suite says of GPUs: limits, and the SM clock that is to be locked, if any."""

    limits: GpuLimits = GpuLimits()
    lock_mhz: int | None = None


def why_invalid(gpus: Sequence[GpuSeen], limits: GpuLimits) -> str | None:
    """The first reason for which a round must not be judged, in one line; None where there is none."""
    reasons = (f"the engine's GPU {at} {what}" for at, gpu in enumerate(gpus) for what in _reasons(gpu, limits))
    return next(reasons, None)


def why_unlike(gpus: Sequence[GpuSeen], earlier: Sequence[Sequence[GpuSeen]], limits: GpuLimits) -> str | None:
    """Why a round's clocks are not those of earlier rounds of the same engine and side; None where they are.

    Two earlier ones at least must tell. All do the same work, so that the power cap leads each to about the same clock.
    """
    for at, gpu in enumerate(gpus):
        before = [mhz for one in earlier if len(one) > at and (mhz := one[at].sm_mhz) is not None]
        if gpu.sm_mhz is None or len(before) < FEWEST_ALIKE:
            continue
        usual = median(before)
        if abs(gpu.sm_mhz / usual - 1.0) > limits.clock_move:
            ran = f"ran at {gpu.sm_mhz:.0f} MHz (median), its {len(before)} earlier rounds at {usual:.0f} MHz"
            return f"the engine's GPU {at} {ran}: more than {percent(limits.clock_move)} apart"
    return None


def _reasons(gpu: GpuSeen, limits: GpuLimits) -> Iterator[str]:
    slowed = {name: share for name, share in gpu.reasons.items() if name in THROTTLING}
    if slowed and max(slowed.values()) > limits.throttled:
        named = ", ".join(f"{name} in {percent(share, 0)}" for name, share in slowed.items())
        heat = "" if gpu.temperature_most_c is None else f", up to {gpu.temperature_most_c:.0f} C"
        yield f"throttled while it was timed: {named} of {gpu.samples} samples{heat}"
    if gpu.clock_move is not None and gpu.clock_move > limits.clock_move:
        allowed = percent(limits.clock_move)
        yield f"moved its clocks by {percent(gpu.clock_move)} while it was timed, {allowed} are allowed"
    if gpu.foreign and not limits.foreign:
        yield f"was used by another's {gpu.foreign[0]} while it was timed"
