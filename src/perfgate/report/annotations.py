"""Lines that GitHub shows beside the suite file in a pull request: errors for what failed, warnings, notices.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands: a step shows at most ten of each.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from perfgate.comparison import CaseVerdict, Comparison
from perfgate.report.figures import count, plain
from perfgate.suite_lines import line_of, lines_of
from perfgate.workflow_lines import Command

MOST = 10  # of each level that GitHub shows of a step


class Level(StrEnum):
    """GitHub's commands, gravest first."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


_LEVELS = {"failed": Level.ERROR, "warned": Level.WARNING, "waived": Level.NOTICE}


@dataclass(frozen=True, slots=True)
class Place:
    """The suite file as GitHub names it, from the repository's root, and where its parts stand."""

    file: str
    lines: Mapping[str, int]


def place_of(suite: Path, environment: Mapping[str, str] = os.environ) -> Place:
    """Where annotations of a suite's cases point."""
    root = Path(environment.get("GITHUB_WORKSPACE") or Path.cwd()).resolve()
    path = suite.resolve()
    return Place(str(path.relative_to(root)) if path.is_relative_to(root) else str(suite), lines_of(suite))


def annotation_lines(comparison: Comparison, place: Place, expected: Collection[str] = ()) -> list[Command]:
    """The lines to print, gravest first; above ten of a level the tenth says how many more there are.

    expected: ids of cases whose failure a test expects: they are notices.
    """
    found: dict[Level, list[Command]] = {level: [] for level in Level}
    for case in comparison.cases:
        if (level := _LEVELS.get(case.outcome)) is not None:
            level = Level.NOTICE if case.case.id in expected else level
            found[level].append(_of_case(level, case, place))
    for signal in comparison.failed_signals:
        found[Level.ERROR].append(command(Level.ERROR, place.file, 1, f"perfgate: {signal.kind}", signal.text))
    return [line for level, lines in found.items() for line in _capped(level, lines, place)]


def _of_case(level: Level, case: CaseVerdict, place: Place) -> Command:
    line = line_of(place.lines, case.case.engine, case.case.id)
    title = f"perfgate: {case.case.id} {case.outcome if case.outcome == 'waived' else case.verdict}"
    said = "\n".join(line.strip() for line in case.lines)
    return command(level, place.file, line, title, case.waived if case.outcome == "waived" else said)


def _capped(level: Level, lines: list[Command], place: Place) -> list[Command]:
    if len(lines) <= MOST:
        return lines
    left = count(len(lines) - MOST + 1, "more case")
    more = command(level, place.file, 1, f"perfgate: {left}", f"{left}: the step summary and report.html have them all")
    return [*lines[: MOST - 1], more]


def command(level: Level, file: str, line: int, title: str, text: str) -> Command:
    """A workflow command, escaped as GitHub's own toolkit does (packages/core/src/command.ts)."""
    message = _data("\n".join(map(plain, text.split("\n"))))
    return Command(f"::{level} file={_property(file)},line={line},title={_property(plain(title))}::{message}")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
