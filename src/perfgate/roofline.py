"""The limits of a device, what a case asks of it, and how near to the limits the case came: arithmetic alone.

A roofline (Williams, Waterman and Patterson, CACM 52(4), 2009) has two numbers: the bytes that a device moves in a
second and the operations that it does. Work that moves B bytes and does F operations takes no less than

    floor = max(B / bandwidth, F / rate)

MBU, the share of the bandwidth that a decode step uses (Databricks, "LLM Inference Performance Engineering: Best
Practices", 2023): (weights + KV cache) / step time / bandwidth. A byte of the model is counted once, when it is read;
the bandwidth is that of copies, whose bytes are counted when read and when written. Either way it is bytes that cross
the memory's bus in a second.

MFU, the share of the matrix rate that computing a prompt uses (Chowdhery et al., PaLM, arXiv 2204.02311, appendix B):
FLOPs of the model / time / rate, whatever an engine computes beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from perfgate.percent import percent

MOST_FOREIGN = 0.1  # an idle machine's own services take about 1 %
# Interference only slows: the best copy was 3 to 6 % above the median on a quiet machine and 20 to 160 % on a busy one
# (2 cores of a shared host, 2026-11).
MOST_ABOVE = 0.15
NEAR = 0.5  # from this share of a limit on, most of the time goes to it; below, to something else


@dataclass(frozen=True, slots=True)
class Rate:
    """A measured rate a second: the median of `repeats`, the lowest and the highest of them."""

    median: float
    low: float
    high: float
    repeats: int

    def __post_init__(self) -> None:
        """Refuse what cannot have been measured, in files too.

        Raises:
            ValueError: a rate that is not positive, or a median outside its spread.
        """
        if not 0 < self.low <= self.median <= self.high:
            raise ValueError(f"a rate of {self.low} to {self.high} with the median {self.median} cannot be")

    @property
    def spread(self) -> float:
        """From the lowest to the highest, as a share of the median."""
        return (self.high - self.low) / self.median


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What one device reaches: measured, never a data sheet.

    copy_bytes_per_s: bytes read plus bytes written by copies of buffers that fit in no cache, as STREAM counts.
    matrix_flops: floating-point (integer for int8) operations a second of large matrix products, by precision; a
    multiplication and an addition are two. cache_bytes: the last-level cache. untold: what was not measured, and why.
    """

    device: str
    product: str
    made_with: Mapping[str, str]  # versions of what measured, and of the driver
    measured: str  # UTC, ISO 8601
    copy_bytes_per_s: Rate
    matrix_flops: Mapping[str, Rate]
    cache_bytes: int | None = None
    untold: Mapping[str, str] = field(default_factory=dict)
    foreign_share: float = (
        0.0  # of the machine's CPU time, taken by others (the hypervisor too) while this was measured
    )

    @property
    def doubt(self) -> str:
        """Why the figures may be too low; empty where nothing speaks against them."""
        if self.foreign_share > MOST_FOREIGN:
            return f"others took {percent(self.foreign_share, 0)} of the machine while its limits were measured"
        above = self.copy_bytes_per_s.high / self.copy_bytes_per_s.median - 1
        if above > MOST_ABOVE:
            return f"its best copy was {percent(above, 0)} faster than the median"
        return ""


@dataclass(frozen=True, slots=True)
class Work:
    """What one device moves (bytes) and does (FLOPs) in one decode step, or for one prompt."""

    moved_bytes: float
    flops: float

    def __add__(self, other: Work) -> Work:
        return Work(self.moved_bytes + other.moved_bytes, self.flops + other.flops)

    def __mul__(self, times: float) -> Work:
        return Work(self.moved_bytes * times, self.flops * times)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a case asks of one device; a part that is not known is None, and `untold` says why.

    rates: the precisions that the engine may multiply in; the first whose rate is known counts. is_speculative: a step
    gives several tokens. is_queued: a prompt waits for steps of others, so that its share is a lower bound.
    """

    rates: tuple[str, ...]
    decode: Work | None = None
    prefill: Work | None = None
    is_speculative: bool = False
    is_queued: bool = False
    untold: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """The device's limits, and by case id what each case asks of it."""

    ceilings: Ceilings
    demands: Mapping[str, Demand]


class Bound(StrEnum):
    """What most of the time goes to."""

    MEMORY = "memory"
    COMPUTE = "compute"
    NEITHER = "overhead"


def matrix_rate(demand: Demand, ceilings: Ceilings) -> float | None:
    """Operations a second of the first of the demand's precisions that was measured; None where none was."""
    found = (ceilings.matrix_flops[name].median for name in demand.rates if name in ceilings.matrix_flops)
    return next(found, None)


def fits_in_cache(work: Work, ceilings: Ceilings) -> bool:
    """Whether all that a step reads lies in the last-level cache, so that memory is no limit to it."""
    return ceilings.cache_bytes is not None and work.moved_bytes <= ceilings.cache_bytes


def device_step_s(values: Mapping[str, float]) -> float | None:
    """Seconds in which the device worked in a decode step, where the engine told them: what its memory is read in."""
    return values.get("device_decode_step_p50") or None


def decode_step_s(values: Mapping[str, float], demand: Demand) -> float | None:
    """Seconds of a decode step of the wall clock, host and all, from a round's values.

    The median time between tokens. Under speculation an event holds several tokens: its mean time is that of a token
    times the tokens of an event.
    """
    if demand.is_speculative:
        tpot, tokens = values.get("tpot_mean"), values.get("acceptance_len")
        return tpot * tokens if tpot and tokens else None
    return next((values[name] for name in ("itl_p50", "tpot_p50", "tpot_mean") if values.get(name)), None)


def prefill_s(values: Mapping[str, float]) -> float | None:
    """Seconds to the first token, from a round's values."""
    return next((values[name] for name in ("ttft_p50", "ttft_mean") if values.get(name)), None)


def shares(values: Mapping[str, float], demand: Demand, ceilings: Ceilings) -> dict[str, float]:
    """`mbu_decode` and `mfu_prefill` of a round, as far as they are known.

    MBU is of the device's own step where that is known: what waits for the host reads nothing.
    """
    out: dict[str, float] = {}
    step_s = device_step_s(values) or decode_step_s(values, demand)
    first_s, rate = prefill_s(values), matrix_rate(demand, ceilings)
    if demand.decode and step_s:
        out["mbu_decode"] = demand.decode.moved_bytes / step_s / ceilings.copy_bytes_per_s.median
    if demand.prefill and first_s and rate:
        out["mfu_prefill"] = demand.prefill.flops / first_s / rate
    return out


@dataclass(frozen=True, slots=True)
class Distance:
    """How far a phase is from its limit: times as long as the least time, and what the time goes to.

    of_memory, of_compute: shares of the two limits; None where that limit is not known or is none.
    """

    seconds: float
    floor_s: float
    of_memory: float | None
    of_compute: float | None

    @property
    def times(self) -> float:
        return self.seconds / self.floor_s

    @property
    def bound(self) -> Bound:
        if self.times * NEAR > 1:
            return Bound.NEITHER
        return Bound.MEMORY if (self.of_memory or 0.0) >= (self.of_compute or 0.0) else Bound.COMPUTE


def distance(work: Work, seconds: float, demand: Demand, ceilings: Ceilings) -> Distance | None:
    """The distance of a phase that took so many seconds; None where no limit of it is known."""
    rate = matrix_rate(demand, ceilings)
    memory_s = None if fits_in_cache(work, ceilings) else work.moved_bytes / ceilings.copy_bytes_per_s.median
    compute_s = work.flops / rate if rate else None
    floor_s = max((one for one in (memory_s, compute_s) if one is not None), default=0.0)
    if floor_s <= 0:
        return None
    of_memory, of_compute = (None if one is None else one / seconds for one in (memory_s, compute_s))
    return Distance(seconds, floor_s, of_memory, of_compute)
