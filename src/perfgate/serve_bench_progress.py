"""How a load run goes on, for people: a line that is rewritten on a terminal, else now and then a plain one."""

from __future__ import annotations

import os
from typing import TextIO

from perfgate.load.progress import Progress
from perfgate.terminal import clock

_PLAIN_EVERY_S = 10.0
_ERASE = "\r\x1b[K"


class ProgressLine:
    """Writes how far runs have come. Without a terminal on `screen`, lines go to `log`. No colours, ever."""

    def __init__(self, screen: TextIO, log: TextIO) -> None:
        self._is_live = screen.isatty() and os.environ.get("TERM") != "dumb"
        self._out = screen if self._is_live else log
        self._plain_at_s = _PLAIN_EVERY_S

    def tell(self, name: str, now: Progress) -> None:
        line = progress_words(name, now)
        if self._is_live:
            self._out.write(_ERASE + line[: _columns(self._out) - 1])
        elif now.elapsed_s >= self._plain_at_s:
            self._plain_at_s = now.elapsed_s + _PLAIN_EVERY_S
            self._out.write(f"{line}\n")
        self._out.flush()

    def end(self) -> None:
        """A run is over: leave no half-written line; the next run's time begins anew."""
        self._plain_at_s = _PLAIN_EVERY_S
        if self._is_live:
            self._out.write(_ERASE)
            self._out.flush()


def progress_words(name: str, now: Progress) -> str:
    """'concurrency_16: 40 of 160 done, 16 in flight, 0:12 gone, about 0:36 left, 1,234 tokens/s'."""
    words = [f"{now.done} of {now.total} done"]
    if now.is_over:
        words.append("reading what came")
    else:
        words += [] if now.in_flight is None else [f"{now.in_flight} in flight"]
    words.append(f"{clock(now.elapsed_s)} gone")
    if now.left_s is not None and not now.is_over:
        words.append(f"about {clock(now.left_s)} left")
    words += [] if now.tokens_per_s is None else [f"{now.tokens_per_s:,.0f} tokens/s"]
    return f"{name}: {', '.join(words)}"


def _columns(out: TextIO) -> int:
    try:
        return os.get_terminal_size(out.fileno()).columns or 80
    except OSError:
        return 80
