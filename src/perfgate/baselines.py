"""Baselines: accepted rounds per case, in reviewed files per device and suite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from perfgate.errors import BaselineError
from perfgate.metrics import CATALOGUE
from perfgate.record import CaseInfo, DocumentScore, Run, Side, encode_pretty, read_record, write_atomic

BASELINE_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Series:
    """One metric's values: [session][round], in `unit`."""

    unit: str
    sessions: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class BaselineCase:
    """What was accepted for one case. `engine_key` finds the engine in the cache again."""

    hash: str
    engine_key: str
    metrics: Mapping[str, Series]
    documents: Mapping[str, DocumentScore] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the accepted rounds come from, and why they were accepted."""

    accepted: str  # UTC, ISO 8601
    reason: str
    product: str
    versions: Mapping[str, str]
    commit: str
    expires: str | None = None  # UTC, ISO 8601; the baseline is refused from then on


@dataclass(frozen=True, slots=True)
class Baseline:
    """All accepted cases of a suite on one device."""

    suite: str
    device: str
    provenance: Provenance
    cases: Mapping[str, BaselineCase]
    schema: int = BASELINE_SCHEMA


def baseline_path(root: Path, device_key: str, suite: str) -> Path:
    return root / device_key / f"{suite}.json"


def find_baseline(roots: Iterable[Path], device_key: str, suite: str) -> tuple[Path, Baseline] | None:
    """The first baseline for this device and suite under `roots`, or None.

    Raises:
        RecordError: the file is damaged or of another schema.
        BaselineError: the file stands in the wrong place: another device's or suite's.
    """
    for root in roots:
        path = baseline_path(root, device_key, suite)
        if path.exists():
            return path, load_baseline(path, device_key, suite)
    return None


def load_baseline(path: Path, device_key: str, suite: str) -> Baseline:
    """Read a baseline and check that it is this device's and this suite's."""
    found = read_record(path, Baseline, BASELINE_SCHEMA)
    if found.device != device_key:
        raise BaselineError(
            f"{path} was measured on '{found.device}', this device is '{device_key}'; baselines never cross devices"
        )
    if found.suite != suite:
        raise BaselineError(f"{path} belongs to suite '{found.suite}', not '{suite}'")
    expires = found.provenance.expires
    if expires is not None and expires < datetime.now(UTC).isoformat():
        raise BaselineError(f"{path} expired on {expires}; measure again and accept the run")
    if not found.cases:
        raise BaselineError(f"{path} holds no case; delete it or accept a run into it")
    return found


def save_baseline(path: Path, baseline: Baseline) -> None:
    """Write a baseline atomically: sorted keys, one case per block, so that a diff reads well."""
    write_atomic(path, encode_pretty(baseline))


def baseline_from_run(run: Run, provenance: Provenance, before: Baseline | None = None) -> Baseline:
    """The candidate rounds of a run as a baseline; earlier sessions of an unchanged case are kept.

    Raises:
        BaselineError: nothing in the run may be accepted, with the reason.
    """
    if run.environment.inject:
        raise BaselineError(
            f"the run was made with --perfgate-inject {dict(run.environment.inject)}; it can never be a baseline"
        )
    keys = {prepared.engine: prepared.key for prepared in run.prepared}
    kept = dict(before.cases) if before else {}
    fresh = {case.id: _accepted(run, case, keys.get(case.engine, "")) for case in run.cases if case.skip is None}
    measured = {case_id: case for case_id, case in fresh.items() if case.metrics}
    if not measured:
        raise BaselineError("the run holds no valid round; nothing was accepted")
    for case_id, case in measured.items():
        kept[case_id] = _with_earlier_sessions(case, kept.get(case_id))
    return Baseline(run.suite, run.environment.device, provenance, kept)


def _accepted(run: Run, case: CaseInfo, engine_key: str) -> BaselineCase:
    series = {}
    for name, metric in CATALOGUE.items():
        values = run.values(case.id, name, Side.CANDIDATE)
        if values:
            series[name] = Series(metric.unit, (tuple(values),))
    return BaselineCase(case.hash, engine_key, series, documents_of(run, case.id, Side.CANDIDATE))


def documents_of(run: Run, case_id: str, side: Side) -> Mapping[str, DocumentScore]:
    """Per-document scores of the first valid round that scored the case."""
    for one in run.rounds:
        for measured in one.cases:
            if (
                one.side is side
                and one.is_valid
                and measured.case == case_id
                and measured.documents
                and not measured.faults
            ):
                return measured.documents
    return {}


def _with_earlier_sessions(case: BaselineCase, before: BaselineCase | None) -> BaselineCase:
    """Keep earlier sessions as evidence of the noise, if they measured the same engine."""
    if before is None or before.hash != case.hash or before.engine_key != case.engine_key:
        return case
    merged = {
        name: replace(
            series, sessions=(before.metrics[name].sessions if name in before.metrics else ()) + series.sessions
        )
        for name, series in case.metrics.items()
    }
    return replace(case, metrics=merged)
