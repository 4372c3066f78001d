"""Planted regressions inside vLLM: decode steps that take longer, prompts that score worse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfgate.engines.base import wait_after
from perfgate.plant import Plant

_PROBE_CYCLES = 20_000_000  # about 10 ms


class Slowdown:
    """Makes decode steps `plant.decode` times as long.

    With asynchronous scheduling the GPU has its next batch before the host sees the last one's tokens: a wait of
    the host would be lost behind it. There the GPU sleeps as long as the host does, behind the batch in flight,
    so that steps grow by as much whether the host or the GPU sets the pace.
    """

    def __init__(self, plant: Plant, *, is_ahead: bool) -> None:
        self._plant = plant
        self._torch: Any = None
        if plant.decode > 1 and is_ahead:
            import torch

            self._torch = torch
            self._cycles_per_ns = _cycles_per_ns(torch)

    def after_step(self, step_ns: int) -> None:
        """To be called after each decode step, which took `step_ns`."""
        if self._plant.decode <= 1:
            return
        if self._torch:
            self._torch.cuda._sleep(int(step_ns * (self._plant.decode - 1) * self._cycles_per_ns))  # noqa: SLF001
        wait_after(step_ns, self._plant)


def _cycles_per_ns(torch: Any) -> float:
    """Of the clock that torch's sleeping kernel counts, at the GPU's present frequency."""
    torch.cuda._sleep(_PROBE_CYCLES)  # noqa: SLF001 - wakes the GPU's clocks
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    torch.cuda._sleep(_PROBE_CYCLES)  # noqa: SLF001 - its only sleeping kernel
    end.record()
    end.synchronize()
    return float(_PROBE_CYCLES / (begin.elapsed_time(end) * 1e6))


def worse_log_prob(own: float, others: NDArray[np.float64], plant: Plant, random: np.random.Generator) -> float:
    """A token's log-probability under logits with Gaussian noise of variance v = 2 ln(plant.perplexity).

    own: the token's; others: the likeliest other tokens' [n]. Each of them gets noise of its own; the many small
    ones left are taken together and grow by the mean of a log-normal, exp(v / 2) (see `base.log_probs`).
    """
    variance = 2 * math.log(plant.perplexity)
    known = np.concatenate([[own], others])
    noisy = known + math.sqrt(variance) * random.standard_normal(known.shape)
    rest = max(0.0, 1.0 - float(np.exp(known).sum())) * math.exp(variance / 2)
    return float(noisy[0] - math.log(float(np.exp(noisy).sum()) + rest))
