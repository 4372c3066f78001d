"""The self-test at work: real gates of an unchanged engine and of planted ones, each kept when it is finished."""

from __future__ import annotations

import os
import platform
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import perfgate
from perfgate.baselines import Baseline, BaselineCase, baseline_path, find_baseline, save_baseline
from perfgate.case import Case, short_hash
from perfgate.comparison import Comparison
from perfgate.device import Device, find_device
from perfgate.engines import backend
from perfgate.engines.cache import key_parts
from perfgate.engines.carrying import why_skipped
from perfgate.errors import EngineError, UsageError
from perfgate.gate import Teller, close_gate, run_gate
from perfgate.journal import Header, Ledger
from perfgate.metrics import Kind
from perfgate.percent import percent
from perfgate.plan import Options, make_plan
from perfgate.record import Run, encode, encode_pretty, now, write_atomic
from perfgate.report.figures import count, duration
from perfgate.selftest import UNCHANGED, Finding, Outcome, Planted, left_to_do, tally
from perfgate.selftest_report import Report, render_markdown, sentences
from perfgate.stopping import Stop, Stopped
from perfgate.suite import Suite
from perfgate.terms import Action, Gate, Policy
from perfgate.verdict import MetricVerdict, Verdict

_POLICY = "selftest"
_ONCE = "build_s"  # an engine is built once, not once a gate


@dataclass(frozen=True, slots=True)
class Wish:
    """What a self-test is asked. gates: of each kind. state: the user's; the self-test works in a folder below."""

    suite: Suite
    cases: tuple[Case, ...]
    planted: tuple[Planted, ...]
    gates: int
    baselines: Path
    state: Path
    out: Path
    rounds: int | None = None
    budget_s: float | None = None
    is_fresh: bool = False

    @property
    def own_state(self) -> Path:
        return self.state / "selftest"


def run_selftest(wish: Wish, teller: Teller, stop: Stop | None = None) -> Report:
    """Run every gate that is not done yet, and report on all of them.

    `selftest.jsonl` gets every gate as it ends; `selftest.json` and `selftest.md` are written after each.

    Raises:
        UsageError: no selected case can run here, or a baseline or checkpoint cannot be read.
        EngineError: a baseline was wanted and could not be measured.
        Stopped: a signal came; the gate that it ended is gone on with by the same command.
    """
    with _own_history():
        return _Selftest(wish, teller, stop or Stop()).run()


def sensible(planted: Sequence[Planted], cases: Sequence[Case], gate: Gate) -> tuple[Planted, ...]:
    """Those that some gated metric of the cases could show at all."""
    metrics = [metric.name for metric in gate.metrics if any(metric.is_of(case.kind) for case in cases)]
    return tuple(one for one in planted if any(map(one.moves, metrics)))


class _Selftest:
    """A self-test: its folder, its baseline and the gates that are done."""

    def __init__(self, wish: Wish, teller: Teller, stop: Stop) -> None:
        self.wish, self.teller, self.stop = wish, teller, stop
        self.device = find_device()
        self.cases = _supported(wish.cases, self.device)
        kept = tuple(metric for metric in wish.suite.gate.metrics if metric.name != _ONCE)
        self.suite = replace(wish.suite, cases=self.cases, gate=replace(wish.suite.gate, metrics=kept))
        self.baselines = wish.own_state / "baselines"
        self.ledger = Ledger(wish.out / "selftest.jsonl", Outcome)
        self.started = now()
        self.done: list[Outcome] = []

    def run(self) -> Report:
        self._make_folder()
        self._have_baseline()
        header = self._header()
        self._set_aside(header)
        header, self.done = self.ledger.resume(header)
        self.started = header.started
        todo = left_to_do(self.wish.planted, self.wish.gates, self.done)
        if self.done:
            more = f"{count(len(todo), 'gate')} left" if todo else "nothing is left to measure"
            self.teller.note(f"self-test of {header.started}: {count(len(self.done), 'gate')} already done, {more}")
        for number, planted in enumerate(todo):
            self._carry_out(planted, number, len(todo))
        return self._report()

    # ------------------------------------------------------------- before

    def _make_folder(self) -> None:
        """A state of its own, whose engines are the user's."""
        own, engines = self.wish.own_state, self.wish.state / "engines"
        if self.wish.is_fresh and own.exists():
            shutil.rmtree(own)
        engines.mkdir(parents=True, exist_ok=True)
        own.mkdir(exist_ok=True)
        if not (own / "engines").exists():
            (own / "engines").symlink_to(Path("..") / "engines", target_is_directory=True)

    def _have_baseline(self) -> None:
        """Every case's baseline, of the engines as they are now: kept, taken over or recorded."""
        own = self._stored([self.baselines])
        if own and all(_is_of(own.cases.get(case.id), case, self.device) for case in self.cases):
            return
        theirs = self._stored([self.wish.baselines, self.wish.state / "baselines"])
        taken = {case.id: stored for case in self.cases if (stored := self._usable(theirs, case))}
        path = baseline_path(self.baselines, self.device.key, self.suite.name)
        path.unlink(missing_ok=True)
        if theirs and taken:
            save_baseline(path, replace(theirs, cases=taken))
        lacking = {case.engine.name for case in self.cases if case.id not in taken}
        missing = [case for case in self.cases if case.engine.name in lacking]  # memory is of all of an engine's loads
        if missing:
            self._record(missing)

    def _stored(self, roots: Sequence[Path]) -> Baseline | None:
        found = find_baseline(roots, self.device.key, self.suite.name)
        return found[1] if found else None

    def _usable(self, baseline: Baseline | None, case: Case) -> BaselineCase | None:
        stored = baseline.cases.get(case.id) if baseline else None
        return stored if stored and _is_of(stored, case, self.device) and _has_all(stored, case, self.suite) else None

    def _record(self, missing: Sequence[Case]) -> None:
        ids = ", ".join(case.id for case in missing)
        self.teller.note(f"no baseline of these engines on {self.device.key} for {ids}: one is recorded first")
        run, comparison = self._gate(missing, UNCHANGED, Action.RECORD, self.teller, rounds=None)
        stored = self._stored([self.baselines])
        for case in missing:
            if stored is None or not _is_of(stored.cases.get(case.id), case, self.device):
                why = next((one.reason for one in comparison.metrics if one.case == case.id), "nothing was measured")
                raise EngineError(f"the self-test has no baseline of {case.id}: {why}; mend that, then start it again")
        valid = Counter(one.engine for one in run.rounds if one.is_valid)
        rounds = ", ".join(f"{engine} {number}" for engine, number in valid.items())
        self.teller.note(f"baseline recorded; valid rounds: {rounds}")

    # ------------------------------------------------------------- a gate

    def _carry_out(self, planted: Planted, number: int, total: int) -> None:
        name = f"gate {number + 1} of {total}, {planted.label}"
        mean_s = sum(one.seconds for one in self.done) / len(self.done) if self.done else None
        teller = _Within(self.teller, name, (total - number - 1) * mean_s if mean_s else None)
        _, comparison = self._gate(self.cases, planted, Action.WARN, teller, rounds=self.wish.rounds)
        findings = tuple(map(_finding, comparison.metrics))
        outcome = Outcome(planted, comparison.started, comparison.rounds, comparison.seconds, findings)
        self.ledger.append(outcome)
        self.done.append(outcome)
        self._report()
        self.teller.note(f"{name}: {_told(outcome)}")

    def _gate(
        self, cases: Sequence[Case], planted: Planted, missing: Action, teller: Teller, *, rounds: int | None
    ) -> tuple[Run, Comparison]:
        """A real gate in the self-test's own state; waivers do not count, for verdicts are asked."""
        suite = replace(self.suite, policies=((_POLICY, Policy(Action.WARN, Action.WARN, missing)),))
        options = Options(
            self.baselines, self.wish.own_state, _POLICY, rounds=rounds, budget_s=self.wish.budget_s,
            plant=planted.plant,
        )  # fmt: skip
        plan = make_plan(suite, cases, options)
        with ExitStack() as held:
            run, comparison = run_gate(suite, cases, options, plan, teller, held, stop=self.stop)
            if comparison.stopped:
                raise Stopped
            close_gate(comparison, plan, options)
        return run, comparison

    # ------------------------------------------------------------- the file

    def _header(self) -> Header:
        baseline = baseline_path(self.baselines, self.device.key, self.suite.name)
        fingerprint = {
            "cases": {case.id: case.hash for case in self.cases},
            "engines": {case.engine.name: _key(case, self.device) for case in self.cases},
            "gate": encode(self.suite.gate).decode(),
            "options": [self.wish.rounds, self.wish.budget_s],
            "baseline": baseline.read_text(),
            "machine": [self.device.key, platform.node(), platform.python_version(), perfgate.__version__],
        }
        return Header(self.suite.name, self.started, short_hash(fingerprint))

    def _set_aside(self, header: Header) -> None:
        """Keep the gates of another self-test beside the new file."""
        found = self.ledger.read()
        if found and (self.wish.is_fresh or replace(found[0], started=header.started) != header):
            stamp = "".join(char for char in found[0].started[:19] if char.isalnum())
            kept = self.ledger.path.with_name(f"selftest-{stamp}.jsonl")
            self.ledger.path.replace(kept)
            why = "--fresh" if self.wish.is_fresh else "its suite, engines, baseline or options are others"
            self.teller.note(f"the self-test of {found[0].started} is not gone on with ({why}): kept as {kept}")

    def _report(self) -> Report:
        tallies = tally(self.wish.planted, self.done)
        ids = tuple(case.id for case in self.cases)
        report = Report(
            self.suite.name, self.device.key, self.device.product, self.started, ids, self.wish.gates, tallies,
            tuple(sentences(tallies)),
        )  # fmt: skip
        write_atomic(self.wish.out / "selftest.json", encode_pretty(report))
        write_atomic(self.wish.out / "selftest.md", render_markdown(report).encode())
        return report


@dataclass(frozen=True, slots=True)
class _Within:
    """A gate's progress as a part of the self-test's; `after_s` is the estimate for the gates that follow."""

    teller: Teller
    name: str
    after_s: float | None

    def step(self, text: str, done: int, total: int, left_s: float) -> None:
        self.teller.step(f"{self.name}: {text}", done, total, left_s + (self.after_s or 0.0))

    def note(self, text: str) -> None:
        self.teller.note(f"{self.name}: {text}")


def _supported(cases: Sequence[Case], device: Device) -> tuple[Case, ...]:
    reasons = {case: why_skipped(case, device) for case in cases}
    able = tuple(case for case, reason in reasons.items() if reason is None)
    if not able:
        why = next(iter(reasons.values()), "no case is selected")
        raise UsageError(f"no selected case can run on {device.key}: {why}; `perfgate plan` lists all")
    return able


def _key(case: Case, device: Device) -> str:
    return short_hash(key_parts(case.engine, device, backend(case.engine.backend)))


def _is_of(stored: BaselineCase | None, case: Case, device: Device) -> bool:
    """Whether a baseline is of this case and of the engine as it is now: A/A means that both are one."""
    return stored is not None and stored.hash == case.hash and stored.engine_key == _key(case, device)


def _has_all(stored: BaselineCase, case: Case, suite: Suite) -> bool:
    mine = [metric for metric in suite.gate.metrics if metric.is_of(case.kind) and not metric.is_optional]
    has_texts = bool(stored.documents) or all(metric.kind is not Kind.PAIRED for metric in mine)
    return has_texts and all(metric.name in stored.metrics for metric in mine)


def _finding(one: MetricVerdict) -> Finding:
    return Finding(
        one.case, one.metric, one.verdict, one.margin, one.detect, one.change, one.evidence, one.more_rounds
    )  # fmt: skip


def _told(done: Outcome) -> str:
    effort = f"{count(done.rounds, 'round')}, {duration(done.seconds)}"
    red = [
        f"{one.case} {one.metric} {percent(one.change or 0.0, sign='+')}"
        for one in done.findings
        if one.verdict is Verdict.REGRESSED
    ]
    said = f"red ({', '.join(red)})" if red else f"not red, {done.answer}"
    return f"{said}; {effort}"


@contextmanager
def _own_history() -> Iterator[None]:
    """Keep `PERFGATE_HISTORY`, the user's own, out of the gates."""
    kept = os.environ.pop("PERFGATE_HISTORY", None)
    try:
        yield
    finally:
        if kept is not None:
            os.environ["PERFGATE_HISTORY"] = kept
