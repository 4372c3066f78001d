"""Whose rounds tell of engines beside each other: those of one source, or the last of each, joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from perfgate.case import Case
from perfgate.record import Run, Side
from perfgate.technique_sources import Source

_FAR = 1_000_000  # beyond the rounds of any run


def rounds_for(sources: Sequence[Source], cases: Sequence[Case]) -> tuple[Run, bool] | None:
    """The last source that measured all these cases; else the last of each, joined; and whether they are joined.

    None where one was measured by nobody.
    """
    for one in reversed(sources):
        if all(_has(one.run, case) for case in cases):
            return one.run, False
    parts = [next((one.run for one in reversed(sources) if _has(one.run, case)), None) for case in cases]
    known = [run for run in parts if run is not None]
    if len(known) < len(cases) or len(known) < 2:  # noqa: PLR2004 - one case has one source
        return None
    return _joined(known, cases), True


def _has(run: Run, case: Case) -> bool:
    return any(
        done.is_valid and done.side is Side.CANDIDATE and one.case == case.id and one.values and not one.faults
        for done in run.rounds
        for one in done.cases
    )


def _joined(runs: Sequence[Run], cases: Sequence[Case]) -> Run:
    """Rounds of each case's engine from its run, numbered so that they did not take turns."""
    rounds = tuple(
        replace(done, index=done.index + at * _FAR)
        for at, (run, case) in enumerate(zip(runs, cases, strict=True))
        for done in run.rounds
        if done.engine == case.engine.name
    )
    infos = {
        info.id: info
        for run, case in zip(runs, cases, strict=True)
        for info in run.cases
        if info.engine == case.engine.name
    }
    return replace(runs[-1], cases=tuple(infos.values()), rounds=rounds)
