"""The command `perfgate roofline [RUN]`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.errors import UsageError

if TYPE_CHECKING:
    from perfgate.device import Device
    from perfgate.record import Run
    from perfgate.roofline import Ceilings

EXIT_OK = 0


def add_roofline(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.set_defaults(command=_roofline)
    parser.add_argument("run", type=Path, nargs="?", help="run.json: also how near its cases came")
    parser.add_argument("--suite", type=Path, help="the run's suite file, for a run that does not hold its limits")
    parser.add_argument("--state", type=Path, default=Path(".perfgate"), help="where the limits are kept")
    parser.add_argument("--fresh", action="store_true", help="measure the limits again")


def _roofline(args: argparse.Namespace) -> int:
    from perfgate.record import RUN_SCHEMA, Run, read_record
    from perfgate.report.limits import ceiling_lines, text_block
    from perfgate.terminal import PlainScreen

    screen = PlainScreen()
    if args.run is None:
        for line in ceiling_lines(_measured(args)):
            screen.write_line(line)
        return EXIT_OK
    run = _with_limits(read_record(args.run, Run, RUN_SCHEMA), args)
    lines = text_block(run, has_ceilings=True)
    for line in lines or ["the run has no case that generates text: there is no distance to tell"]:
        screen.write_line(line)
    return EXIT_OK


def _measured(args: argparse.Namespace, device: Device | None = None, cpus: tuple[int, ...] = ()) -> Ceilings:
    """Those known, else measured now while the device is leased.

    Raises:
        UsageError: others measure on the device for longer than we wait.
        RoundError: they cannot be measured here.
    """
    from perfgate.ceilings import CeilingStore
    from perfgate.device import find_device
    from perfgate.leases import WAIT_S, Wait, leased, places
    from perfgate.terminal import PlainScreen

    store, device = CeilingStore(args.state), device or find_device()
    known = None if args.fresh else store.find(device, cpus)
    if known is not None:
        return known
    with leased(places(device, ()), Wait(WAIT_S, PlainScreen().write_line)) as leases:
        return store.get(device, cpus, leases, fresh=args.fresh)


def _with_limits(run: Run, args: argparse.Namespace) -> Run:
    """The run with its own limits, or else with those of this machine, if it is of the same device.

    Raises:
        UsageError: the run has none, and was made on another device or its suite is not named.
    """
    from perfgate.demand import limits_of
    from perfgate.device import find_device
    from perfgate.suite import load_suite

    if run.limits is not None and not args.fresh:
        return run
    device, made = find_device(), run.environment
    if (device.key, device.product) != (made.device, made.product):
        raise UsageError(
            f"{args.run} holds no limits and is of '{made.device}' ({made.product}); this is '{device.key}' "
            f"({device.product}): ask for them there"
        )
    if args.suite is None:
        raise UsageError(f"{args.run} does not hold its limits; name its suite with --suite FILE to have them measured")
    hashes = {case.id: case.hash for case in run.cases}
    cases = [case for case in load_suite(args.suite).cases if hashes.get(case.id) == case.hash]
    return replace(run, limits=limits_of(cases, _measured(args, device, made.cpus)))
