"""What was measured, as runs: those that are named, accepted rounds of a baseline, and rounds of a history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from perfgate.baselines import Baseline, BaselineCase, documents_of
from perfgate.case import Case
from perfgate.factors import Valued, valued
from perfgate.history import LatestRounds
from perfgate.paired import Documents
from perfgate.record import CaseInfo, CaseRound, Environment, Round, Run, Side


@dataclass(frozen=True, slots=True)
class Source:
    """A run and where it is from. is_ordered: the indexes of its rounds tell in which order they ran."""

    name: str
    run: Run
    is_ordered: bool = True


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything measured that advice may rest on, all of one device; the first that has a figure counts."""

    every: tuple[Source, ...]

    def values(self, source: Source, case: Case, metric: str) -> list[Valued]:
        """A metric's valid rounds of a case in one source; none where the case was another one then."""
        if not _has(source.run, case):
            return []
        found = valued(source.run, case, metric)
        return found if source.is_ordered else [replace(one, index=None) for one in found]

    def of(self, case: Case, metric: str) -> tuple[Source, list[Valued]] | None:
        """The first source with rounds of a metric, and those rounds."""
        found = ((source, self.values(source, case, metric)) for source in self.every)
        return next(((source, values) for source, values in found if values), None)

    def documents(self, case: Case) -> tuple[Source, Documents] | None:
        """The first source with scores of a text."""
        having = (source for source in self.every if _has(source.run, case))
        found = ((source, documents_of(source.run, case.id, Side.CANDIDATE)) for source in having)
        return next(((source, documents) for source, documents in found if documents), None)

    def has(self, case: Case) -> bool:
        """Whether any valid round measured the case."""
        return any(_has(source.run, case) and _is_measured(source.run, case) for source in self.every)


def changed_since(sources: Sources, cases: Sequence[Case]) -> list[str]:
    """Cases of the suite that were measured only as another suite had them: their hash is another."""
    ids = {info.id for source in sources.every for info in source.run.cases}
    return [case.id for case in cases if case.id in ids and not any(_has(one.run, case) for one in sources.every)]


def _has(run: Run, case: Case) -> bool:
    return any(info.id == case.id and info.hash == case.hash and info.skip is None for info in run.cases)


def _is_measured(run: Run, case: Case) -> bool:
    rounds = (one for one in run.rounds if one.side is Side.CANDIDATE and one.is_valid)
    return any(one.case == case.id and not one.faults for done in rounds for one in done.cases)


def of_baseline(name: str, baseline: Baseline, cases: Sequence[Case]) -> list[Source]:
    """The newest session of each accepted case, as one run for each begin of a session."""
    known = {case.id: case for case in cases}
    begun: dict[str, dict[str, BaselineCase]] = defaultdict(dict)
    for case_id, stored in baseline.cases.items():
        if case_id in known:
            begun[stored.runs[-1] if stored.runs else ""][case_id] = stored
    made = baseline.provenance
    environment = Environment(baseline.device, made.product, made.versions, made.commit)
    return [
        Source(f"{name} ({started or 'of unknown time'})", _run(baseline.suite, started, environment, [
            _Stored(known[case_id], one.hash, _newest(one), one.documents) for case_id, one in mine.items()
        ]), is_ordered=False)
        for started, mine in sorted(begun.items(), reverse=True)
    ]  # fmt: skip


def of_history(suite: str, device: str, found: Sequence[LatestRounds], cases: Sequence[Case]) -> list[Source]:
    """The newest rounds of cases in a history, as one run for each begin; texts have no scores there."""
    known = {case.id: case for case in cases}
    begun: dict[tuple[str, str], list[LatestRounds]] = defaultdict(list)
    for one in found:
        begun[one.started, one.product].append(one)
    return [
        Source(f"history ({started})", _run(suite, started, Environment(device, product, {}, ""), [
            _Stored(known[one.case], known[one.case].hash, one.metrics, {}) for one in mine if one.case in known
        ]), is_ordered=False)
        for (started, product), mine in sorted(begun.items(), reverse=True)
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Stored:
    """A case whose rounds lie metric by metric."""

    case: Case
    hash: str
    metrics: Mapping[str, Sequence[float]]
    documents: Documents


def _newest(stored: BaselineCase) -> dict[str, Sequence[float]]:
    return {name: one.sessions[-1] for name, one in stored.metrics.items() if one.sessions}


def _run(suite: str, started: str, environment: Environment, stored: Sequence[_Stored]) -> Run:
    infos = tuple(CaseInfo(one.case.id, one.case.engine.name, one.case.kind, one.hash) for one in stored)
    rounds = tuple(_rounds(stored, started))
    return Run(suite, started, environment, infos, (), tuple(replace(one, index=n) for n, one in enumerate(rounds)))


def _rounds(stored: Sequence[_Stored], started: str) -> Iterator[Round]:
    for engine in dict.fromkeys(one.case.engine.name for one in stored):
        mine = [one for one in stored if one.case.engine.name == engine]
        count = max((len(values) for one in mine for values in one.metrics.values()), default=0)
        for place in range(count):
            measured = tuple(_case_round(one, place) for one in mine)
            yield Round(engine, Side.CANDIDATE, 0, started, 0.0, tuple(one for one in measured if one.values))


def _case_round(one: _Stored, place: int) -> CaseRound:
    values = {name: values[place] for name, values in one.metrics.items() if place < len(values)}
    return CaseRound(one.case.id, values, documents=one.documents if place == 0 else {})
