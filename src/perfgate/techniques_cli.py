"""The command `perfgate techniques SOURCE...`."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

EXIT_OK = 0
_PAGE = Path("docs/results/techniques.md")


def add_techniques(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.set_defaults(command=_techniques)
    parser.add_argument(
        "sources", nargs="+", type=Path, metavar="SOURCE",
        help="run.json, an accepted baseline, or a folder of load results with suite.yaml and results/ENGINE in it",
    )  # fmt: skip
    parser.add_argument("--suites", type=Path, default=Path("fixtures/suites"), help="folder of their suite files")
    parser.add_argument("--ceilings", type=Path, action="append", default=[], metavar="FILE",
                        help="limits of a device as `perfgate roofline` keeps them, for sources without")  # fmt: skip
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="copy runs there without samples; tell of the copies"
    )
    parser.add_argument("--out", type=Path, default=_PAGE, help="the page (default: %(default)s)")


def _techniques(args: argparse.Namespace) -> int:
    from perfgate.capabilities import matrix
    from perfgate.ceilings import read_ceilings
    from perfgate.record import write_atomic
    from perfgate.report.figures import count
    from perfgate.report.techniques import page
    from perfgate.technique_sources import keep_lean, read_sources
    from perfgate.techniques import groups_of
    from perfgate.terminal import PlainScreen

    paths = [keep_lean(path, args.keep) if args.keep else path for path in args.sources]
    ceilings = [read_ceilings(path) for path in args.ceilings]
    groups = groups_of(read_sources(paths, args.suites), ceilings)
    write_atomic(args.out, page(groups, matrix(), _again(args, paths), _by_hand(args.out)).encode())
    engines = sum(len(one.rows) for one in groups)
    PlainScreen().write_line(f"{args.out}: {count(engines, 'engine')} of {count(len(groups), 'suite')}")
    return EXIT_OK


def _again(args: argparse.Namespace, paths: list[Path]) -> str:
    """The command that makes the page again from what it names."""
    suites = [] if args.suites == Path("fixtures/suites") else ["--suites", str(args.suites)]
    ceilings = [word for path in args.ceilings for word in ("--ceilings", str(path))]
    return shlex.join(["perfgate", "techniques", *map(str, paths), *suites, *ceilings, "--out", str(args.out)])


def _by_hand(page: Path) -> str:
    """What stands below the line in a page that is there already."""
    from perfgate.report.techniques import HAND

    try:
        return page.read_text(encoding="utf-8").partition(HAND)[2]
    except FileNotFoundError:
        return ""
