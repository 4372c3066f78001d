"""The command `perfgate serve-bench`."""

from __future__ import annotations

import argparse
import sys

from perfgate.serve_bench_options import add_options


def add_serve_bench(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_options(parser)
    parser.set_defaults(command=_serve_bench)


def _serve_bench(args: argparse.Namespace) -> int:
    """Exit code 1 where a run must not be judged: too many failures, or the client was the limit."""
    from perfgate.serve_bench import serve_bench, table
    from perfgate.serve_bench_progress import ProgressLine
    from perfgate.serve_bench_wish import wish_of
    from perfgate.terminal import PlainScreen

    screen, line, wish = PlainScreen(), ProgressLine(sys.stdout, sys.stderr), wish_of(args)

    def tell(text: str) -> None:
        line.end()
        screen.write_line(text)

    try:
        runs = serve_bench(wish, tell, None if args.quiet else line.tell)
    finally:
        line.end()
    for text in table(runs):
        screen.write_line(text)
    screen.write_line(f"results: {wish.out}")
    return int(any(run.invalid for run in runs))
