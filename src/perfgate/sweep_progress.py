"""How far a sweep is: a bar where there is a terminal and `rich`, else perfgate's own lines."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Protocol

from perfgate.terminal import PlainScreen, Terminal, clock


class Progress(Protocol):
    """A gate's `Teller` that can end."""

    def step(self, text: str, done: int, total: int, left_s: float) -> None: ...

    def note(self, text: str) -> None: ...

    def end(self) -> None: ...


def sweep_progress() -> Progress:
    """The fitting one for standard output."""
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        try:
            return Bar()
        except ImportError:
            pass
    return Terminal(PlainScreen())


class Bar:
    """A bar that is drawn anew when a step begins, and at no other time: drawing would take CPU from what is timed."""

    def __init__(self, console: Any = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._begin = time.monotonic()
        self._bar = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[times]}"),
            TextColumn("{task.description}", markup=False),
            console=console or Console(markup=False, highlight=False),  # NO_COLOR is read by rich itself
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, times="")

    def step(self, text: str, done: int, total: int, left_s: float) -> None:
        times = f"{clock(time.monotonic() - self._begin)} gone, about {clock(left_s)} left:"
        self._bar.update(self._task, completed=done, total=total, description=text, times=times)
        if not self._bar.live.is_started:
            self._bar.start()
        self._bar.refresh()

    def note(self, text: str) -> None:
        self._bar.console.print(f"perfgate: {text}", markup=False, highlight=False)

    def end(self) -> None:
        """Take the bar away."""
        self._bar.stop()
