"""Runs that this machine made, kept without their samples: acceptance takes all of an engine's, never the best."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from perfgate.errors import BaselineError, RecordError
from perfgate.gpu.rounds import without_trace
from perfgate.leases import file_of
from perfgate.record import RUN_SCHEMA, Round, Run, encode, read_record, write_atomic

MOST_KEPT = 50  # runs of a suite; older ones are removed


def keep_run(run: Run, state: Path) -> Path | None:
    """Store a finished run under `state`; returns its file. One with a planted regression is not kept."""
    if run.environment.inject:
        return None
    folder = _folder(state, run.suite)
    whose = f"-{file_of(run.environment.gpus[0].uuid)}" if run.environment.gpus else ""  # two may begin at once
    path = folder / f"{re.sub(r'[^0-9T]', '', run.started[:19])}{whose}.json"
    write_atomic(path, encode(replace(run, rounds=tuple(map(_without_samples, run.rounds)))))
    for old in sorted(folder.glob("*.json"))[:-MOST_KEPT]:
        old.unlink(missing_ok=True)
    return path


@contextlib.contextmanager
def kept_run_named(path: Path | None) -> Iterator[None]:
    """Let a refusal to accept say where the measured run is."""
    try:
        yield
    except BaselineError as exc:
        where = f"; the run is kept in {path}" if path else ""
        raise BaselineError(f"{exc}{where}") from exc


def known_runs(state: Path, suite: str, device: str) -> list[Run]:
    """The kept runs of a suite on a device, oldest first; files of another version are passed over."""
    found = []
    for path in sorted(_folder(state, suite).glob("*.json")):
        with contextlib.suppress(RecordError):
            found.append(read_record(path, Run, RUN_SCHEMA))
    mine = [run for run in found if run.suite == suite and run.environment.device == device]
    return sorted(mine, key=lambda run: run.started)


def newest_run(state: Path, suite: str) -> Run | None:
    """The kept run of a suite that began last, on whatever device; None where none can be read."""
    for path in sorted(_folder(state, suite).glob("*.json"), reverse=True):  # their names are when they began
        with contextlib.suppress(RecordError):
            return read_record(path, Run, RUN_SCHEMA)
    return None


def _folder(state: Path, suite: str) -> Path:
    return state / "runs" / suite


def _without_samples(one: Round) -> Round:
    return replace(without_trace(one), cases=tuple(replace(measured, samples={}) for measured in one.cases))
