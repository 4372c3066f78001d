"""`perfgate doctor`: findings on this machine in words or as JSON; exit code 1 where something is unfit."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perfgate.doctor import Finding

_TOPIC, _WIDTH = 24, 100


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.set_defaults(command=_doctor)
    parser.add_argument("--state", type=Path, default=Path(".perfgate"), help="folder with the engine cache")
    parser.add_argument("--json", action="store_true", help="everything that was read, and the findings, for machines")


def _doctor(args: argparse.Namespace) -> int:
    from perfgate.doctor import Fitness, findings
    from perfgate.doctor_facts import read_facts
    from perfgate.record import encode_pretty

    facts = read_facts(args.state)
    found = findings(facts)
    if args.json:
        print(encode_pretty({"findings": found, "facts": facts}).decode(), end="")
    else:
        print("\n".join(lines(found)))
    return int(any(one.fitness is Fitness.UNFIT for one in found))


def lines(found: Sequence[Finding]) -> Iterator[str]:
    """Findings in groups, what is unfit first, each with what to do."""
    from perfgate.doctor import Fitness

    for fitness in Fitness:
        mine = [one for one in found if one.fitness is fitness]
        if mine:
            yield f"{fitness} ({len(mine)})"
        for one in mine:
            yield from _told(one)


def _told(one: Finding) -> Iterator[str]:
    indent = " " * (_TOPIC + 2)
    yield from textwrap.wrap(one.found, _WIDTH, initial_indent=f"  {one.topic:<{_TOPIC}}", subsequent_indent=indent)
    if one.next:
        yield f"{indent}-> {one.next}"
