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
    """Exit code 1 where a run must not be judged: too many failures, or the client was the limit; or it was stopped."""
    from perfgate.serve_bench import Measured, serve_bench, table
    from perfgate.serve_bench_progress import ProgressLine
    from perfgate.serve_bench_wish import wish_of
    from perfgate.stopping import Stopped, stop_by_signals
    from perfgate.terminal import PlainScreen

    screen, line, wish = PlainScreen(), ProgressLine(sys.stdout, sys.stderr), wish_of(args)

    def tell(text: str) -> None:
        line.end()
        screen.write_line(text)

    runs: list[Measured] = []
    with stop_by_signals() as stop:
        try:
            with stop.interrupts():
                runs.extend(serve_bench(wish, tell, None if args.quiet else line.tell))
        except Stopped:
            tell("the run at work is left out")
        finally:
            line.end()
        if stop.sign is not None:
            tell(f"stopped by {stop.sign.name}")
        for text in table(runs):
            screen.write_line(text)
    screen.write_line(f"results: {wish.out}")
    return int(stop.sign is not None or any(run.invalid for run in runs))
