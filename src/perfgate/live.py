"""A gate's progress on a terminal: a bar, the time gone and left, and what is being done, drawn by rich once a second.

Drawing takes the pytest process about a millisecond a second; engines run in processes of their own.
"""

from __future__ import annotations

import time
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text


class _WordsColumn(ProgressColumn):
    """How far, time gone, what the gate estimates is left, counted down between its estimates, and what is done.

    One column, so that on a narrow terminal nothing but its end is cut.
    """

    def render(self, task: Task) -> Text:
        from perfgate.terminal import clock

        left_s = task.fields["left_s"] - (time.monotonic() - task.fields["told_at"])
        left = f"about {clock(left_s)} left" if left_s >= 1 else "nearly done"
        return Text(f"{task.completed}/{task.total}  {clock(task.elapsed or 0.0)} gone, {left}: {task.description}")


class LiveBar:
    """One line that is drawn anew; other lines go above it."""

    def __init__(self, file: IO[str], *, has_colour: bool) -> None:
        console = Console(file=file, no_color=not has_colour, highlight=False, markup=False, emoji=False)
        words = _WordsColumn(table_column=Column(no_wrap=True, overflow="ellipsis"))
        self._progress = Progress(
            BarColumn(bar_width=10), words, console=console, refresh_per_second=1, transient=True,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._progress.start()

    def step(self, text: str, done: int, total: int, left_s: float) -> None:
        if self._task is None:
            self._task = self._progress.add_task(text, left_s=left_s, told_at=time.monotonic())
        self._progress.update(
            self._task, description=text, completed=done, total=total, left_s=left_s, told_at=time.monotonic(),
            refresh=True,
        )  # fmt: skip

    def line(self, text: str) -> None:
        """A line that stays."""
        self._progress.console.print(text, soft_wrap=True)

    def end(self) -> None:
        self._progress.stop()
