"""The files that advice is made from: which are taken, and what they are refused for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from perfgate.advising.advice import Material
from perfgate.advising.sources import Source, Sources, of_baseline, of_history
from perfgate.advising.swept import Swept, read_swept
from perfgate.baselines import load_baseline
from perfgate.ceilings import CeilingStore, read_ceilings
from perfgate.errors import RecordError, UsageError
from perfgate.history import History, history_path
from perfgate.record import RUN_SCHEMA, Run, decode, read_bounded, read_record
from perfgate.roofline import Ceilings
from perfgate.runs import known_runs, newest_run
from perfgate.suite import Suite, load_suite


def gather(paths: Sequence[Path], suite_path: Path, state: Path, out: Path, ceilings: Sequence[Path] = ()) -> Material:
    """What the files hold, or without any what is kept of the suite's gates.

    ceilings: files of devices' limits, for runs that do not hold their own; before those of the state folder.

    Raises:
        RecordError: a file is damaged or none of ours.
        UsageError: nothing was measured, or the files are of other suites, of two devices, or of a planted regression.
    """
    suite = load_suite(suite_path)
    found = [one for path in paths for one in _read(path, suite)] if paths else list(_kept(suite, state, out))
    if not found:
        raise UsageError(
            f"no run of suite '{suite.name}' is kept in {state}: measure it (perfgate run --suite {suite_path}), or "
            "name a run.json, a baseline or a tradeoffs.json"
        )
    _refuse_two_devices(found)
    sources = [one for one in found if isinstance(one, Source)]
    if not paths and sources:
        sources += _older(sources[0], suite, state)
    sweeps = tuple(one for one in found if isinstance(one, Swept))
    raw = yaml.safe_load(suite_path.read_text(encoding="utf-8"))
    return Material(suite, raw, Sources(tuple(sources)), sweeps, *_ceilings(sources, state, ceilings))


def _read(path: Path, suite: Suite) -> Iterator[Source | Swept]:
    held = decode(read_bounded(path), dict[str, Any], path)
    if "provenance" in held:
        baseline = load_baseline(path, str(held.get("device")), str(held.get("suite")))
        _refuse_other_suite(path, baseline.suite, suite)
        yield from of_baseline(path.name, baseline, suite.cases)
    elif {"options", "axes"} <= held.keys():
        yield read_swept(path)
    elif {"rounds", "environment", "prepared"} <= held.keys():
        yield _source(path, read_record(path, Run, RUN_SCHEMA), suite)
    else:
        raise RecordError(f"{path} is no run.json, no baseline and no tradeoffs.json: name one of them")


def _source(path: Path, run: Run, suite: Suite) -> Source:
    if run.environment.inject:
        raise UsageError(
            f"{path} was made with --perfgate-inject {dict(run.environment.inject)}: it tells nothing here"
        )
    _refuse_other_suite(path, run.suite, suite)
    return Source(f"{path.name} ({run.started})", run)


def _refuse_other_suite(path: Path, name: str, suite: Suite) -> None:
    """What an engine is stands in the suite alone."""
    if name != suite.name:
        raise UsageError(
            f"{path} is of suite '{name}', {suite.source.name} is '{suite.name}': name its own with --suite"
        )


def _kept(suite: Suite, state: Path, out: Path) -> Iterator[Source | Swept]:
    newest = newest_run(state, suite.name)
    if newest is not None:
        yield Source(f"kept run ({newest.started})", newest)
    path = out / "tradeoffs.json"
    if path.exists():
        with suppress(RecordError):  # of another version: nobody asked for it
            swept = read_swept(path)
            if newest is None or swept.found.environment.device == newest.environment.device:
                yield swept


def _refuse_two_devices(found: Sequence[Source | Swept]) -> None:
    made = [(one.name, (one.run if isinstance(one, Source) else one.found).environment) for one in found]
    (first, here), *others = made
    for name, there in others:
        if (there.device, there.product) != (here.device, here.product):
            raise UsageError(
                f"{first} is of '{here.device}' ({here.product}), {name} of '{there.device}' ({there.product}): "
                "figures of two devices are never compared"
            )


def _older(newest: Source, suite: Suite, state: Path) -> list[Source]:
    """Earlier runs and the history of the same device, those that measured a case which nothing later did."""
    known = [newest]
    for older in (*_earlier(newest.run, state), *_history(newest.run, suite, state)):
        missing = [case for case in suite.cases if not Sources(tuple(known)).has(case)]
        if any(Sources((older,)).has(case) for case in missing):
            known.append(older)
    return known[1:]


def _earlier(newest: Run, state: Path) -> Iterator[Source]:
    here = newest.environment
    for run in reversed(known_runs(state, newest.suite, here.device)):
        if run.started != newest.started and run.environment.product == here.product:
            yield Source(f"kept run ({run.started})", run)


def _history(newest: Run, suite: Suite, state: Path) -> Iterator[Source]:
    path, here = history_path(state), newest.environment
    if path.exists():
        with History(path) as history:
            found = history.latest(suite.name, here.device, {case.id: case.hash for case in suite.cases})
        mine = [one for one in found if one.product == here.product]
        yield from of_history(suite.name, here.device, mine, suite.cases)


def _ceilings(sources: Sequence[Source], state: Path, paths: Sequence[Path]) -> tuple[Ceilings | None, tuple[str, ...]]:
    """The device's limits for runs that do not hold theirs, and what speaks against them."""
    given = [(path, read_ceilings(path)) for path in paths]
    if not sources or all(one.run.limits for one in sources):
        return None, ()
    here = sources[0].run.environment
    mine = [(path, one) for path, one in given if (one.device, one.product) == (here.device, here.product)]
    where, found = mine[-1] if mine else (state, CeilingStore(state).newest_of(here.device, here.product))
    if found is None:
        return None, ()
    doubt = f"; they may be too low: {found.doubt}" if found.doubt else ""
    return found, (f"limits of the device: as measured {found.measured}, kept in {where}{doubt}",)
