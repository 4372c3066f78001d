"""The option `--format` of commands that write reports."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perfgate.report.formats import Format

HELP = "further files beside the usual reports, by commas: junit, png, github-action-benchmark, bencher"


def add_formats(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", action="append", default=[], metavar="NAME", help=HELP)


def formats_of(args: argparse.Namespace) -> tuple[Format, ...]:
    """What was asked for.

    Raises:
        UsageError: no such format, or a package is not installed that it needs.
    """
    from perfgate.report.formats import parse_formats

    return parse_formats("--format", ",".join(args.format))
