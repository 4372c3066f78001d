"""A gate's progress on a terminal: a bar, the time gone and left, and what is being done, drawn by rich once a second.

Drawing takes the pytest process about a millisecond a second; engines run in processes of their own.
"""

from __future__ import annotations

import time
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text


class _LeftColumn(ProgressColumn):
    """The time that the gate estimates is left, counted down between its estimates."""

    def render(self, task: Task) -> Text:
        from perfgate.terminal import clock

        left_s = task.fields["left_s"] - (time.monotonic() - task.fields["told_at"])
        return Text(f"about {clock(left_s)} left" if left_s > 0 else "any moment now")


class LiveBar:
    """One line that is drawn anew; other lines go above it."""

    def __init__(self, file: IO[str], *, has_colour: bool) -> None:
        console = Console(file=file, no_color=not has_colour, highlight=False, markup=False, emoji=False)
        words = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
        columns = (BarColumn(bar_width=10), MofNCompleteColumn(), TimeElapsedColumn(), _LeftColumn(), words)
        self._progress = Progress(
            *columns, console=console, refresh_per_second=1, transient=True, redirect_stdout=False,
            redirect_stderr=False,
        )  # fmt: skip
        self._task = self._progress.add_task("", left_s=0.0, told_at=time.monotonic())
        self._progress.start()

    def step(self, text: str, done: int, total: int, left_s: float) -> None:
        self._progress.update(
            self._task, description=text, completed=done, total=total, left_s=left_s, told_at=time.monotonic(),
            refresh=True,
        )  # fmt: skip

    def line(self, text: str) -> None:
        """A line that stays."""
        self._progress.console.print(text, soft_wrap=True)

    def end(self) -> None:
        self._progress.stop()
