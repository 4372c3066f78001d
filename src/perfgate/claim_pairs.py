"""Which engines of a suite a claim can be checked on: pairs that differ in what the claim is about, and no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perfgate.case import Case, EngineSpec, LatencyWork, ServingWork, Workload
from perfgate.claim import At, Check, Claim, shipped_claims, value_of
from perfgate.metrics import CATALOGUE
from perfgate.spec_keys import differing


@dataclass(frozen=True, slots=True)
class ClaimPair:
    """Engines that a suite names for a claim."""

    claim: str
    reference: str
    engine: str


@dataclass(frozen=True, slots=True)
class ClaimCase:
    """A check of a claim on two cases, or why there are none. is_named: the suite asks for this pair.

    notes: what to know of the pair before reading the result.
    """

    claim: Claim
    check: Check
    reference: Case | None = None
    case: Case | None = None
    why_not: str = ""
    is_named: bool = False
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """'fp8-speed-int8-vs-fp32' of a pair, 'fp8-speed' of none."""
        pair = f"-{self.case.engine.name}-vs-{self.reference.engine.name}" if self.case and self.reference else ""
        return f"{self.claim.name}-{self.check.name}{pair}"

    @property
    def cases(self) -> tuple[Case, ...]:
        """What has to be measured for it: the reference first."""
        return tuple(case for case in (self.reference, self.case) if case is not None)


def claim_cases(
    cases: Sequence[Case], named: Sequence[ClaimPair] = (), claims: Sequence[Claim] = ()
) -> tuple[ClaimCase, ...]:
    """Every check of every claim on every pair of engines, the named pairs or else those that are found."""
    engines = tuple(dict.fromkeys(case.engine for case in cases))
    return tuple(
        one
        for claim in claims or shipped_claims()
        for pair in _pairs(claim, engines, [one for one in named if one.claim == claim.name])
        for one in _claim_cases(claim, pair, cases)
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    reference: EngineSpec | None = None
    engine: EngineSpec | None = None
    why_not: str = ""
    is_named: bool = False
    is_stand_in: bool = False
    notes: tuple[str, ...] = ()


def _pairs(claim: Claim, engines: Sequence[EngineSpec], named: Sequence[ClaimPair]) -> list[_Pair]:
    by_name = {spec.name: spec for spec in engines}
    if named:
        return [_named(claim, one, by_name[one.reference], by_name[one.engine]) for one in named]
    after = [spec for spec in engines if value_of(spec, claim.key) in claim.after]
    for values, is_stand_in in ((claim.before, False), (claim.instead, True)):
        before = [spec for spec in engines if value_of(spec, claim.key) in values]
        fitting = [(a, b) for b in after for a in before if not _others(claim, a, b)]
        if fitting:
            return [_Pair(a, b, is_stand_in=is_stand_in, notes=tuple(_stand_in_note(claim, a))) for a, b in fitting]
    return [_Pair(why_not=_why_none(claim, engines, after))]


def _others(claim: Claim, a: EngineSpec, b: EngineSpec) -> list[str]:
    """Keys in which two engines differ and the claim does not speak of."""
    return [key for key in differing(a, b) if key not in (claim.key, *claim.beside)]


def _named(claim: Claim, pair: ClaimPair, a: EngineSpec, b: EngineSpec) -> _Pair:
    others = _others(claim, a, b)
    notes = (f"{pair.engine} and {pair.reference} differ in {', '.join(others)} too",) if others else ()
    is_stand_in = value_of(a, claim.key) in claim.instead
    return _Pair(a, b, is_named=True, is_stand_in=is_stand_in, notes=(*notes, *_stand_in_note(claim, a)))


def _stand_in_note(claim: Claim, reference: EngineSpec) -> Iterator[str]:
    value = value_of(reference, claim.key)
    if value in claim.instead:
        yield f"against {value}: the claim is of {' or '.join(claim.before)}"


def _why_none(claim: Claim, engines: Sequence[EngineSpec], after: Sequence[EngineSpec]) -> str:
    key = claim.key
    if not after:
        return f"no engine of the suite has {key}: {' or '.join(claim.after)}"
    before = [spec for spec in engines if value_of(spec, key) in (*claim.before, *claim.instead)]
    if not before:
        return f"no engine of the suite has {key}: {' or '.join(claim.before)}"
    a, b = min(((a, b) for a in before for b in after), key=lambda pair: len(_others(claim, *pair)))
    return f"{b.name} and {a.name} differ in {', '.join(_others(claim, a, b))} too"


def _claim_cases(claim: Claim, pair: _Pair, cases: Sequence[Case]) -> Iterator[ClaimCase]:
    for check in (one.against_stand_in() if pair.is_stand_in else one for one in claim.checks):
        if pair.reference is None or pair.engine is None:
            yield ClaimCase(claim, check, why_not=pair.why_not)
            continue
        if check.backends and pair.engine.backend not in check.backends:
            why = f"the files of {pair.engine.backend}'s engines are not their weights in memory"
            yield ClaimCase(claim, check, why_not=why, is_named=pair.is_named)
            continue
        yield _on_works(claim, check, pair, cases)


def _on_works(claim: Claim, check: Check, pair: _Pair, cases: Sequence[Case]) -> ClaimCase:
    """On the workload that the check wants, of those that both engines have."""
    mine, theirs = (
        {case.work: case for case in cases if case.engine == spec and CATALOGUE[check.metric].is_of(case.kind)}
        for spec in (pair.engine, pair.reference)
    )
    shared = [work for work in mine if work in theirs]
    if CATALOGUE[check.metric].is_of("latency"):
        shared = sorted((work for work in shared if _streams(work)), key=_streams)
    if not shared:
        names = f"{pair.engine.name} and {pair.reference.name}" if pair.engine and pair.reference else ""
        why = f"{names} share no workload that measures {check.metric}"
        return ClaimCase(claim, check, why_not=why, is_named=pair.is_named)
    work = shared[0 if check.at is At.LEAST else -1]
    notes = (*pair.notes, *_lengths_note(claim, work))
    return ClaimCase(claim, check, theirs[work], mine[work], is_named=pair.is_named, notes=notes)


def _streams(work: Workload) -> int:
    """Concurrency of a closed loop; 0 of anything else."""
    return int(getattr(work, "concurrency", None) or 0)


def _lengths_note(claim: Claim, work: Workload) -> Iterator[str]:
    is_mixed = isinstance(work, ServingWork) and not work.osl.isdigit()
    if claim.needs_mixed_lengths and isinstance(work, LatencyWork | ServingWork) and not is_mixed:
        yield "every output of this workload is as long: the claim is of mixed lengths"
