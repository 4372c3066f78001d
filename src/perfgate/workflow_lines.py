"""Lines that GitHub's runner takes for commands: ours are meant, those in texts of engines and files are made inert.

It obeys '::NAME::' where a line begins with it, after blanks, and '##[NAME]' anywhere in a line (the runner's
ActionCommand.cs). A blank within these marks is enough for it to pass them by.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import pytest

_SEEN = r"\w!-~"  # what a line has begun with; anything else the runner may trim or look past
_BEGINNING = re.compile(rf"(?:\A|(?<=[\r\n]))([^{_SEEN}\r\n]*)::")
_BEGUN = re.compile(rf"[{_SEEN}][^\r\n]*\Z")


class Command(str):
    """A line of ours that is to be obeyed."""

    __slots__ = ()


def is_asked(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a step of GitHub Actions."""
    return environment.get("GITHUB_ACTIONS") == "true"


class Inert:
    """Breaks commands in the texts that go to one stream, piece by piece; a `Command` stays as it is."""

    def __init__(self) -> None:
        self._has_begun = False  # something stands on the line already

    def __call__(self, text: str) -> str:
        before = "x" if self._has_begun else ""
        whole = before + text
        self._has_begun = bool(_BEGUN.search(whole))
        if isinstance(text, Command):
            return text
        return _BEGINNING.sub(r"\1: :", whole)[len(before) :].replace("##[", "## [")


def inert_text(text: str) -> str:
    """A text of its own, as a step of GitHub Actions may show it."""
    return Inert()(text) if is_asked() else text


class InertStream:
    """A text stream that breaks commands, else the one within."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._inert = file, Inert()

    def write(self, text: str) -> int:
        self._file.write(self._inert(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def inert_streams() -> Iterator[None]:
    """In a step of GitHub Actions nothing that the body prints is a command, unless it is written as a `Command`."""
    if not is_asked():
        yield
        return
    out, err = (cast("IO[str]", InertStream(one)) for one in (sys.stdout, sys.stderr))
    with redirect_stdout(out), redirect_stderr(err):
        yield


def make_inert(config: pytest.Config) -> None:
    """The same of all that pytest's terminal shows from now on: failures tell what engines said."""
    if not is_asked() or config.pluginmanager.getplugin("terminalreporter") is None:
        return
    writer = config.get_terminal_writer()
    inert, write = Inert(), writer.write

    def shown(msg: str, *, flush: bool = False, **markup: bool) -> None:
        write(inert(msg), flush=flush, **markup)

    writer.write = shown  # type: ignore[method-assign] # all that is shown passes there
