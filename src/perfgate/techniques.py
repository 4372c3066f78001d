"""Techniques beside their references: what each engine of a suite measured, and how many times as good that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from perfgate.case import Case, EngineSpec, LatencyWork, ServingWork, WorkKind
from perfgate.claim_findings import Finding, find, times_as_much
from perfgate.claim_pairs import ClaimCase, claim_cases
from perfgate.demand import limits_of
from perfgate.distances import Nearness, nearness
from perfgate.metrics import CATALOGUE, Kind
from perfgate.record import Run, Side
from perfgate.roofline import Ceilings
from perfgate.suite import Suite
from perfgate.technique_pairs import differences, reference_of
from perfgate.technique_rounds import rounds_for
from perfgate.technique_sources import Origin, Source
from perfgate.versus import Ratio, geometric_mean, goodness

# The first that was measured counts: load results of other clients have means alone.
TTFT, ITL = ("ttft_p50", "ttft_mean"), ("itl_p50", "itl_mean")
SPEED, STEP = ("output_tokens_per_s",), ("device_decode_step_p50",)
MEMORY, BYTES, QUALITY = ("peak_gpu_memory_bytes", "peak_memory_bytes"), ("engine_bytes",), ("perplexity",)
BUILD = ("build_s",)


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric of a case: the geometric mean of its rounds.

    times: as good as the reference's, so that more is better; None where the reference has no such figure.
    is_across: the reference's rounds are of another source, and so of another session.
    """

    metric: str
    value: float
    rounds: int
    times: Ratio | None = None
    is_across: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """A case that was measured. is_old: under another definition than the suite has now. limit: how near to it."""

    case: Case
    figures: Mapping[str, Figure]
    is_old: bool = False
    limit: Nearness | None = None

    def first(self, names: Sequence[str]) -> Figure | None:
        """The figure of the first of these metrics that was measured."""
        return next((self.figures[name] for name in names if name in self.figures), None)


@dataclass(frozen=True, slots=True)
class Row:
    """An engine, the engine it is compared with and what sets the two apart, with all that was measured of it.

    findings: claims of the field that were checked on the two, whichever of them the claim takes as its reference.
    """

    engine: EngineSpec
    reference: EngineSpec | None
    measured: tuple[Measured, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def differs(self) -> tuple[str, ...]:
        return differences(self.reference, self.engine) if self.reference else ()

    def at(self, work: str) -> Measured | None:
        return next((one for one in self.measured if one.case.work.name == work), None)

    def of(self, kind: WorkKind) -> Measured | None:
        """The first case of a kind."""
        return next((one for one in self.measured if one.case.kind is kind), None)

    @property
    def loads(self) -> list[Measured]:
        """Closed loops by their concurrency, lowest first."""
        found = [one for one in self.measured if one.case.concurrency]
        return sorted(found, key=lambda one: one.case.concurrency or 0)


@dataclass(frozen=True, slots=True)
class Group:
    """A suite on one device: its sources, a row for every engine that was measured, and the claims on them.

    ceilings: the device's limits, of the last source that holds them, else those given; None: not known.
    """

    suite: Suite
    device: str
    product: str
    sources: tuple[Source, ...]
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]
    ceilings: Ceilings | None = None

    @property
    def loads(self) -> list[LatencyWork | ServingWork]:
        """Workloads that generate text and were measured, in the suite's order."""
        works = [case.work for case in self.suite.cases if isinstance(case.work, LatencyWork | ServingWork)]
        return [work for work in dict.fromkeys(works) if any(row.at(work.name) for row in self.rows)]


def groups_of(sources: Sequence[Source], ceilings: Sequence[Ceilings] = ()) -> list[Group]:
    """Sources of one suite and device together, in the order in which they came.

    ceilings: limits of devices, for sources that do not hold them.
    """
    places = dict.fromkeys((one.run.environment.device, one.run.environment.product, one.suite.name) for one in sources)
    return [_group([one for one in sources if _place(one) == place], ceilings) for place in places]


def _place(one: Source) -> tuple[str, str, str]:
    made = one.run.environment
    return made.device, made.product, one.suite.name


def _group(sources: Sequence[Source], ceilings: Sequence[Ceilings]) -> Group:
    device, product, _ = _place(sources[-1])
    suite, told = sources[-1].suite, [one for one in sources if one.origin is not Origin.LOADS]
    own = [one.run.limits.ceilings for one in told if one.run.limits]
    given = [one for one in ceilings if (one.device, one.product) == (device, product)]
    limit = next(reversed([*given, *own]), None) if told else None
    near = _nearness(told, limit) if limit else {}
    found = tuple(_find(sources, one) for one in claim_cases(suite.cases, suite.claim_pairs))
    rows = (_row(sources, suite, spec, near, found) for spec in suite.engines)
    return Group(suite, device, product, tuple(sources), tuple(row for row in rows if row.measured), found, limit)


# ------------------------------------------------------------------ figures


def _row(
    sources: Sequence[Source], suite: Suite, spec: EngineSpec, near: Mapping[str, Nearness], found: Sequence[Finding]
) -> Row:
    reference = reference_of(suite, spec)
    theirs = {case.work: case for case in suite.cases if case.engine == reference}
    mine = [case for case in suite.cases if case.engine == spec]
    measured = (_measured(sources, case, theirs.get(case.work), near) for case in mine)
    claims = tuple(one for one in found if reference and _is_about(one, spec, reference))
    return Row(spec, reference, tuple(one for one in measured if one), claims)


def _is_about(one: Finding, spec: EngineSpec, reference: EngineSpec) -> bool:
    return {case.engine.name for case in one.asked.cases} == {spec.name, reference.name}


def _measured(
    sources: Sequence[Source], case: Case, reference: Case | None, near: Mapping[str, Nearness]
) -> Measured | None:
    taken = rounds_for(sources, (case,))
    if taken is None:
        return None
    run, _ = taken
    beside = rounds_for(sources, (reference, case)) if reference else None
    figures = {one.metric: one for one in _figures(run, case)}
    if beside and reference:
        figures = {name: _compared(one, beside, reference, case) for name, one in figures.items()}
    is_old = any(info.hash != case.hash for info in run.cases if info.id == case.id)
    return Measured(case, figures, is_old, near.get(case.id))


def _figures(run: Run, case: Case) -> Iterator[Figure]:
    names = {name for done in run.rounds for one in done.cases if one.case == case.id for name in one.values}
    for name in sorted(names & CATALOGUE.keys()):
        values = [value for value in run.values(case.id, name, Side.CANDIDATE) if value > 0]
        if values:
            yield Figure(name, geometric_mean(values), len(values))
    if case.kind is WorkKind.BUILD and "build_s" not in names:
        yield from _prepared(run, case)


def _prepared(run: Run, case: Case) -> Iterator[Figure]:
    """Seconds of an engine that an earlier run prepared, as its cache entry tells."""
    for one in run.prepared:
        if one.engine == case.engine.name and one.build_s > 0:
            yield Figure("build_s", one.build_s, 1)


def _compared(one: Figure, beside: tuple[Run, bool], reference: Case, case: Case) -> Figure:
    run, is_across = beside
    if CATALOGUE[one.metric].kind is Kind.EXACT and not run.values(reference.id, one.metric, Side.CANDIDATE):
        return one
    found = times_as_much(run, reference, case, one.metric)
    if isinstance(found, str):
        return one
    return replace(one, times=goodness(CATALOGUE[one.metric], found[0]), is_across=is_across)


def _find(sources: Sequence[Source], asked: ClaimCase) -> Finding:
    taken = rounds_for(sources, asked.cases) if asked.cases else None
    if taken is None:
        return find(sources[-1].run, asked)
    run, is_across = taken
    if not is_across:
        return find(run, asked)
    return find(run, replace(asked, notes=(*asked.notes, "the two engines ran in different sessions")))


def _nearness(sources: Sequence[Source], ceilings: Ceilings) -> dict[str, Nearness]:
    """By case, each by the last source that measured it; a load's checkpoint may lie elsewhere, so that it has none."""
    return {
        near.case: near
        for one in sources
        for near in nearness(one.run, one.run.limits or limits_of(one.suite.cases, ceilings))
        if near.decode.distance or near.prefill.distance
    }
