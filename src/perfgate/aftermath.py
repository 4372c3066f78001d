"""What is left of a child that failed: counters of the kernel since it began, and the ends of its logs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from perfgate.diagnosis import Diagnosis, Evidence, OomKills, diagnose
from perfgate.engines.kept import log_tail
from perfgate.engines.redaction import secrets_in
from perfgate.kernel_log import kernel_lines, monotonic_s, oom_kills

_LINES = 400  # of each log: a root cause stands above the tracebacks of those that it took along


@dataclass(frozen=True, slots=True)
class Scene:
    """The kernel's counters before a child began."""

    moment_s: float
    kills: OomKills

    @staticmethod
    def now() -> Scene:
        return Scene(monotonic_s(), oom_kills())

    def diagnose(self, code: int, logs: Iterable[Path], told: str = "") -> Diagnosis | None:
        """Why a child failed that ended with that code. told: what it says itself, read after its logs."""
        secrets = secrets_in((), os.environ)
        lines = [line for log in logs for line in log_tail(log, _LINES, secrets)]
        kernel = kernel_lines(self.moment_s)
        return diagnose(Evidence(code, [*kernel, *lines, told], oom_kills().since(self.kills)))
