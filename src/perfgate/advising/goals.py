"""Goals, and the metrics by which an engine comes nearer to them: those that decide, and those that are told beside."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

Names = tuple[str, ...]  # names of one figure, the least noisy first; of those that both sides have the first counts

_E2EL: Names = ("e2el_tmean", "e2el_mean", "e2el_p50", "e2el_p95")  # sweeps have the last one alone
_TTFT: Names = ("ttft_tmean", "ttft_mean", "ttft_p50")
_TPOT: Names = ("tpot_tmean", "tpot_mean", "tpot_p50")
_SPEED: Names = ("output_tokens_per_s",)
_MEMORY: Names = ("peak_gpu_memory_bytes", "peak_memory_bytes")
_SIZE: Names = ("engine_bytes",)
_ENERGY: Names = ("gpu_energy_j_per_token", "energy_j_per_token")


class Goal(StrEnum):
    """What a user wants most."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    MEMORY = "memory"
    LONG_CONTEXT = "long-context"
    COST = "cost"


@dataclass(frozen=True, slots=True)
class Aim:
    """decides: figures that a technique must better to be taken. beside: what it may cost or give as well.

    is_of_longest: workloads with shorter prompts than the longest say nothing. is_per_device: speeds are divided by
    the devices that an engine takes.
    """

    about: str
    decides: tuple[Names, ...]
    beside: tuple[Names, ...]
    is_of_longest: bool = False
    is_per_device: bool = False


AIMS = {
    Goal.LATENCY: Aim("shorter requests", (_E2EL,), (_TTFT, _TPOT, _SPEED, _MEMORY)),
    Goal.THROUGHPUT: Aim("more output tokens a second", (_SPEED,), (_E2EL, _TTFT, _MEMORY)),
    Goal.MEMORY: Aim("less memory, so that a larger model fits", (_MEMORY,), (_SIZE, _SPEED, _E2EL)),
    Goal.LONG_CONTEXT: Aim(
        "shorter requests at the longest prompts, and room for their KV cache", (_E2EL, _MEMORY), (_TTFT, _SPEED),
        is_of_longest=True,
    ),
    Goal.COST: Aim("more output tokens for the same price", (_SPEED,), (_ENERGY, _E2EL, _TTFT), is_per_device=True),
}  # fmt: skip
