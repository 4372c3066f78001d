"""Progress of a gate: a live line on a terminal, plain lines where there is none or under CI."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import IO, TYPE_CHECKING, Protocol, Self

from perfgate.workflow_lines import inert_streams

if TYPE_CHECKING:
    import pytest

    from perfgate.live import LiveBar
    from perfgate.plan import Plan
    from perfgate.suite import Suite


class Screen(Protocol):
    """Where lines go; pytest's terminal reporter is one."""

    def write_line(self, line: str, /) -> None: ...


class PlainScreen:
    """A stream of our own, by default standard output."""

    def __init__(self, file: IO[str] | None = None) -> None:
        self.file = file or sys.stdout

    def write_line(self, line: str, /) -> None:
        self.file.write(f"{line}\n")
        self.file.flush()


def is_live(file: IO[str], variables: Mapping[str, str]) -> bool:
    """Whether a line can be drawn anew on a stream, and somebody looks at it."""
    return file.isatty() and variables.get("TERM") != "dumb" and not variables.get("CI")


def takes_colour(file: IO[str], variables: Mapping[str, str]) -> bool:
    """Whether a stream takes colours, and nobody forbids them by NO_COLOR (no-color.org: set and not empty)."""
    return file.isatty() and variables.get("TERM") != "dumb" and not variables.get("NO_COLOR")


def fitted(line: str, file: IO[str] | None) -> list[str]:
    """A line broken between words for a terminal, which would break it within one.

    Whole where no terminal is: logs are searched by line.
    """
    if file is None or not file.isatty():
        return [line]
    columns = shutil.get_terminal_size().columns
    pieces = textwrap.wrap(line, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return pieces or [line]


class Terminal:
    """A gate's `Teller`. Leaving it as a context, or `end()`, takes the live line away.

    live: the stream that a live line is drawn on; None: steps are lines. is_quiet: steps are not told at all.
    """

    def __init__(
        self, screen: Screen, live: IO[str] | None = None, *, has_colour: bool = True, is_quiet: bool = False
    ) -> None:
        self._screen, self._live, self._has_colour, self._is_quiet = screen, live, has_colour, is_quiet
        self._bar: LiveBar | None = None
        self._begin = time.monotonic()

    @staticmethod
    def on_stdout() -> Terminal:
        """For the command line: live where standard output is a terminal; colours unless NO_COLOR is set."""
        live = sys.stdout if is_live(sys.stdout, os.environ) else None
        return Terminal(PlainScreen(), live, has_colour=takes_colour(sys.stdout, os.environ))

    def step(self, text: str, done: int, total: int, left_s: float) -> None:
        if self._is_quiet:
            return
        if self._live is not None:
            self._bar = self._bar or _bar(self._live, has_colour=self._has_colour)
            self._bar.step(text, done, total, left_s)
            return
        share = f"{done}/{total}".rjust(7)
        gone = clock(time.monotonic() - self._begin)
        self._screen.write_line(f"[{share}] {gone} gone, about {clock(left_s)} left: {text}")

    def note(self, text: str) -> None:
        write = self._screen.write_line if self._bar is None else self._bar.line
        for line in fitted(f"perfgate: {text}", self._live):
            write(line)

    def lines(self, lines: Sequence[str]) -> None:
        for line in lines:
            for piece in fitted(line, self._live):
                self._screen.write_line(piece)

    def end(self) -> None:
        """Take the live line away."""
        if self._bar is not None:
            self._bar.end()
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def _bar(file: IO[str], *, has_colour: bool) -> LiveBar:
    from perfgate.live import LiveBar  # rich takes 0.1 s to import, and most gates run without a terminal

    return LiveBar(file, has_colour=has_colour)


def terminal_of(config: pytest.Config) -> Terminal:
    """pytest's: live on a terminal, no steps under -q; a worker of pytest-xdist has only standard error."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if hasattr(config, "workerinput") or reporter is None:
        return Terminal(_Uncaptured(config), is_quiet=True)
    reporter.ensure_newline()
    writer = config.get_terminal_writer()
    live = sys.stdout if is_live(sys.stdout, os.environ) else None
    return Terminal(reporter, live, has_colour=writer.hasmarkup, is_quiet=config.get_verbosity() < 0)


class _Uncaptured:
    """Standard error, past pytest's capturing."""

    def __init__(self, config: pytest.Config) -> None:
        self._capture = config.pluginmanager.getplugin("capturemanager")

    def write_line(self, line: str, /) -> None:
        shield = nullcontext() if self._capture is None else self._capture.global_and_fixture_disabled()
        with shield, inert_streams():
            PlainScreen(sys.stderr).write_line(line)


def clock(seconds: float) -> str:
    """'0:07', '12:30', '1:02:03'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def plan_lines(plan: Plan, suite: Suite) -> list[str]:
    """What a gate would do, for people."""
    from perfgate.accepting import shown  # with all of the judge
    from perfgate.report.figures import count

    judged = (
        f"judged against {shown(plan.baseline[0])}"
        if plan.baseline
        else "no baseline on this device: nothing would be judged"
    )
    basis = "a guess: nothing was measured here yet" if plan.is_guess else "from earlier rounds here"
    where = f"on {plan.device.key} ({plan.device.product})"
    lines = [f"suite {suite.name} ({shown(suite.source)}) {where}", judged, ""]
    width = max((len(case.id) for case in plan.cases), default=0)
    lines += [
        f"  {case.id:<{width}}  {case.kind:<10}  {f'skip: {case.skip}' if case.skip else 'measure'}"
        for case in plan.cases
    ]
    skips = sum(case.skip is not None for case in plan.cases)
    work = f"{count(len(plan.engines), 'engine')} x {count(plan.rounds, 'round')} x {plan.round_s:.1f} s"
    lines += ["", f"{count(len(plan.cases) - skips, 'case')} to measure, {skips} skipped"]
    lines += [f"{work} = about {clock(plan.estimate_s)} ({basis}), at most {clock(suite.gate.budget_s)}"]
    return lines
