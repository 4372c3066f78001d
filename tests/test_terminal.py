from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from perfgate.terminal import PlainScreen, Terminal, fitted, is_live, takes_colour


class _Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("file", "variables", "expected"),
    [
        (_Tty(), {"TERM": "xterm"}, True),
        (_Tty(), {"TERM": "dumb"}, False),
        (_Tty(), {"TERM": "xterm", "CI": "true"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_a_line_is_live_on_a_terminal_outside_ci_only(
    file: io.StringIO, variables: dict[str, str], *, expected: bool
) -> None:
    assert is_live(file, variables) is expected


def _told(live: io.StringIO | None, *, has_colour: bool = True, is_quiet: bool = False) -> tuple[str, str]:
    plain = io.StringIO()
    with Terminal(PlainScreen(plain), live, has_colour=has_colour, is_quiet=is_quiet) as terminal:
        terminal.step("measuring [bold]one[/bold]", 1, 4, 185.0)
        terminal.note("prepared one")
    return plain.getvalue(), live.getvalue() if live else ""


def test_without_a_terminal_steps_are_plain_lines() -> None:
    plain, _ = _told(None)

    assert plain == "[    1/4] 0:00 gone, about 3:05 left: measuring [bold]one[/bold]\nperfgate: prepared one\n"


def test_quiet_keeps_notes_and_drops_steps() -> None:
    assert _told(None, is_quiet=True)[0] == "perfgate: prepared one\n"


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_live_line_is_one_line_however_narrow(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")

    plain, live = _told(_Tty())

    drawn = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in re.split(r"[\r\n]+", live)]
    assert plain == ""
    assert "perfgate: prepared one" in "\n".join(drawn)
    assert any(re.search(r"1/4  0:00 gone, about 3:0[45] left: meas", line) for line in drawn)
    assert max(map(len, drawn)) <= columns


def test_no_colour_means_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")

    _, live = _told(_Tty(), has_colour=False)

    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m|\x1b\[9[0-9]m", live)


@pytest.mark.parametrize(
    ("file", "variables", "expected"),
    [
        (_Tty(), {"TERM": "xterm"}, True),
        (_Tty(), {"TERM": "xterm", "NO_COLOR": ""}, True),  # no-color.org: present and not empty
        (_Tty(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (_Tty(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_colours_are_for_terminals_that_have_them_and_people_who_want_them(
    file: io.StringIO, variables: dict[str, str], *, expected: bool
) -> None:
    assert takes_colour(file, variables) is expected


def test_long_lines_break_between_words_on_a_terminal_and_nowhere_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    line = "perfgate: engines openvino 2026.4.1, openvino-tokenizers 2026.4.1.0, nncf 3.4.0"

    assert fitted(line, _Tty()) == [
        "perfgate: engines openvino 2026.4.1,",
        "  openvino-tokenizers 2026.4.1.0, nncf",
        "  3.4.0",
    ]
    assert fitted(line, io.StringIO()) == [line]
    assert fitted("", _Tty()) == [""]


def test_rich_is_imported_on_terminals_only() -> None:
    source = Path(__file__).parent.parent / "src" / "perfgate"

    users = [path.name for path in source.rglob("*.py") if re.search(r"^from rich", path.read_text(), re.MULTILINE)]

    assert users == ["live.py"]
