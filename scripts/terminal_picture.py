"""Pictures of a terminal: a command runs on a pseudo-terminal, and what its screen then shows becomes an SVG.

pyte reads the escape sequences as a terminal would, rich draws the screen.
"""

from __future__ import annotations

import io
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import pyte
from ptyprocess import PtyProcess
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

COLUMNS, ROWS = 100, 40  # what the command is told
_KEPT_ROWS = 2000  # lines above the screen are kept
_COLOURS = {"brown": "yellow", "brightbrown": "bright_yellow"}  # pyte's names in rich's words

# All but black have a contrast of at least 4.5 with the background, by WCAG 2.2.
_NORMAL = ("3a424d", "ff8279", "57c76f", "e2b04a", "79b0ff", "d696ff", "5ac8d2", "a3abb6")
_BRIGHT = ("98a1ad", "ff968e", "78dc8c", "f0c86e", "96c3ff", "e2afff", "82dce4", "e6e9ee")


def _rgb(colours: Sequence[str]) -> list[tuple[int, int, int]]:
    return [(red, green, blue) for red, green, blue in map(bytes.fromhex, colours)]


_THEME = TerminalTheme((15, 19, 24), (230, 233, 238), _rgb(_NORMAL), _rgb(_BRIGHT))

# rich's own frame loads a font from elsewhere; this one takes what the reader has.
_FRAME = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""  # noqa: E501

Lines = Sequence[Text]


class Terminal:
    """The screen of one command and all that scrolled off it."""

    def __init__(self, command: Sequence[str], cwd: Path) -> None:
        self.command = command
        self._screen = pyte.HistoryScreen(COLUMNS, ROWS, history=_KEPT_ROWS, ratio=0.5)
        self._stream = pyte.ByteStream(self._screen)
        environment = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        for name in ("CI", "NO_COLOR", "GITHUB_ACTIONS", "COLUMNS", "LINES"):
            environment.pop(name, None)
        self._process = PtyProcess.spawn(list(command), cwd=str(cwd), env=environment, dimensions=(ROWS, COLUMNS))

    def run(self, watch: Callable[[Terminal], None] = lambda _: None) -> int:
        """Until the command ends; `watch` sees the screen after each output. The exit status."""
        while True:
            try:
                self._stream.feed(self._process.read(65536))
            except EOFError:
                self._process.wait()
                return int(self._process.exitstatus)
            watch(self)

    def lines(self) -> Lines:
        """Everything printed so far that was not drawn over, as it looks."""
        kept = [*self._screen.history.top, *(self._screen.buffer[row] for row in range(ROWS))]
        lines = [_line(row) for row in kept]
        while lines and not lines[-1].plain:
            lines.pop()
        return lines

    def prompt(self) -> Text:
        """The command as it was called."""
        return Text.assemble(("$ ", "bold green"), (shlex.join(self.command), "bold"))


def _line(row: Mapping[int, pyte.screens.Char]) -> Text:
    made = Text(no_wrap=True, end="")
    for style, chars in groupby((row[column] for column in range(COLUMNS)), _style):
        made.append("".join(char.data for char in chars), style)
    made.rstrip()
    return made


def _style(char: pyte.screens.Char) -> Style:
    return Style(color=_colour(char.fg), bgcolor=_colour(char.bg), bold=char.bold, reverse=char.reverse)


def _colour(name: str) -> str | None:
    if name == "default":
        return None
    if re.fullmatch(r"[0-9a-f]{6}", name):
        return f"#{name}"
    name = _COLOURS.get(name, name)
    return name.replace("bright", "bright_") if name.startswith("bright") and "_" not in name else name


def between(lines: Lines, first: str, last: str = "") -> Lines:
    """The lines from the first that holds a pattern to the next that holds another, both included.

    Raises:
        LookupError: a pattern is on no line: what the command prints is not what the picture is about.
    """
    begin = _index(lines, first, 0)
    return lines[begin : _index(lines, last, begin) + 1] if last else lines[begin:]


def _index(lines: Lines, pattern: str, begin: int) -> int:
    for number in range(begin, len(lines)):
        if re.search(pattern, lines[number].plain):
            return number
    raise LookupError(f"no line fits '{pattern}' among:\n" + "\n".join(line.plain for line in lines))


def write_svg(path: Path, lines: Lines, title: str) -> None:
    """The lines as a terminal of 100 columns shows them; title: for those who do not see it."""
    console = Console(width=COLUMNS, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(line, no_wrap=True, crop=True)
    svg = console.export_svg(title=title, theme=_THEME, code_format=_FRAME, unique_id=path.stem)
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")
