"""Which loads a process carried: what is measured of a whole process compares only under the same ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from perfgate.case import Case, WorkKind, short_hash
from perfgate.device import Device
from perfgate.engines.carrying import why_skipped
from perfgate.metrics import PROCESS_WIDE
from perfgate.record import CaseInfo, Run

LOADS = (WorkKind.LATENCY, WorkKind.SERVING)


def why_unlike(metric: str, reference: tuple[Run, str], engine: tuple[Run, str]) -> str:
    """Why a metric of one engine's processes says nothing beside another's; empty where it does.

    reference, engine: a run and the name of an engine in it.
    """
    if metric not in PROCESS_WIDE:
        return ""
    theirs, mine = _works(*reference), _works(*engine)
    only = [_only(reference[1], theirs - mine), _only(engine[1], mine - theirs)]
    differing = " and ".join(filter(None, only))
    return f"{metric} is of a whole process, and only {differing}" if differing else ""


def left_out(suite: Iterable[Case], selected: Iterable[Case], device: Device) -> dict[str, str]:
    """By engine, why what is of its whole process is not told: loads of the suite that are not selected."""
    cases = list(selected)
    engines = {case.engine.name for case in cases}
    known = {case.id for case in cases}
    missing = defaultdict[str, list[str]](list)
    for case in suite:
        if case.engine.name in engines and case.kind in LOADS and case.id not in known:
            missing[case.engine.name] += [case.id] if why_skipped(case, device) is None else []
    return {
        engine: f"of a process under all loads of {engine}, and {_names(ids)} is left out: select all of its cases"
        for engine, ids in missing.items()
        if ids
    }


def hash_of_loads(run: Run, engine: str) -> str:
    """Of all loads of an engine in a run: what is of its whole process is another thing under others."""
    return short_hash(sorted((one.id, one.hash) for one in run.cases if one.engine == engine and _is_load(one)))


def _works(run: Run, engine: str) -> frozenset[str]:
    """Names of the workloads under which an engine generated text in a run."""
    mine = (one for one in run.cases if one.engine == engine and _is_load(one))
    return frozenset(one.id.removeprefix(f"{engine}-") for one in mine)


def _is_load(case: CaseInfo) -> bool:
    return case.skip is None and case.kind in LOADS


def _only(engine: str, works: frozenset[str]) -> str:
    return f"{engine}'s ran {_names(works)}" if works else ""


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
