"""A child that makes no progress is found before its deadline: no word, no CPU time, no disk traffic, no GPU at work.

A long phase that works is left alone: compiling spends CPU, loading reads, and a host that sleeps while kernels run
has a busy GPU. What spins without end looks like work: the deadline is for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from perfgate.errors import RoundError
from perfgate.fault_kinds import ProcessFault
from perfgate.gpu_memory import is_any_gpu_busy
from perfgate.heartbeat import last_beat
from perfgate.process_tree import Effort, tree_effort

LOOKS = 6  # in the time after which a child counts as stalled
BUSY = 0.02  # of a core: threads that only poll stay below
BUSY_BYTES_PER_S = 1_000_000


class Watch:
    """Looks at a child every so often; `stall_s` of seeing nothing ends the patience."""

    def __init__(
        self, pid: int, state: Path, stall_s: float, clock: Callable[[], float] = time.monotonic,
        effort: Callable[[int], Effort] = tree_effort, is_gpu_busy: Callable[[], bool] = is_any_gpu_busy,
    ) -> None:  # fmt: skip
        self._pid, self._state, self._stall_s = pid, state, stall_s
        self._clock, self._effort, self._is_gpu_busy = clock, effort, is_gpu_busy
        self.restart()

    @property
    def every_s(self) -> float:
        """How often to look; never where nothing counts as a stall."""
        return self._stall_s / LOOKS if math.isfinite(self._stall_s) else math.inf

    @property
    def state(self) -> str:
        """What the child said last."""
        return last_beat(self._state).state

    def restart(self) -> None:
        """Begin to count: the child may have waited for its turn, which is no stall."""
        self._progress = self._looked = self._clock()
        self._beat = last_beat(self._state)
        self._spent: Effort | None = None

    def look(self) -> None:
        """See what came since the last look; the process tree is read only where no word did.

        Raises:
            RoundError: of kind 'stalled', with what the child said last.
        """
        now, beat = self._clock(), last_beat(self._state)
        if beat != self._beat:
            self._beat, self._spent, self._progress = beat, None, now
        elif self._works(now):
            self._progress = now
        self._looked = now
        if now - self._progress >= self._stall_s:
            raise RoundError(
                f"no word, CPU time, disk or GPU work for {now - self._progress:.0f} s while '{beat.state}': killed",
                ProcessFault.STALLED,
            )

    def _works(self, now: float) -> bool:
        before, self._spent = self._spent, self._effort(self._pid)
        if before is None:
            return False
        passed = now - self._looked
        cpu_s, disk_bytes = self._spent.cpu_s - before.cpu_s, self._spent.disk_bytes - before.disk_bytes
        return cpu_s > BUSY * passed or disk_bytes > BUSY_BYTES_PER_S * passed or self._is_gpu_busy()
