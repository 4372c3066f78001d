"""A tuning at work: step after step beside the best engine so far; finished rounds outlive a kill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from perfgate.baselines import documents_of
from perfgate.boundness import waits_for
from perfgate.case import EngineSpec, WorkKind, short_hash
from perfgate.contenders import Contender, Duel, Wish
from perfgate.contest import Contest, Referee, Standing
from perfgate.contest import Kept as KeptRounds
from perfgate.errors import EngineError, PerfgateError
from perfgate.gate import Teller, environment_of
from perfgate.journal import Header, Ledger
from perfgate.leases import WAIT_S, Wait, leased
from perfgate.paired import Documents
from perfgate.plant import Plant
from perfgate.process import HERE
from perfgate.record import CaseInfo, Environment, Round, Run, Side, now, printable
from perfgate.seats import journal_path, search_seat
from perfgate.spec_keys import changed_keys, own_keys
from perfgate.stopping import Stop, Stopped, goes_on
from perfgate.sweep_plan import key_of
from perfgate.terminal import clock
from perfgate.terms import Pairing
from perfgate.tune_budget import Kept, Stage, spent_s, turnout_s, why_too_late
from perfgate.tune_judge import Decision, Terms, decide, failure, figure_of, judge_step, terms_of
from perfgate.tune_plan import TunePlan, TuneWish
from perfgate.tune_record import Outcome, Tuned, TunedStep
from perfgate.tune_steps import STEPS, Step, back_from

TUNED = "tuned"  # the name of the engine that has all that was kept


@dataclass(frozen=True, slots=True)
class Candidate:
    """A spec to be measured beside another one. alone: never in memory together with it."""

    name: str
    words: str
    spec: EngineSpec
    beside: EngineSpec
    alone: bool = False


def run_tune(
    plan: TunePlan, wish: TuneWish, teller: Teller, held: ExitStack, stop: Stop | None = None
) -> Tuned:  # fmt: skip
    """Try every step that applies, within the budget; what is kept is what the next one is measured beside.

    held: is to be left after `close_tune`; until then nobody else tunes in the state folder.
    stop: ends the search early; steps without a verdict are then not tried, and the same command goes on.

    Raises:
        UsageError: a checkpoint cannot be used, or another program measures on the device for too long.
    """
    stop = stop or Stop()
    session = _Session(plan, wish, teller, stop)
    with suppress(Stopped), stop.interrupts():  # then no step is tried
        held.enter_context(leased([search_seat(wish.state, wish.folder.name)], Wait(WAIT_S, teller.note)))
        session.take_up()
    for step in STEPS:
        session.take(step)
    return session.finish()


def close_tune(found: Tuned, plan: TunePlan, wish: TuneWish) -> None:
    """It is reported. Where time was short its journal stays: the same command with a larger budget goes on."""
    if not (found.untried or found.stopped):
        _journal(plan, wish).close()


def _journal(plan: TunePlan, wish: TuneWish) -> Ledger[Kept]:
    return Ledger(journal_path(wish.state, f"{plan.suite.name}-tune-{plan.start.name}-{wish.goal}", plan.device), Kept)


def _referee(terms: Terms) -> Referee:
    return Referee(
        lambda run, beside: judge_step(terms, run, beside), lambda standing, _: decide(terms, standing).is_open
    )


def _work(case: CaseInfo) -> str:
    return case.id.removeprefix(f"{case.engine}-")


def _set(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if value is not None}


class _Session:
    """The best engine so far, what was found of each step, and what time is left."""

    def __init__(self, plan: TunePlan, wish: TuneWish, teller: Teller, stop: Stop) -> None:
        self.plan, self.wish, self.teller, self.stop = plan, wish, teller, stop
        self.best, self.scene = plan.start, plan.scene
        self.steps: list[TunedStep] = []
        self.scores: Mapping[str, Documents] | None = None  # of the start, by workload
        self.environment: Environment | None = None
        self.journal = _journal(plan, wish)
        self.kept: list[Kept] = []
        self.started = now()

    def take_up(self) -> None:
        """What an interrupted tuning finished."""
        plan = self.plan
        if self.wish.fresh:
            self.journal.close()
        fingerprint = key_of(plan.cases(plan.start), plan.device, plan.suite.gate)  # what follows begins with it
        header, self.kept = self.journal.resume(Header(plan.suite.name, self.started, fingerprint), self.teller.note)
        self.started = header.started
        if turnouts := sum(one.is_turnout for one in self.kept):
            self.teller.note(
                f"going on with the tuning of {header.started}: {turnouts} turns of rounds are measured, "
                f"{clock(spent_s(self.kept))} of the budget spent"
            )

    # ------------------------------------------------------------------ steps

    def take(self, step: Step) -> None:
        """Try a step, again and again where it says so."""
        below, largest = self.best, self.best  # the engine before the last one that was kept, and that one
        while (found := self._try(step)).outcome is Outcome.KEPT and step.repeats:
            below, largest = largest, self.best
        if step.repeats and found.outcome is Outcome.OUT_OF_MEMORY and largest is not below:
            self._step_back(below, largest)

    def _try(self, step: Step) -> TunedStep:
        if why := step.refusal(self.best, self.scene):
            return self._told(TunedStep(step.name, step.words, Outcome.NOT_HERE, why))
        spec = step.spec(self.best, self.scene)
        found = self._measured(Candidate(spec.name, step.told(spec), spec, self.best, alone=step.repeats))
        if found.outcome is Outcome.KEPT:
            self.best = spec
        return self._told(found)

    def _step_back(self, below: EngineSpec, largest: EngineSpec) -> None:
        """From the largest batch that ran, which stands too near the end of memory to stay."""
        self.best = below
        last = max(at for at, one in enumerate(self.steps) if one.outcome is Outcome.KEPT)
        why = f"better, but memory ran out at the next size; {self.steps[last].reason}"
        self.steps[last] = replace(self.steps[last], outcome=Outcome.LEFT, reason=why)
        name, words = f"batch-back-{largest.max_batch_size}", f"20 % back from a batch of {largest.max_batch_size}"
        size = back_from(largest.max_batch_size, below.max_batch_size)
        if size is None:
            why = f"there is no batch between {below.max_batch_size} and {largest.max_batch_size} that is 20 % smaller"
            self._told(TunedStep(name, words, Outcome.NOT_HERE, why))
            return
        spec = replace(below, name=f"batch-{size}", max_batch_size=size)
        found = self._measured(Candidate(spec.name, words, spec, below, alone=True))
        self.best = spec if found.outcome is Outcome.KEPT else below
        self._told(found)

    def _told(self, found: TunedStep) -> TunedStep:
        self.steps.append(found)
        if found.outcome is not Outcome.NOT_HERE and not self._stopped:
            self.teller.note(f"{found.words}: {found.outcome} ({found.reason})")
        return found

    # ---------------------------------------------------------------- measure

    def _measured(self, one: Candidate) -> TunedStep:
        """The candidate beside the best engine, in rounds until it is decided."""
        key = self._key(one)
        mine = [kept for kept in self.kept if kept.key == key]
        if bad := next((kept.rounds[0] for kept in mine if kept.rounds and not kept.is_turnout), None):
            return self._step_of(one, key, failure(bad))
        if not mine and (late := self._too_late(alone=one.alone)):
            return TunedStep(one.name, one.words, Outcome.UNTRIED, late, one.beside.name)
        contest, terms = self._contest(one, key)
        try:
            standing = contest.run(lambda: self._prepared(key, contest.prepare_s))
        except Stopped:
            return TunedStep(one.name, one.words, Outcome.UNTRIED, self._stopped, one.beside.name)
        except PerfgateError as exc:
            if len(contest.engines) != 1:  # it is not the candidate that could not be built
                raise
            return self._not_built(one, key, exc, contest.prepare_s)
        found = decide(terms, standing)
        self._learn(standing, contest, Side.CANDIDATE if found.outcome is Outcome.KEPT else Side.BASELINE)
        if found.is_open and self._left_s < turnout_s(self.kept):
            found = replace(found, reason=f"{found.reason}; the budget is spent")
        return self._step_of(one, key, found, standing.run)

    def _contest(self, one: Candidate, key: str) -> tuple[Contest, Terms]:
        plan = self.plan
        cases = plan.cases(one.spec)
        terms = terms_of(
            plan.suite, self.wish.goal, plan.metric, cases, plan.start, plan.scene.work.name, self.wish.max_loss,
            plan.looks, None if one.beside == plan.start else self.scores or {},
        )  # fmt: skip
        gate = replace(terms.gate, pairing=Pairing.CONSECUTIVE) if one.alone else terms.gate
        cache = self.wish.state / "engines"
        a, b = (Contender(Wish(spec.name), plan.suite, HERE, cache) for spec in (one.beside, one.spec))
        earlier = [done for kept in self.kept if kept.key == key and kept.is_turnout for done in kept.rounds]
        kept = KeptRounds(tuple(earlier), lambda rounds, seconds: self._keep(key, Stage.ROUNDS, seconds, rounds))
        duel, folder = Duel(replace(one.beside, name=one.spec.name), cases), self.wish.folder / one.spec.name
        return Contest(a, b, [duel], gate, folder, self.teller, _referee(terms), kept, self.stop), terms

    def _keep(self, key: str, stage: Stage, seconds: float, rounds: Sequence[Round] = ()) -> None:
        done = Kept(key, stage, seconds, tuple(rounds))
        self.journal.append(done)
        self.kept.append(done)

    def _key(self, one: Candidate) -> str:
        gate = self.plan.suite.gate
        sides = [key_of(self.plan.cases(spec), self.plan.device, gate) for spec in (one.beside, one.spec)]
        return short_hash([*sides, one.spec.name])

    def _prepared(self, key: str, seconds: float) -> float:
        """Both engines are there: what is left for rounds."""
        if not any(kept.key == key and not kept.is_turnout for kept in self.kept):
            self._keep(key, Stage.BUILD, seconds)
        return self._left_s

    def _not_built(self, one: Candidate, key: str, exc: PerfgateError, seconds: float) -> TunedStep:
        kind, why = exc.kind if isinstance(exc, EngineError) else None, printable(str(exc))
        bad = Round(one.spec.name, Side.CANDIDATE, 0, now(), 0.0, (), fault=why, fault_kind=kind)
        self._keep(key, Stage.BUILD, seconds, [bad])
        return self._step_of(one, key, failure(bad))

    def _learn(self, standing: Standing, contest: Contest, best: Side) -> None:
        """The start's scores, what the best engine waits for, and where all this was measured."""
        self.environment, run = contest.environment(Side.CANDIDATE), standing.run
        if self.scores is None:  # the first that is measured stands beside the start
            texts = [case for case in run.cases if case.kind == WorkKind.PERPLEXITY]
            scores = {_work(case): documents_of(run, case.id, Side.BASELINE) for case in texts}
            self.scores = scores if all(scores.values()) else None
        told = next(case.id for case in run.cases if _work(case) == self.scene.work.name)
        if shares := run.values(told, "device_busy_share", best):
            waits = waits_for(is_gpu=True, busy=median(shares), rounds=None)
            self.scene = replace(self.scene, waits=waits.bound)

    def _step_of(self, one: Candidate, key: str, found: Decision, run: Run | None = None) -> TunedStep:
        goal = found.goal
        mine = [kept for kept in self.kept if kept.key == key]
        pairs = min((sum(r.side is side and r.is_valid for r in run.rounds) for side in Side), default=0) if run else 0
        return TunedStep(
            one.name, one.words, found.outcome, found.reason, one.beside.name, changed_keys(one.beside, one.spec),
            goal.baseline if goal else None, goal.candidate if goal else None, figure_of(goal), figure_of(found.loss),
            pairs, sum(kept.seconds for kept in mine),
        )  # fmt: skip

    # ----------------------------------------------------------------- budget

    @property
    def _stopped(self) -> str:
        """Why there is no more; empty where no signal came."""
        return (
            self.stop.why(sum(len(one.rounds) for one in self.kept), goes_on(self.wish.fresh)) if self.stop.sign else ""
        )

    @property
    def _left_s(self) -> float:
        return self.wish.budget_s - spent_s(self.kept)

    def _too_late(self, *, alone: bool) -> str | None:
        sides = 2 if alone or self.plan.suite.gate.pairing is Pairing.CONSECUTIVE else 1  # turnouts a pair
        return why_too_late(self.kept, self.plan.pairs * sides, self.wish.budget_s)

    # ------------------------------------------------------------------- told

    def finish(self) -> Tuned:
        """All of it; where several steps were kept, the tuned engine beside the start if the budget allows."""
        start, whole = self.plan.start, None
        if sum(one.outcome is Outcome.KEPT for one in self.steps) > 1:
            spec = replace(self.best, name=TUNED)
            alone = spec.max_batch_size != start.max_batch_size
            whole = self._measured(Candidate(spec.name, "all that was kept", spec, start, alone))
            self.teller.note(f"{whole.words}, beside {self.plan.start.name}: {whole.outcome} ({whole.reason})")
        plan, wish = self.plan, self.wish
        environment = self.environment or environment_of(plan.device, {}, Plant(), plan.suite.gate.cpus)
        return Tuned(
            plan.suite.name, plan.start.name, wish.goal, plan.metric, plan.scene.work.name, wish.max_loss,
            wish.budget_s, spent_s(self.kept), self.started, environment, tuple(self.steps), own_keys(plan.start),
            own_keys(self.best) | _set(changed_keys(plan.start, self.best)), whole, self._stopped,
        )  # fmt: skip
