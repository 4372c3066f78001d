"""The command `perfgate serve-bench`."""

from __future__ import annotations

import argparse

from perfgate.serve_bench_options import add_options


def add_serve_bench(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_options(parser)
    parser.set_defaults(command=_serve_bench)


def _serve_bench(args: argparse.Namespace) -> int:
    """Exit code 1 where a run must not be judged: too many failures, or the client was the limit."""
    from perfgate.serve_bench import serve_bench, table
    from perfgate.serve_bench_wish import wish_of
    from perfgate.terminal import PlainScreen

    screen, wish = PlainScreen(), wish_of(args)
    runs = serve_bench(wish, screen.write_line)
    for line in table(runs):
        screen.write_line(line)
    screen.write_line(f"results: {wish.out}")
    return int(any(run.invalid for run in runs))
