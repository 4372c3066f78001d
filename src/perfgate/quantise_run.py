"""Quantising at work: build, rounds beside the reference, verdict; what is finished is kept for a killed command."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from perfgate.builder import BuildJob, prepare
from perfgate.case import Case, EngineSpec, Quantisation
from perfgate.engines.cache import Found, digest, model_digest
from perfgate.engines.calibration_texts import kept_calibration
from perfgate.errors import EngineError
from perfgate.gate import Teller, environment_of
from perfgate.journal import Header, Ledger
from perfgate.leases import WAIT_S, Wait, leased, places
from perfgate.measure import RETRIES, Ask, Bench, Hardware, fails_for_good
from perfgate.plan import FIRST_GUESS_S
from perfgate.plant import Plant
from perfgate.quantise_advice import Idea, ideas_for
from perfgate.quantise_judge import Judged, infos_of, judge_quantised
from perfgate.quantise_plan import QuantisePlan, QuantiseWish
from perfgate.quantise_record import Attempt, Outcome, Quantised, StepTime, Suggestion
from perfgate.record import Round, Run, Side, now
from perfgate.seats import journal_path, search_seat
from perfgate.stopping import breakable
from perfgate.sweep_plan import key_of
from perfgate.workloads.texts import read_documents


@dataclass(frozen=True, slots=True)
class Kept:
    """A round of an engine that is the same as long as its key is."""

    key: str
    round: Round


def run_quantise(plan: QuantisePlan, wish: QuantiseWish, teller: Teller, held: ExitStack) -> Quantised:
    """Quantise, measure and judge; where asked to, go on with other options until one is accepted.

    held: is to be left after `close_quantise`; until then nobody else quantises in the state folder.

    Raises:
        UsageError: a checkpoint or text cannot be used, or another program measures on the device for too long.
        EngineError: the reference cannot be built.
    """
    wait = Wait(WAIT_S, teller.note)
    held.enter_context(leased([search_seat(wish.state, wish.folder.name)], wait))
    session = _Session(plan, wish, teller)
    with leased(places(plan.device, (plan.engine, plan.reference)), wait) as leases:
        return session.go(leases)


def close_quantise(plan: QuantisePlan, wish: QuantiseWish) -> None:
    """All of it is reported: the next command measures anew."""
    _journal(plan, wish).close()


def _journal(plan: QuantisePlan, wish: QuantiseWish) -> Ledger[Kept]:
    return Ledger(journal_path(wish.state, f"{plan.suite.name}-quantize-{plan.engine.name}", plan.device), Kept)


class _Session:
    """What is built, what is measured, which attempts are judged."""

    def __init__(self, plan: QuantisePlan, wish: QuantiseWish, teller: Teller) -> None:
        self.plan, self.wish, self.teller = plan, wish, teller
        self.engines: dict[str, Found] = {}
        self.rounds: list[Round] = []
        self.specs: list[EngineSpec] = []
        self.attempts: list[Attempt] = []
        self._begin = time.perf_counter()
        self._hardware = Hardware(plan.device.gpus)
        self._spent: list[float] = []  # seconds of each round measured now
        self.journal = _journal(plan, wish)
        if wish.fresh:
            self.journal.close()
        header, self._stored = self.journal.resume(Header(plan.suite.name, now(), "quantize"), teller.note)
        self.started = header.started
        if self._stored:
            teller.note(f"going on with the work of {header.started}: {len(self._stored)} rounds are kept")

    # -------------------------------------------------------------- the way

    def go(self, leases: tuple[int, ...]) -> Quantised:
        """The checkpoint, the reference, and attempt after attempt."""
        self._hardware = self._hardware.under(leases)
        first = self._checkpoint()
        reference = self._build(self.plan.reference, fresh=False)
        spec, changed = self.plan.engine, ""
        for number in range(1 + self.plan.tries):
            ideas = self._attempt(spec, changed, [first, reference] if number == 0 else [])
            following = next((one for one in ideas if not one.is_manual), None)
            if self.attempts[-1].outcome is Outcome.ACCEPT or following is None or number == self.plan.tries:
                break
            spec, changed = replace(following.spec, name=f"{self.plan.engine.name}-{number + 2}"), following.what
            self.teller.note(f"trying next: {changed} ({following.why})")
        return self._finish()

    def _checkpoint(self) -> StepTime:
        begin = time.perf_counter()
        self._tell("reading the checkpoint")
        with breakable():
            model_digest(self.plan.engine.model)
        return self._done("checkpoint", time.perf_counter() - begin, str(self.plan.engine.model))

    def _attempt(self, spec: EngineSpec, changed: str, steps: list[StepTime]) -> list[Idea]:
        """Build, validate and judge; returns what might be tried next."""
        self.specs.append(spec)
        try:
            steps = [*steps, *self._calibration(spec), self._build(spec, fresh=self.wish.fresh)]
        except EngineError as exc:
            judged = Judged(Outcome.FAILED, str(exc), (), ())
        else:
            steps.append(self._validate(spec))
            judged = self._judged(spec)
        is_measured = judged.losses or spec.name not in self.engines or judged.outcome is Outcome.ADJUST
        ideas = self._ideas(spec, judged) if judged.outcome is not Outcome.ACCEPT and is_measured else []
        self.attempts.append(self._told(spec, changed, steps, judged, ideas))
        self.teller.note(f"{spec.name}: {judged.outcome}: {judged.reason}")
        return ideas

    def _calibration(self, spec: EngineSpec) -> list[StepTime]:
        options = spec.quantisation
        if options is None or options.calibration is None:
            return []
        begin = time.perf_counter()
        texts = len(read_documents(options.calibration))
        what = f"{options.calibration.name}, {texts} texts, sha256 {digest(options.calibration)[:12]}"
        return [self._done("calibration data", time.perf_counter() - begin, what)]

    def _build(self, spec: EngineSpec, *, fresh: bool) -> StepTime:
        self._tell(f"quantising and building {spec.name}" if spec.is_quantised else f"building {spec.name}")
        job = BuildJob(spec, self.plan.device, self.wish.state / "engines", fresh, stall_s=self.plan.suite.gate.stall_s)
        found = prepare(job, self.wish.folder / "work", self._hardware.leases)
        self.engines[spec.name] = found
        phases = found.entry.phases
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in phases.items() if seconds >= 0.05)  # noqa: PLR2004
        name = "quantise and build" if spec.is_quantised else "build the reference"
        what = f"{spec.name}: {found.entry.engine_bytes / 1e6:.1f} MB ({parts})"
        return self._done(name, sum(phases.values()), what, is_kept=found.from_cache)

    def _validate(self, spec: EngineSpec) -> StepTime:
        """Rounds of both, in turn; the reference's serve all attempts."""
        before = len(self.rounds)
        self._take_up(spec)
        kept = len(self.rounds) - before
        while owed := [one for one in (self.plan.reference, spec) if self._is_owed(one)]:
            self._measure(min(owed, key=self._count), spec)
        seconds = sum(one.seconds for one in self.rounds[before:])
        what = f"{self._count(spec)} rounds of {spec.name}, {self._count(self.plan.reference)} of the reference"
        return self._done("validate", seconds, what, is_kept=kept > 0 and kept == len(self.rounds) - before)

    def _take_up(self, spec: EngineSpec) -> None:
        """Rounds that an interrupted command measured of the same."""
        for one in (self.plan.reference, spec):
            key, known = self._key(one), any(done.engine == one.name for done in self.rounds)
            found = [kept.round for kept in self._stored if kept.key == key and kept.round.engine == one.name]
            self.rounds += [] if known else [done for done in found if done.is_valid]

    def _key(self, spec: EngineSpec) -> str:
        return key_of(self.plan.cases(spec), self.plan.device, self.plan.suite.gate)

    def _count(self, spec: EngineSpec) -> int:
        return sum(one.engine == spec.name and one.is_valid for one in self.rounds)

    def _is_owed(self, spec: EngineSpec) -> bool:
        bad = sum(one.engine == spec.name and not one.is_valid for one in self.rounds)
        gave_up = bad > RETRIES or fails_for_good(self.rounds, spec.name)
        return not gave_up and self._count(spec) < self.plan.rounds

    def _measure(self, one: EngineSpec, attempt: EngineSpec) -> None:
        self._tell(f"measuring {one.name}, round {self._count(one) + 1} of {self.plan.rounds}")
        begin = time.perf_counter()
        (done,) = self._bench(attempt).measure((Ask(one.name, Side.CANDIDATE),), self.rounds)
        self._spent.append(time.perf_counter() - begin)
        self.journal.append(Kept(self._key(one), done))
        self.rounds.append(done)
        if done.fault:
            self.teller.note(f"round of {one.name} does not count: {done.fault}")

    def _bench(self, attempt: EngineSpec) -> Bench:
        both = (self.plan.reference, attempt)
        cases = tuple(case for one in both for case in self.plan.cases(one))
        engines = {(one.name, Side.CANDIDATE): self.engines[one.name] for one in both}
        return Bench(
            self.wish.folder / "work", self.plan.gate(attempt.name), cases, engines, Plant(),
            hardware=self._hardware,
        )  # fmt: skip

    # -------------------------------------------------------------- judged

    def _judged(self, spec: EngineSpec) -> Judged:
        if not self._count(spec) or not self._count(self.plan.reference):
            name = self.plan.reference.name if self._count(spec) else spec.name
            why = next((one.fault for one in reversed(self.rounds) if one.engine == name and one.fault), "")
            return Judged(Outcome.FAILED, f"no round of {name} counted: {why}", (), ())
        cases = self.plan.cases(spec)
        references = self.plan.references(spec.name)
        run = self._run(cases)
        return judge_quantised(run, cases, references, self.plan.suite.gate, 1 + self.plan.tries)

    def _run(self, cases: Sequence[Case]) -> Run:
        every = (*self.plan.cases(self.plan.reference), *cases)
        prepared = tuple(found.info(name) for name, found in self.engines.items())
        environment = environment_of(self.plan.device, prepared[0].versions, Plant(), self.plan.suite.gate.cpus)
        return Run(self.plan.suite.name, self.started, environment, infos_of(every), prepared, tuple(self.rounds))

    def _ideas(self, spec: EngineSpec, judged: Judged) -> list[Idea]:
        known = [one for one in judged.losses if one.loss is not None]
        worst = max(known, key=lambda one: (one.loss or 0.0) - one.allowed, default=None)
        options = spec.quantisation or Quantisation()
        texts = len(read_documents(options.calibration)) if options.calibration else 0
        allowed = worst.allowed if worst else self.plan.texts[0].allowed
        return ideas_for(spec, self.plan.device, worst.loss if worst else None, allowed, self.specs, texts)

    def _told(
        self, spec: EngineSpec, changed: str, steps: Sequence[StepTime], judged: Judged, ideas: Sequence[Idea]
    ) -> Attempt:
        found = self.engines.get(spec.name)
        return Attempt(
            spec.name, options_of(spec), changed, judged.outcome, judged.reason, tuple(steps),
            kept_calibration(found.folder) if found else None, found.entry.key if found else "", judged.losses,
            judged.gains, (*_more_text(judged), *(_suggested(one) for one in ideas)), judged.notes,
        )  # fmt: skip

    # -------------------------------------------------------------- told

    def _done(self, name: str, seconds: float, what: str, *, is_kept: bool = False) -> StepTime:
        kept = ", kept from before" if is_kept else ""
        self.teller.note(f"{name}: {seconds:.1f} s{kept}; {what}")
        return StepTime(name, seconds, is_kept)

    def _tell(self, text: str) -> None:
        attempts = len(self.attempts) + 1
        done = len(self.rounds) + attempts
        left = sum(max(0, self.plan.rounds - self._count(one)) for one in (self.plan.reference, *self.specs[-1:]))
        round_s = sum(self._spent) / len(self._spent) if self._spent else FIRST_GUESS_S
        self.teller.step(text, done, done + left, left * round_s)

    def _finish(self) -> Quantised:
        accepted = next((one for one in self.attempts if one.outcome is Outcome.ACCEPT), None)
        measured = [one for one in self.attempts if one.worst is not None]
        least = min(measured, key=lambda one: one.worst.loss or 0.0 if one.worst else 0.0, default=self.attempts[0])
        best, model = accepted or least, self.plan.engine.model
        size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
        versions = self.engines[self.plan.reference.name].entry.versions
        environment = environment_of(self.plan.device, versions, Plant(), self.plan.suite.gate.cpus)
        return Quantised(
            self.plan.suite.name, self.plan.engine.name, self.plan.reference.name, str(model), model_digest(model),
            size, self.plan.engine.backend, self.started, time.perf_counter() - self._begin, environment,
            tuple(self.attempts), best.name, best.outcome,
        )  # fmt: skip


def options_of(spec: EngineSpec) -> dict[str, str | int | float | bool]:
    """Precision, and what of `quantisation` is not left to the backend; a file by its name."""
    given = spec.quantisation.given if spec.quantisation else {}
    plain = {key: value.name if key == "calibration" else value for key, value in given.items()}
    return {"precision": spec.precision.value, **plain}


def _suggested(one: Idea) -> Suggestion:
    return Suggestion(one.what, one.why, {} if one.is_manual else options_of(one.spec))


def _more_text(judged: Judged) -> list[Suggestion]:
    """Where the text is too short to tell."""
    short = [one for one in judged.losses if one.more_documents]
    why = "the loss is too near to what is allowed for this text to tell"
    return [Suggestion(f"{one.more_documents} more documents in '{one.text}'", why, {}) for one in short]
