"""Steps of an engine with the time that its device worked in them, and the figures of a round that follow.

A wall time holds whatever the host did; where the host sets the pace it differs between processes by 10 % and more,
while the device's share of the same step differs by 0.2 %. Both are told, so that both can be gated.

Device time is never taken by CUDA events around a forward pass: where the host launches every kernel, events span
the gaps in which the device waits, which are the host's. It is the union of the intervals in which kernels and
copies ran (`torch_steps.py`), or what an engine with counters of its own says (TensorRT-LLM). Steps come of a short
run after the timed regions, at their load, so that timed regions stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median
from typing import Protocol, runtime_checkable

from perfgate.engines.base import Request

AS_ONE = 1.05  # shares of the wall time up to this are all of it: both were measured, at different times


class StepKind(StrEnum):
    """What ran in a step."""

    PREFILL = "prefill"  # prompts alone
    DECODE = "decode"  # every sequence past its prompt
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class Step:
    """One step, or the mean of a few like it.

    sequences: that took part. device_s: seconds in which the device worked for it. host_s: seconds from its begin
    to the next one's, as the host saw it in this run (a profiler may have made them longer); None where not told.
    """

    kind: StepKind
    sequences: int
    device_s: float
    host_s: float | None = None


@dataclass(frozen=True, slots=True)
class Steps:
    """What is known of an engine's steps; `reason` says why nothing is."""

    steps: tuple[Step, ...] = ()
    reason: str | None = None


@runtime_checkable
class SteppedEngine(Protocol):
    """What an engine on a GPU has beside `Engine` where it can tell device times."""

    def device_steps(self, requests: Sequence[Request], concurrency: int) -> Steps:
        """Run the requests, which all start at once, and tell the device time of the steps; nothing here is timed.

        Never raises: what goes wrong is the reason, as the timed regions are over and stand.
        """
        ...


def shortened(requests: Sequence[Request], output_len: int) -> list[Request]:
    """The same requests with at most so many tokens of output."""
    return [replace(request, output_len=min(request.output_len, output_len)) for request in requests]


def step_figures(steps: Iterable[Step], wall_step_s: float | None) -> dict[str, float]:
    """Metrics of a round; a figure that nothing tells is absent.

    wall_step_s: median time between a request's token events in the timed regions, without a profiler.
    """
    known = [one for one in steps if one.device_s > 0 and one.sequences > 0]
    prefills = [one.device_s / one.sequences for one in known if one.kind is StepKind.PREFILL]
    decodes = [one.device_s for one in known if one.kind is StepKind.DECODE]
    out: dict[str, float] = {}
    if prefills:
        out["device_prefill_p50"] = median(prefills)
    if decodes:
        out["device_decode_step_p50"] = median(decodes)
    if decodes and wall_step_s:
        share = median(decodes) / wall_step_s
        out["device_busy_share"] = min(share, 1.0) if share <= AS_ONE else share
    return out
