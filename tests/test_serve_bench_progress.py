"""The progress line of `perfgate serve-bench`: rewritten on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import io

import pytest

from perfgate.load.progress import Progress
from perfgate.serve_bench_progress import ProgressLine, progress_words


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def at(elapsed_s: float, done: int = 10) -> Progress:
    return Progress(done, 40, 4, 500, elapsed_s)


def test_what_the_line_says() -> None:
    assert progress_words("run", at(5)) == "run: 10 of 40 done, 4 in flight, 0:05 gone, about 0:15 left, 100 tokens/s"
    assert progress_words("run", Progress(0, 40, None, None, 3)) == "run: 0 of 40 done, 0:03 gone"
    assert progress_words("run", Progress(40, 40, 0, None, 65, is_over=True)) == (
        "run: 40 of 40 done, reading what came, 1:05 gone"
    )


def test_a_terminal_has_one_line_that_is_rewritten_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen, log = Terminal(), io.StringIO()
    line = ProgressLine(screen, log)
    for second in range(1, 4):
        line.tell("run", at(second))
    line.end()

    first, *lines, last = screen.getvalue().split("\r\x1b[K")
    assert (first, last) == ("", "")
    assert len(lines) == 3
    assert all("\n" not in one and "\x1b" not in one and len(one) < 80 for one in lines)
    assert log.getvalue() == ""


@pytest.mark.parametrize("screen", [io.StringIO(), Terminal()], ids=["a file", "a dumb terminal"])
def test_elsewhere_a_plain_line_comes_every_ten_seconds_of_each_run(
    monkeypatch: pytest.MonkeyPatch, screen: io.StringIO
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    log = io.StringIO()
    line = ProgressLine(screen, log)
    for second in range(1, 26):
        line.tell("one", at(second))
    line.end()
    for second in range(1, 12):
        line.tell("two", at(second))
    line.end()

    assert [(words[:4], words.count("0:10 gone")) for words in log.getvalue().splitlines()] == [
        ("one:", 1), ("one:", 0), ("two:", 1),
    ]  # fmt: skip
    assert "\x1b" not in log.getvalue()
    assert screen.getvalue() == ""
