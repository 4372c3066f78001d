"""What an engine can be tuned for: the metric that is to get better, under which workload, and what it may cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from perfgate.case import BuildWork, LatencyWork, ServingWork, Workload
from perfgate.load.lengths import parse_lengths
from perfgate.metrics import LOSS, PAIRED


class Goal(StrEnum):
    """What is wanted of the engine."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    LONG_CONTEXT = "long-context"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class GoalRule:
    """metric: what is to get better. choose: the workload that tells. spends: beginnings of metrics that may get worse.

    Whatever the suite gates beside them must not get worse by more than the suite allows.
    """

    metric: str
    words: str
    choose: Callable[[Sequence[Workload]], Workload | None]
    spends: tuple[str, ...]


def streams(work: Workload) -> int:
    """Requests at a time; an open loop has no bound, and counts as many."""
    return getattr(work, "concurrency", None) or _MANY


def input_len(work: Workload) -> float:
    """Tokens of a prompt, on average; 0 for workloads without prompts."""
    match work:
        case LatencyWork():
            return work.input_len
        case ServingWork():
            return float(parse_lengths(work.isl).draw(_DRAWS, np.random.default_rng(work.seed)).mean())
        case _:
            return 0.0


_MANY, _DRAWS = 1 << 20, 256


def _loads(works: Sequence[Workload]) -> list[Workload]:
    return [work for work in works if isinstance(work, LatencyWork | ServingWork)]


def _fewest_streams(works: Sequence[Workload]) -> Workload | None:
    return min(_loads(works), key=streams, default=None)


def _most_streams(works: Sequence[Workload]) -> Workload | None:
    return max(_loads(works), key=streams, default=None)


def _longest_prompts(works: Sequence[Workload]) -> Workload | None:
    return max(_loads(works), key=input_len, default=None)


def _build(works: Sequence[Workload]) -> Workload | None:
    return next((work for work in works if isinstance(work, BuildWork)), None)


# Memory is there to be used, loading happens once, and shares of a limit or of the GPU are no end in themselves.
_CHEAP = (
    "load_s", "engine_bytes", "peak_memory_bytes", "peak_gpu_memory_bytes", "gpu_power", "gpu_utilization",
    "device_busy_share", "mbu_", "mfu_", "acceptance_len",
)  # fmt: skip

RULES: Mapping[Goal, GoalRule] = {
    Goal.LATENCY: GoalRule(
        "e2el_tmean", "requests that end sooner, at the fewest streams", _fewest_streams, _CHEAP
    ),
    Goal.THROUGHPUT: GoalRule(  # a larger batch makes each step of it longer
        "output_tokens_per_s", "more tokens a second, at the most streams", _most_streams,
        (*_CHEAP, "tpot_", "itl_", "device_"),
    ),
    Goal.LONG_CONTEXT: GoalRule(
        "ttft_tmean", "first tokens that come sooner, under the longest prompts", _longest_prompts, _CHEAP
    ),
    Goal.MEMORY: GoalRule(
        "peak_memory_bytes", "less memory of the engine's process", _build, ("load_s", "gpu_utilization", "gpu_power")
    ),
}  # fmt: skip
MEMORY_ON_GPU = "peak_gpu_memory_bytes"


def metric_of(goal: Goal, *, is_gpu: bool) -> str:
    """The name of the metric that is to get better."""
    return MEMORY_ON_GPU if goal is Goal.MEMORY and is_gpu else RULES[goal].metric


def is_guarded(metric: str, goal: Goal) -> bool:
    """Whether a gated metric must stay within the suite's limits; what a text loses is judged from the start engine."""
    return metric not in PAIRED | {LOSS} and not metric.startswith(RULES[goal].spends)
