"""`perfgate explain`: why a case has its verdict, the numbers behind it in words."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perfgate.explain import Explanation

_INDENT = "  "


def add_explain(parser: argparse.ArgumentParser) -> None:
    """The options of the command, beside those that every command has."""
    parser.add_argument("case", help="a case of the run, as the table names it")
    parser.add_argument("metric", nargs="?", help="a metric of it (default: the gravest)")
    parser.add_argument("--run", type=Path, help="run.json (default: that in the folder for reports)")


def explain_command(args: argparse.Namespace) -> int:
    """Judge the run again and say why."""
    import shutil

    from perfgate.calibration import load_noise
    from perfgate.explain import explain
    from perfgate.rejudge import rejudge

    judged = rejudge(args, args.run or args.out / "run.json")
    noise = load_noise(args.state, judged.run.environment.device, judged.run.suite)
    found = explain(judged, args.case, args.metric, noise)
    print("\n".join(lines(found, shutil.get_terminal_size((120, 24)).columns)))
    return 0


def lines(found: Explanation, width: int) -> Iterator[str]:
    """The verdict, then each part under its heading, wrapped between words."""
    from perfgate.report.figures import plain

    one = found.verdict
    yield from textwrap.wrap(plain(f"{one.case} {one.metric}: {one.verdict}, {one.sentence}"), width)
    for part in found.parts:
        yield ""
        yield part.title
        for line in part.lines:
            yield from textwrap.wrap(plain(line), width, initial_indent=_INDENT, subsequent_indent=_INDENT * 2)
