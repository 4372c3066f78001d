"""The command `perfgate claims RUN`."""

from __future__ import annotations

import argparse
from pathlib import Path

from perfgate.suite_default import default_suite

EXIT_OK, EXIT_RED = 0, 1


def add_claims(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.set_defaults(command=_claims)
    parser.add_argument("run", type=Path, help="run.json")
    parser.add_argument("--suite", type=Path, default=default_suite(), help="the run's suite file")


def _claims(args: argparse.Namespace) -> int:
    """Exit code 1 where the suite lets claims gate and one does not hold."""
    from perfgate.claim_findings import findings_of, is_failure
    from perfgate.record import RUN_SCHEMA, Run, read_record
    from perfgate.report.claims import whole_block
    from perfgate.suite import load_suite
    from perfgate.terminal import PlainScreen

    suite = load_suite(args.suite)
    found = findings_of(read_record(args.run, Run, RUN_SCHEMA), suite)
    for line in whole_block(found):
        PlainScreen().write_line(line)
    return EXIT_RED if any(is_failure(one, suite.claims) for one in found) else EXIT_OK
