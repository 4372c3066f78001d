"""A against B on demand: two engines, package versions or commits, measured side by side and judged.

A stands where a gate has its baseline engine, B where it has its candidate. There is no stored
baseline: verdicts on noisy metrics rest on the rounds of now alone; documents' scores and figures
without noise (bytes, tokens) are compared with A's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from perfgate.baselines import Baseline
from perfgate.case import Case, canonical
from perfgate.comparison import Comparison, compare
from perfgate.contenders import Contender, Duel
from perfgate.contest import Contest, Referee, Standing
from perfgate.gate import Teller
from perfgate.measure import count
from perfgate.pinning import check_cpus
from perfgate.record import Round, Run, Side
from perfgate.rounds_option import checked_rounds
from perfgate.state_folder import check_state
from perfgate.stopping import ANEW, Stop, Stopped
from perfgate.suite import Suite
from perfgate.terms import Action, Gate, Policy
from perfgate.verdict import Verdict

LEAST_ROUNDS = 3  # a side: fewer say little of the noise between processes
_POLICY = "ab"
_ONCE = "build_s"  # an engine is built once, not once a round: it has no noise to judge by


def run_ab(
    a: Contender, b: Contender, duels: Sequence[Duel], gate: Gate, state: Path, teller: Teller,
    stop: Stop | None = None,
) -> tuple[Run, Comparison]:  # fmt: skip
    """Prepare both sides, measure in pairs until everything is decided or rounds or time run out, and judge.

    stop: ends the measuring early; what was measured is judged.

    Raises:
        UsageError: a checkpoint cannot be used.
        EngineError: an engine of either side cannot be prepared.
        Stopped: before both sides were prepared.
    """
    check_state(state)
    begin = time.perf_counter()
    referee = Referee(lambda run, baseline: judge_beside(run, baseline, b.suite, gate, f"A: {a.wish.text}"), _is_open)
    stop, stopped = stop or Stop(), ""
    contest = Contest(a, b, duels, gate, state / "ab", teller, referee, stop=stop)
    try:
        found = contest.run(lambda: gate.budget_s)
    except Stopped:
        if not contest.is_prepared:
            raise
        stopped, found = stop.why(len(contest.rounds), ANEW), contest.standing()
        teller.note(stopped)
    notes = _notes(contest, found.judged)
    judged = replace(found.judged, seconds=time.perf_counter() - begin, notes=notes)
    return found.run, judged.ended_early(stopped) if stopped else judged


def is_bad(judged: Comparison) -> bool:
    """Whether B is a regression, some case was not compared at all, or measuring was stopped."""
    compared = (Verdict.OK, Verdict.IMPROVED, Verdict.INCONCLUSIVE)
    return bool(judged.stopped) or any(
        case.verdict is Verdict.REGRESSED or not any(one.verdict in compared for one in case.metrics)
        for case in judged.cases
    )


def ab_gate(gate: Gate, rounds: int | None, budget_s: float | None) -> Gate:
    """A suite's gate without stored rounds; exactly `rounds` a side where given.

    Raises:
        UsageError: too few rounds, or cores to pin to that are not here.
    """
    check_cpus("gate.cpus", gate.cpus)
    checked_rounds(rounds, LEAST_ROUNDS)
    first, most = (rounds, rounds) if rounds else (max(gate.first_rounds, LEAST_ROUNDS), gate.most_rounds)
    return replace(
        gate,
        metrics=tuple(metric for metric in gate.metrics if metric.name != _ONCE),
        first_rounds=first,
        most_rounds=max(first, most),
        budget_s=budget_s or gate.budget_s,
        references=(),  # A is what B is compared with
    )


def judge_beside(run: Run, beside: Baseline, suite: Suite, gate: Gate, name: str) -> Comparison:
    """B beside A under a gate of the comparison's own; what is undecided is told and fails nothing."""
    warned = replace(suite, gate=gate, policies=((_POLICY, Policy(Action.WARN, Action.WARN, Action.WARN)),))
    return compare(run, warned, (Path(name), beside), _POLICY)


def _is_open(found: Standing, engine: str) -> bool:
    mine = {case.id for case in found.run.cases if case.engine == engine}
    return any(one.wants_rounds for one in found.judged.metrics if one.case in mine)


# -------------------------------------------------------------------- told


def _notes(contest: Contest, judged: Comparison) -> tuple[str, ...]:
    decided = sum(one.verdict in (Verdict.OK, Verdict.IMPROVED, Verdict.REGRESSED) for one in judged.metrics)
    return (
        _who(contest, "A", contest.a, Side.BASELINE),
        _who(contest, "B", contest.b, Side.CANDIDATE),
        *_redefined(contest.a.suite, contest.cases),
        *_never_measured(contest.rounds, [duel.b.name for duel in contest.duels]),
        f"decided: {decided} of {len(judged.metrics)} metrics, by pairs of rounds alone",
    )


def _who(contest: Contest, letter: str, one: Contender, side: Side) -> str:
    words = [f"{name} {version}" for name, version in contest.versions(side).items()]
    words += [f"commit {one.commit[:12]}"] if one.commit else []
    return f"{letter} is {one.wish.text}: {', '.join(words)}"


def _redefined(a: Suite, cases: Sequence[Case]) -> list[str]:
    """Workloads that A's suite defines otherwise: both sides are asked B's."""
    theirs = {case.work.name: case.work for case in a.cases}
    works = {case.work.name: case.work for case in cases}
    return [
        f"workload {name} is defined otherwise in A's suite; both sides were measured under B's"
        for name, work in works.items()
        if canonical(theirs[name]) != canonical(work)
    ]


def _never_measured(rounds: Sequence[Round], names: Sequence[str]) -> list[str]:
    """Why a side has no valid round at all."""
    sides = [(name, side) for name in names for side in Side if not count(rounds, name, side)]
    faults = {(one.engine, one.side): one.fault for one in rounds}  # the last one
    return [
        f"{'A' if side is Side.BASELINE else 'B'}'s {name} was never measured: {faults[name, side]}"
        for name, side in sides
        if (name, side) in faults
    ]
