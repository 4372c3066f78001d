"""Whether claims hold on what a run measured: the factor with its interval over rounds, and a verdict.

    holds          the whole interval is as good as claimed, or better
    partly         the whole interval is better than the reference, and not all of it as good as claimed
    does not hold  none of it is as good as claimed, and it is not shown to be better at all
    cannot be tested here   no such engines, no valid rounds, or an interval from no gain to what is claimed

Intervals are those of `perfgate.versus`: paired where the rounds of both engines took turns, else Welch's; of
perplexity the one of `perfgate.paired` over documents. Figures without noise (bytes) have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from perfgate.baselines import documents_of
from perfgate.case import Case
from perfgate.claim import Check
from perfgate.claim_pairs import ClaimCase, claim_cases
from perfgate.factors import factor, valued
from perfgate.loads import why_unlike
from perfgate.metrics import CATALOGUE, Kind
from perfgate.paired import paired_change
from perfgate.record import Run, Side
from perfgate.suite import ClaimPolicy, Suite
from perfgate.versus import Ratio, around, around_exact, goodness

Found = tuple[Ratio, str] | str  # a ratio of values with what its interval rests on, or why there is none


class Standing(StrEnum):
    """What became of a claim."""

    HOLDS = "holds"
    PARTLY = "partly"
    FAILS = "does not hold here"
    UNTESTED = "cannot be tested here"


@dataclass(frozen=True, slots=True)
class Finding:
    """A check and what was measured of it. times: how many times as good as the reference; None where not measured.

    basis: what the interval rests on. why: what speaks against a verdict, where none could be given.
    """

    asked: ClaimCase
    standing: Standing
    times: Ratio | None = None
    basis: str = ""
    why: str = ""


def findings_of(run: Run, suite: Suite) -> tuple[Finding, ...]:
    """Every claim on the engines of a suite, by what a run of it measured."""
    return tuple(findings(run, claim_cases(suite.cases, suite.claim_pairs)))


def is_failure(one: Finding, policy: ClaimPolicy) -> bool:
    """Whether a finding makes a gate red: only where the suite says so.

    What cannot be tested fails only where the suite names the engines for it: absence is no proof.
    """
    if policy is ClaimPolicy.REPORT:
        return False
    return one.standing in (Standing.PARTLY, Standing.FAILS) or (
        one.standing is Standing.UNTESTED and one.asked.is_named
    )


def findings(run: Run, checks: Sequence[ClaimCase]) -> list[Finding]:
    """One for each check, in order."""
    return [find(run, one) for one in checks]


def find(run: Run, check: ClaimCase) -> Finding:
    """What the run says of one check."""
    if check.reference is None or check.case is None:
        return Finding(check, Standing.UNTESTED, why=check.why_not)
    if why := _why_unmeasured(run, check.cases):
        return Finding(check, Standing.UNTESTED, why=why)
    found = times_as_much(run, check.reference, check.case, check.check.metric)
    if isinstance(found, str):
        return Finding(check, Standing.UNTESTED, why=found)
    times, basis = found
    times = goodness(CATALOGUE[check.check.metric], times)
    standing, why = judge_claim(check.check, times)
    return Finding(check, standing, times, basis, why)


def times_as_much(run: Run, reference: Case, case: Case, metric: str) -> Found:
    """A metric of a case over that of its reference, by what the kind of the metric asks for."""
    if why := why_unlike(metric, (run, reference.engine.name), (run, case.engine.name)):
        return why
    match CATALOGUE[metric].kind:
        case Kind.PAIRED:
            return _by_documents(run, reference, case, metric)
        case Kind.EXACT:
            return _exactly(run, reference, case, metric)
        case Kind.NOISY:
            return _by_rounds(run, reference, case, metric)


def judge_claim(check: Check, times: Ratio) -> tuple[Standing, str]:
    """A verdict from how many times as good as the reference the engine is; pure and total."""
    if times.low is None or times.high is None:
        return Standing.UNTESTED, "one round a side has no interval: measure with more rounds"
    if times.low >= check.least_good:
        return Standing.HOLDS, ""
    more = "the interval reaches what is claimed: more rounds may show that it holds"
    reaches = times.high >= check.least_good
    if check.least is not None and times.low > 1:
        return Standing.PARTLY, more if reaches else ""
    return (Standing.UNTESTED, more) if reaches else (Standing.FAILS, "")


def _why_unmeasured(run: Run, cases: Sequence[Case]) -> str:
    """Why a case has no figures in this run; empty where nothing is known against it."""
    infos = {info.id: info for info in run.cases}
    for case in cases:
        info = infos.get(case.id)
        if info is None:
            return f"{case.id} was not measured in this run"
        if info.skip is not None:
            return f"{case.engine.name} was skipped: {info.skip}"
        if info.hash != case.hash:
            return f"{case.id} was measured as the suite had it then; it has changed since"
    return ""


def _exactly(run: Run, reference: Case, case: Case, metric: str) -> Found:
    values = [run.values(one.id, metric, Side.CANDIDATE) for one in (reference, case)]
    if not all(values):
        return f"no valid round has {metric}"
    return around_exact(values[1][0] / values[0][0]), "exact"


def _by_documents(run: Run, reference: Case, case: Case, metric: str) -> Found:
    stored, now = (documents_of(run, one.id, Side.CANDIDATE) for one in (reference, case))
    if not stored or not now:
        return f"{reference.id if not stored else case.id} has no scored documents"
    if {name: score.tokens for name, score in stored.items()} != {name: score.tokens for name, score in now.items()}:
        return "the two engines scored other documents or tokens"
    change = paired_change(metric, stored, now)
    return around(change.size, change.error, change.df), f"paired over {len(now)} documents"


def _by_rounds(run: Run, reference: Case, case: Case, metric: str) -> Found:
    a, b = (valued(run, one, metric) for one in (reference, case))
    if not a or not b:
        return f"no valid round of {reference.id if not a else case.id} has {metric}"
    found = factor(a, b)
    return found.ratio, found.basis
