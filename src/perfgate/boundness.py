"""Whether a metric waits for the GPU or for the host: from the share of time the device worked, and from the noise.

Figures by which the limits were set: fresh processes of one unchanged engine on an H200 differ by
0.2 % where decoding runs as a CUDA graph and by 1.3 % in prefill, but by 7 to 23 % where the host
launches every kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from perfgate.percent import percent
from perfgate.spread import Spread

BUSY = 0.9  # share of the time that the device works, from which it is the device that is waited for
IDLE = 0.7  # below this the device waits for the host
CALM = 0.02  # spread between processes that device-bound work stays under
WILD = 0.05  # spread that device-bound work was never seen to have


class Bound(StrEnum):
    """What a metric waits for."""

    CPU_ENGINE = "cpu-engine"
    GPU = "gpu"
    HOST = "host"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a metric waits for, and why we say so."""

    bound: Bound
    reason: str


def waits_for(*, is_gpu: bool, busy: float | None, rounds: Spread | None) -> Waiting:
    """Classify one metric.

    busy: share of the timed region in which the device worked (utilisation, or device time over wall
    time), None where no counter tells; rounds: spread between processes, None where too few are known.
    Noise alone never decides: a quiet host and a noisy device both exist.
    """
    if not is_gpu:
        return Waiting(Bound.CPU_ENGINE, "the engine runs on the CPU: whatever loads the host loads the engine")
    return _on_gpu(busy, rounds)


def _on_gpu(busy: float | None, rounds: Spread | None) -> Waiting:
    if busy is None:
        return Waiting(Bound.UNKNOWN, f"not known here: no counter tells how busy the GPU was{_hint(rounds)}")
    worked = f"the GPU worked {percent(busy, 0)} of the time"
    if not 0 <= busy <= 1:
        return Waiting(Bound.UNKNOWN, f"not known: a counter says that {worked}")
    if busy < IDLE:
        return Waiting(Bound.HOST, f"{worked} and waited for the host otherwise")
    if busy < BUSY:
        return Waiting(Bound.UNKNOWN, f"not clear: {worked}{_hint(rounds)}")
    if rounds is not None and rounds.low > WILD:
        more = f"but processes differ by {percent(rounds.sd)}, more than device-bound work does"
        return Waiting(Bound.UNKNOWN, f"not clear: {worked}, {more}")
    return Waiting(Bound.GPU, worked)


def _hint(rounds: Spread | None) -> str:
    """What the noise makes more likely, where it says anything."""
    if rounds is None:
        return ""
    if rounds.low > WILD:
        return f"; processes differ by {percent(rounds.sd)}, as host-bound work does"
    if rounds.high < CALM:
        return f"; processes differ by {percent(rounds.sd)} only, as device-bound work does"
    return f"; processes differ by {percent(rounds.sd)}, which either may do"
