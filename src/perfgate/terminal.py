"""Progress on a terminal: one line that is rewritten; plain lines where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from perfgate.plan import Plan
    from perfgate.suite import Suite


class Screen(Protocol):
    """What a terminal can do; pytest's terminal reporter is one."""

    @property
    def isatty(self) -> bool: ...

    def write_line(self, line: str, /) -> None: ...

    def rewrite(self, line: str, /, **markup: Any) -> None: ...


class PlainScreen:
    """Standard output."""

    @property
    def isatty(self) -> bool:
        return sys.stdout.isatty()

    def write_line(self, line: str, /) -> None:
        print(line, flush=True)

    def rewrite(self, line: str, /, **_markup: Any) -> None:
        print(f"\r\x1b[K{line}", end="", flush=True)


class Terminal:
    """A gate's `Teller` on a screen."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._is_live = screen.isatty
        self._begin = time.monotonic()

    def step(self, text: str, done: int, total: int, left_s: float) -> None:
        share = f"{done}/{total}".rjust(7)
        line = f"[{share}] {clock(time.monotonic() - self._begin)} gone, about {clock(left_s)} left: {text}"
        if self._is_live:
            self._screen.rewrite(line, erase=True)
        else:
            self._screen.write_line(line)

    def note(self, text: str) -> None:
        self.end()
        self._screen.write_line(f"perfgate: {text}")

    def lines(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._screen.write_line(line)

    def end(self) -> None:
        """Leave the rewritten line."""
        if self._is_live:
            self._screen.rewrite("", erase=True)


def clock(seconds: float) -> str:
    """'0:07', '12:30', '1:02:03'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def plan_lines(plan: Plan, suite: Suite) -> list[str]:
    """What a gate would do, for people."""
    judged = (
        f"judged against {plan.baseline[0]}" if plan.baseline else "no baseline on this device: nothing would be judged"
    )
    basis = "a guess: nothing was measured here yet" if plan.is_guess else "from earlier rounds here"
    lines = [f"suite {suite.name} ({suite.source}) on {plan.device.key} ({plan.device.product}); {judged}", ""]
    width = max((len(case.id) for case in plan.cases), default=0)
    lines += [
        f"  {case.id:<{width}}  {case.kind:<10}  {f'skip: {case.skip}' if case.skip else 'measure'}"
        for case in plan.cases
    ]
    skips = sum(case.skip is not None for case in plan.cases)
    work = f"{len(plan.engines)} engines x {plan.rounds} rounds x {plan.round_s:.1f} s"
    lines += ["", f"{len(plan.cases) - skips} cases to measure, {skips} skipped"]
    lines += [f"{work} = about {clock(plan.estimate_s)} ({basis}), at most {clock(suite.gate.budget_s)}"]
    return lines
