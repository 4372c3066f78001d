"""Whether a step is kept: better for the goal, surely; not worse elsewhere; and no dumber than allowed.

The goal's metric is judged with the sides swapped: 'the engine so far is worse than the candidate' is found at
alpha, 'the candidate is better by `detect`' is ruled out at 1 - beta, and nothing else ends the rounds. All other
gated metrics are judged as in any comparison, texts by their loss against the engine that the search began with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from perfgate.ab import ab_gate, judge_beside
from perfgate.baselines import Baseline, BaselineCase, documents_of
from perfgate.case import Case, EngineSpec, PerplexityWork
from perfgate.comparison import Comparison
from perfgate.contest import Standing, baseline_of
from perfgate.fault_kinds import ProcessFault
from perfgate.judge import judge
from perfgate.metrics import CATALOGUE, LOSS, PAIRED, Better, Metric
from perfgate.paired import Documents
from perfgate.percent import percent
from perfgate.quality_suite import Reference
from perfgate.record import Round, Run, Side
from perfgate.suite import Suite
from perfgate.terms import Gate
from perfgate.tune_goal import Goal, is_guarded
from perfgate.tune_record import Figure, Outcome
from perfgate.verdict import MetricVerdict, Verdict

OUT_OF_MEMORY = frozenset({ProcessFault.GPU_OUT_OF_MEMORY, ProcessFault.HOST_OUT_OF_MEMORY})


@dataclass(frozen=True, slots=True)
class Terms:
    """What a step is judged by.

    case: the candidate's under the goal's workload. goal_gate: of the goal's metric alone; gate: of all others.
    scores: the start engine's documents by workload; None where the start is the side to be beaten.
    """

    suite: Suite
    case: str
    metric: Metric
    goal_gate: Gate
    gate: Gate
    scores: Mapping[str, Documents] | None


@dataclass(frozen=True, slots=True)
class Decision:
    """is_open: further rounds may still decide it."""

    outcome: Outcome
    reason: str
    is_open: bool = False
    goal: MetricVerdict | None = None  # toward worse, as a comparison has it
    loss: MetricVerdict | None = None


def terms_of(
    suite: Suite, goal: Goal, metric_name: str, cases: Sequence[Case], start: EngineSpec, goal_work: str,
    max_loss: float, looks: int, scores: Mapping[str, Documents] | None,
) -> Terms:  # fmt: skip
    """cases: the candidate's. looks: how many candidates the search may judge in all."""
    gate = ab_gate(suite.gate, None, None)
    known = {metric.name: metric for metric in gate.metrics}
    metric = known.get(metric_name, CATALOGUE[metric_name])
    gate = replace(gate, alpha=gate.alpha / looks, beta=gate.beta / looks)
    guards = tuple(one for one in known.values() if is_guarded(one.name, goal) or one.name == metric.name)
    references = tuple(_from_start(case, start, max_loss) for case in cases if isinstance(case.work, PerplexityWork))
    case_id = f"{cases[0].engine.name}-{goal_work}"
    with_goal = guards if metric in guards else (*guards, metric)  # its change is shown in any case
    wide = replace(gate, metrics=with_goal, references=references)
    return Terms(suite, case_id, metric, replace(gate, metrics=(metric,)), wide, scores)


def _from_start(case: Case, start: EngineSpec, max_loss: float) -> Reference:
    return Reference(
        case.id, case.engine.name, _start_case(case.work.name), start.name, Case(start, case.work).hash, max_loss
    )


def _start_case(work: str) -> str:
    return f"the start under {work}"  # the name of no case: those hold no blanks


def judge_step(terms: Terms, run: Run, beside: Baseline) -> Comparison:
    """The candidate beside the best engine so far, and its texts beside those of the start."""
    cases = {**beside.cases}
    for one in terms.gate.references:
        work = _start_case_work(one)
        scored = documents_of(run, one.case, Side.BASELINE) if terms.scores is None else terms.scores.get(work, {})
        cases[one.reference_case] = BaselineCase(one.reference_hash, "", {}, scored)
    return judge_beside(run, replace(beside, cases=cases), terms.suite, terms.gate, "the best engine so far")


def _start_case_work(one: Reference) -> str:
    return one.case.removeprefix(f"{one.engine}-")


def decide(terms: Terms, standing: Standing) -> Decision:
    """What is to be done with the candidate, by the rounds so far; total."""
    judged = standing.judged
    if missing := _unmeasured(standing.run):
        return missing
    goal = next((one for one in judged.metrics if (one.case, one.metric) == (terms.case, terms.metric.name)), None)
    loss = max((one for one in judged.metrics if one.metric == LOSS), key=lambda one: _ORDER[one.verdict], default=None)
    found = _decided(terms, standing, loss)
    return replace(found, goal=goal, loss=loss)


_ORDER = {Verdict.OK: 0, Verdict.IMPROVED: 0, Verdict.INCONCLUSIVE: 1} | dict.fromkeys(
    (Verdict.NO_BASELINE, Verdict.INVALID, Verdict.REGRESSED, Verdict.BROKEN), 2
)


def _decided(terms: Terms, standing: Standing, loss: MetricVerdict | None) -> Decision:
    judged = standing.judged
    if broken := next((one for one in judged.metrics if one.verdict is Verdict.BROKEN), None):
        return Decision(Outcome.LOSES, f"{broken.case}: {broken.reason}")
    if loss is not None and loss.verdict is Verdict.REGRESSED:
        return Decision(Outcome.LOSES, f"more than the allowed {percent(loss.margin)} of perplexity")
    better = _swapped(terms, standing)
    match better.verdict:
        case Verdict.REGRESSED:
            return _elsewhere(terms, judged, loss)
        case Verdict.OK | Verdict.IMPROVED:
            return Decision(
                Outcome.NOT_BETTER, f"a gain of {percent(terms.metric.detect, 0)} in {_goal(terms)} is ruled out"
            )
        case Verdict.INCONCLUSIVE:
            rate = f"at this candidate's share of the error rate, {percent(terms.goal_gate.alpha, 2)}"
            what = f"the rounds do not tell, {rate}, whether {_goal(terms)} is better by more than"
            return Decision(Outcome.UNDECIDED, f"{what} {percent(terms.metric.margin)}", is_open=True)
        case _:
            return Decision(Outcome.FAILED, f"{_goal(terms)}: {better.reason}")


def _elsewhere(terms: Terms, judged: Comparison, loss: MetricVerdict | None) -> Decision:
    """Of a candidate that is better for the goal."""
    others = [one for one in judged.metrics if (one.case, one.metric) != (terms.case, terms.metric.name)]
    if worse := [one for one in others if one.verdict is Verdict.REGRESSED]:
        most = max(worse, key=lambda one: one.change or 0.0)
        return Decision(Outcome.WORSE, f"{most.metric} of {_work(most)} {percent(most.change or 0.0, sign='+')} worse")
    if lost := [one for one in others if one.verdict in (Verdict.INVALID, Verdict.NO_BASELINE)]:
        return Decision(Outcome.FAILED, f"{lost[0].metric} of {_work(lost[0])}: {lost[0].reason}")
    open_ones = [one for one in others if one.verdict is Verdict.INCONCLUSIVE]
    if wanting := [one for one in open_ones if one.metric not in PAIRED]:
        names = ", ".join(dict.fromkeys(one.metric for one in wanting))
        return Decision(Outcome.UNDECIDED, f"better, but the rounds do not rule out worse {names}", is_open=True)
    if loss is not None and loss.verdict is Verdict.INCONCLUSIVE:
        more = f"; {loss.more_documents} more documents would tell" if loss.more_documents else ""
        return Decision(Outcome.UNDECIDED, f"better, but the loss is too close to {percent(loss.margin)}{more}")
    return Decision(Outcome.KEPT, f"{_goal(terms)} is better, and nothing else worse than allowed")


def _swapped(terms: Terms, standing: Standing) -> MetricVerdict:
    """The goal's metric, as if the candidate stood accepted and the engine so far were on trial."""
    run = standing.run
    other = {Side.CANDIDATE: Side.BASELINE, Side.BASELINE: Side.CANDIDATE}
    mine = tuple(case for case in run.cases if case.id == terms.case)
    turned = replace(run, cases=mine, rounds=tuple(replace(one, side=other[one.side]) for one in run.rounds))
    stored = baseline_of(turned, standing.beside.provenance, {case.engine: "" for case in mine})
    (verdict,) = judge(turned, stored, terms.goal_gate)
    return verdict


def _goal(terms: Terms) -> str:
    return terms.metric.name


def _work(one: MetricVerdict) -> str:
    return one.case.partition("-")[2] or one.case


def _unmeasured(run: Run) -> Decision | None:
    """A side of which no round counts, and why."""
    for side in (Side.CANDIDATE, Side.BASELINE):
        mine = [one for one in run.rounds if one.side is side]
        if not any(one.is_valid for one in mine) and (bad := next((one for one in mine if one.fault), None)):
            return failure(bad)
        if side is Side.CANDIDATE and (bad := next((one for one in mine if _ran_out(one)), None)):
            return failure(bad)
    return None


def failure(bad: Round) -> Decision:
    """What a round that failed says of its engine."""
    why = bad.fault or next((fault for case in bad.cases for fault in case.faults), "")
    return Decision(Outcome.OUT_OF_MEMORY if _ran_out(bad) else Outcome.FAILED, why)


def _ran_out(one: Round) -> bool:
    return bool(OUT_OF_MEMORY & {one.fault_kind, *(case.fault_kind for case in one.cases)})


def figure_of(verdict: MetricVerdict | None) -> Figure | None:
    """A change toward worse as new over old; None where nothing was compared."""
    if verdict is None or verdict.change is None or verdict.low is None or verdict.high is None:
        return None
    if verdict.better is Better.LOWER:
        return Figure(verdict.change, verdict.low, verdict.high)
    new_over_old = [1 / (1 + one) - 1 for one in (verdict.change, verdict.high, verdict.low)]
    return Figure(*new_over_old)
