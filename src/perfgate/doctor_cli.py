"""`perfgate doctor`: findings on this machine in words or as JSON; exit code 1 where something is unfit."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perfgate.doctor import Finding
    from perfgate.report.page import Page

_TOPIC, _WIDTHS = 22, (60, 120)  # columns: of a topic; of a line, at least and at most


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.set_defaults(command=_doctor)
    parser.add_argument("--state", type=Path, default=Path(".perfgate"), help="folder with the engine cache")
    parser.add_argument("--json", action="store_true", help="everything that was read, and the findings, for machines")


def _doctor(args: argparse.Namespace) -> int:
    from perfgate.doctor import Fitness, findings
    from perfgate.doctor_facts import read_facts
    from perfgate.record import encode_pretty
    from perfgate.report.page import Page
    from perfgate.terminal import takes_colour

    facts = read_facts(args.state)
    found = findings(facts)
    if args.json:
        print(encode_pretty({"findings": found, "facts": facts}).decode(), end="")
    else:
        page = Page(shutil.get_terminal_size((100, 24)).columns, takes_colour(sys.stdout, os.environ))
        print("\n".join(lines(found, page)))
    return int(any(one.fitness is Fitness.UNFIT for one in found))


def lines(found: Sequence[Finding], page: Page) -> Iterator[str]:
    """Findings in groups, what is unfit first, each with what to do."""
    from perfgate.doctor import Fitness
    from perfgate.verdict import Verdict

    tones = {Fitness.UNFIT: Verdict.REGRESSED, Fitness.FIT: Verdict.OK, Fitness.UNKNOWN: Verdict.NO_BASELINE}
    groups = [(fitness, [one for one in found if one.fitness is fitness]) for fitness in Fitness]
    for number, (fitness, mine) in enumerate(group for group in groups if group[1]):
        yield from [""] * bool(number)
        yield page.painted(f"{fitness} ({len(mine)})", tones[fitness])
        for one in mine:
            yield from _told(one, page.width)


def _told(one: Finding, width: int) -> Iterator[str]:
    indent = " " * (_TOPIC + 2)
    room = min(max(width, _WIDTHS[0]), _WIDTHS[1])
    yield from textwrap.wrap(one.found, room, initial_indent=f"  {one.topic:<{_TOPIC}}", subsequent_indent=indent)
    if one.next:  # whole, however long: to be copied
        yield f"{indent}-> {one.next}"
