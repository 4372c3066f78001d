"""How a sweep tells how far it is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from perfgate.sweep_progress import Bar, sweep_progress
from perfgate.terminal import Terminal


def test_without_a_terminal_progress_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    progress = sweep_progress()
    progress.step("building a (cold)", 1, 4, 65.0)
    progress.end()

    assert isinstance(progress, Terminal)
    assert "1/4] 0:00 gone, about 1:05 left: building a (cold)" in capsys.readouterr().out


@pytest.mark.parametrize("no_color", [False, True])
def test_on_a_terminal_it_is_a_bar_and_no_color_is_kept_to(*, no_color: bool) -> None:
    out = io.StringIO()
    bar = Bar(Console(file=out, force_terminal=True, width=120, no_color=no_color, color_system="standard"))

    bar.step("building [a] (cold)", 1, 4, 65.0)
    bar.note("a line that stays")
    bar.end()

    told = out.getvalue()
    assert "1/4" in told
    assert "about 1:05 left:" in told
    assert "building [a] (cold)" in told
    assert "perfgate: a line that stays" in told
    assert ("\x1b[3" in told) is not no_color
