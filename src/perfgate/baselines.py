"""Baselines: accepted rounds per case, in reviewed files per device and suite."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from perfgate.blocks import encode_blocks
from perfgate.errors import BaselineError, UsageError
from perfgate.loads import hash_of_loads
from perfgate.metrics import PROCESS_WIDE, catalogue
from perfgate.origin import instrument_of, joined
from perfgate.record import CaseInfo, DocumentScore, Origin, Run, Side, read_record, write_atomic

BASELINE_SCHEMA = 1
_DEVICE = re.compile(r"[A-Za-z0-9_]{1,40}/[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
_SUITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")


@dataclass(frozen=True, slots=True)
class Series:
    """One metric's values: [session][round], in `unit`."""

    unit: str
    sessions: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class BaselineCase:
    """What was accepted for one case. `engine_key` finds the engine in the cache again.

    runs: when each run began whose rounds are here, oldest first, so that none counts twice.
    origin: the files that they were imported from; None where perfgate measured them.
    loads: of what is measured of a whole process, the hash of its loads; empty where there is none, or it is not known.
    """

    hash: str
    engine_key: str
    metrics: Mapping[str, Series]
    documents: Mapping[str, DocumentScore] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    origin: Origin | None = None
    loads: str = ""

    def is_of(self, case: CaseInfo, engine_key: str) -> bool:
        """Whether another run's rounds of this case measured the same thing, with the same instrument."""
        is_same = instrument_of(self.origin) == instrument_of(case.origin)
        return is_same and self.hash == case.hash and self.engine_key == engine_key


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One acceptance as its reviewers saw it.

    worse: what the accepted run was red for, 'fp32-chat itl_p50 +24.8 %'.
    left_out: when known runs of the same engines began that were left out on request.
    """

    accepted: str  # UTC, ISO 8601
    reason: str
    commit: str
    worse: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the accepted rounds come from, and why they were accepted; `history` has the acceptances before."""

    accepted: str  # UTC, ISO 8601
    reason: str
    product: str
    versions: Mapping[str, str]
    commit: str
    expires: str | None = None  # UTC, ISO 8601; the baseline is refused from then on
    worse: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    history: tuple[Acceptance, ...] = ()  # oldest first
    settings: Mapping[str, str] = field(default_factory=dict)  # how the GPUs were set (`gpu.facts.settings`)

    @property
    def acceptance(self) -> Acceptance:
        return Acceptance(self.accepted, self.reason, self.commit, self.worse, self.left_out)

    def is_expired(self, now: datetime) -> bool:
        return self.expires is not None and self.expires < now.isoformat()


@dataclass(frozen=True, slots=True)
class Baseline:
    """All accepted cases of a suite on one device."""

    suite: str
    device: str
    provenance: Provenance
    cases: Mapping[str, BaselineCase]
    schema: int = BASELINE_SCHEMA


def baseline_path(root: Path, device_key: str, suite: str) -> Path:
    """Where a device's baseline of a suite lies. Both names may come from a run file: neither leads out of `root`.

    Raises:
        BaselineError: a name is none, or the folder or the file is a link that leads out of `root`.
    """
    if not (_DEVICE.fullmatch(device_key) and _SUITE.fullmatch(suite)):
        raise BaselineError(
            f"found device key '{device_key[:80]}' and suite '{suite[:80]}', expected names such as sm_90/h200-141gb "
            "and latency: of letters, digits, '.', '_', '-' and '+'"
        )
    path = root / device_key / f"{suite}.json"
    if not path.resolve().is_relative_to(root.resolve()):
        raise BaselineError(f"{path} is or lies behind a link that leads out of {root}; put the file itself there")
    return path


def parse_expiry(option: str, text: str, now: datetime) -> str:
    """The moment (UTC, ISO 8601) from which a baseline is refused: '90d' from now, or the start of a date.

    Raises:
        UsageError: the text is neither, or the moment is past.
    """
    days = re.fullmatch(r"(\d{1,4})d", text.strip())
    try:
        when = now + timedelta(days=int(days[1])) if days else _midnight(date.fromisoformat(text.strip()))
    except ValueError:
        raise UsageError(f"{option}: found '{text}', expected days such as 90d, or a date such as 2027-01-31") from None
    if when <= now:
        raise UsageError(f"{option}: found '{text}', which is past: the baseline would be refused at once")
    return when.isoformat(timespec="seconds")


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def find_baseline(
    roots: Iterable[Path], device_key: str, suite: str, *, may_be_expired: bool = False
) -> tuple[Path, Baseline] | None:
    """The first baseline for this device and suite under `roots`, or None.

    may_be_expired: for what renews or shows a baseline; nothing else may use an expired one.

    Raises:
        RecordError: the file is damaged or of another schema.
        BaselineError: the file stands in the wrong place (another device's or suite's), or it expired.
    """
    for root in roots:
        path = baseline_path(root, device_key, suite)
        if path.exists():
            return path, load_baseline(path, device_key, suite, may_be_expired=may_be_expired)
    return None


def load_baseline(path: Path, device_key: str, suite: str, *, may_be_expired: bool = False) -> Baseline:
    """Read a baseline and check that it is this device's and this suite's, and still holds."""
    found = read_record(path, Baseline, BASELINE_SCHEMA)
    if found.device != device_key:
        raise BaselineError(
            f"{path} was measured on '{found.device}', this device is '{device_key}'; baselines never cross devices"
        )
    if found.suite != suite:
        raise BaselineError(f"{path} belongs to suite '{found.suite}', not '{suite}'")
    if found.provenance.is_expired(datetime.now(UTC)) and not may_be_expired:
        raise BaselineError(
            f"{path} expired on {found.provenance.expires}; measure again and accept the run: "
            "pytest --perfgate-update --perfgate-reason '...'"
        )
    if not found.cases:
        raise BaselineError(f"{path} holds no case; delete it or accept a run into it")
    return found


def save_baseline(path: Path, baseline: Baseline) -> None:
    """Write a baseline atomically: sorted keys, a block per case, a line per session, so that a diff reads well."""
    write_atomic(path, encode_blocks(baseline))


def baseline_from_run(run: Run, provenance: Provenance, before: Baseline | None = None) -> Baseline:
    """The candidate rounds of a run as a baseline; earlier sessions of an unchanged case are kept.

    Raises:
        BaselineError: nothing in the run may be accepted, with the reason.
    """
    refuse_planted(run)
    kept = dict(before.cases) if before else {}
    measured = accepted_cases(run)
    if not measured:
        raise BaselineError("the run holds no valid round; nothing was accepted")
    for case_id, case in measured.items():
        kept[case_id] = _with_earlier_sessions(case, kept.get(case_id))
    return Baseline(run.suite, run.environment.device, provenance, kept)


def engine_keys(run: Run) -> dict[str, str]:
    """Cache key of each engine that the run prepared."""
    return {prepared.engine: prepared.key for prepared in run.prepared}


def refuse_planted(run: Run) -> None:
    if run.environment.inject:
        raise BaselineError(
            f"the run was made with --perfgate-inject {dict(run.environment.inject)}; it can never be a baseline"
        )


def accepted_cases(run: Run) -> dict[str, BaselineCase]:
    """The run's cases that have valid rounds, as a baseline would hold them."""
    keys, known = engine_keys(run), catalogue(run.own_metrics)
    values, documents = _gathered(run)
    found = {}
    for case in (case for case in run.cases if case.skip is None and values.get(case.id)):
        mine = values[case.id]
        series = {name: Series(known[name].unit, (tuple(mine[name]),)) for name in known if name in mine}
        found[case.id] = BaselineCase(
            case.hash, keys.get(case.engine, ""), series, documents.get(case.id, {}), (run.started,), case.origin,
            hash_of_loads(run, case.engine) if PROCESS_WIDE & series.keys() else "",
        )  # fmt: skip
    return found


def _gathered(run: Run) -> tuple[dict[str, dict[str, list[float]]], dict[str, Mapping[str, DocumentScore]]]:
    """The candidate's valid values per case and metric, and each case's first documents, in one pass."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    documents: dict[str, Mapping[str, DocumentScore]] = {}
    known = catalogue(run.own_metrics)
    for one in run.rounds:
        for measured in one.cases if one.side is Side.CANDIDATE and one.is_valid else ():
            if measured.faults:
                continue
            for name in measured.values.keys() & known.keys():
                values[measured.case][name].append(measured.values[name])
            if measured.documents:
                documents.setdefault(measured.case, measured.documents)
    return values, documents


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


def same_loads(before: str, now: str) -> bool:
    """Whether two processes carried the same loads, as far as it is known."""
    return before == now or not (before and now)


def _with_earlier_sessions(case: BaselineCase, before: BaselineCase | None) -> BaselineCase:
    """Keep earlier sessions as evidence of the noise, if they measured the same engine; a run counts once."""
    if before is None or before.hash != case.hash or before.engine_key != case.engine_key:
        return case
    if instrument_of(before.origin) != instrument_of(case.origin):
        return case
    if set(case.runs) <= set(before.runs):
        return before
    merged = dict(before.metrics)
    for name, series in case.metrics.items():
        is_same = name not in PROCESS_WIDE or same_loads(before.loads, case.loads)
        earlier = before.metrics[name].sessions if name in before.metrics and is_same else ()
        merged[name] = replace(series, sessions=earlier + series.sessions)
    return replace(
        case, metrics=merged, documents=case.documents or before.documents, runs=before.runs + case.runs,
        origin=joined(before.origin, case.origin),
    )  # fmt: skip
