"""The judged run: what reports are made from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from statistics import median

from perfgate.baselines import Baseline, BaselineCase
from perfgate.boundness import Bound, Waiting, waits_for
from perfgate.fault_kinds import ADVICE, ProcessFault
from perfgate.judge import judge
from perfgate.metrics import LOSS, Metric
from perfgate.origin import repeated_file, told
from perfgate.quality import QualityLine, failed_quality, quality_lines, unchecked, without_bought
from perfgate.question import Known
from perfgate.record import CaseInfo, Environment, Round, Run, Side
from perfgate.suite import Suite
from perfgate.terms import Action, Policy, Reaction, Watch
from perfgate.uncounted import Uncounted, uncounted
from perfgate.verdict import MetricVerdict, Verdict, worst
from perfgate.waivers import Waiver, apply_waivers, today_utc
from perfgate.watch import Signal, SignalKind

COMPARISON_SCHEMA = 1

_NOTHING = "nothing was judged: gate.metrics names none of this case's kind, or no round gave one of them"


@dataclass(frozen=True, slots=True)
class CaseVerdict:
    """A case, its metrics' verdicts, and what the suite's policy makes of the worst of them.

    waits: what its decode steps wait for, where the engine told its device's share of them.
    faults: of which kinds rounds of the case failed, also of those that a later round made good, and how often.
    """

    case: CaseInfo
    verdict: Verdict
    outcome: str  # "passed", "waived", "failed", "warned", "recorded" or "skipped"
    metrics: tuple[MetricVerdict, ...]
    waits: Waiting | None = None
    faults: Mapping[ProcessFault, int] = field(default_factory=dict)

    @property
    def host_bound(self) -> str:
        """'waits for the host: the GPU worked 35 % of the time ...'; empty where it does not, or nothing tells."""
        if self.waits is None or self.waits.bound is not Bound.HOST:
            return ""
        return f"waits for the host: {self.waits.reason}"

    @property
    def lines(self) -> list[str]:
        """What is said of metrics that are not ok, each sentence once, and what to do where its rounds failed."""
        said: dict[str, list[str]] = {}
        for one in self.metrics:
            if one.verdict not in (Verdict.OK, Verdict.IMPROVED):
                said.setdefault(f"{one.verdict}, {one.sentence}", []).append(one.metric)
        wrong = [f"  {', '.join(metrics)}: {sentence}" for sentence, metrics in said.items()]
        if not wrong:
            return [f"  {_NOTHING}"]
        return [*wrong, *([f"  {self.host_bound}"] if self.host_bound else []), *self.advice]

    @property
    def advice(self) -> list[str]:
        """What to do next about what was not measured, by kind of fault."""
        is_lost = any(one.verdict is Verdict.INVALID for one in self.metrics)
        return [f"  next ({kind}): {ADVICE[kind].next_step}" for kind in self.faults if is_lost]

    @property
    def headline(self) -> str:
        """The gravest metrics and the first one's reason, in one line."""
        gravest = [one for one in self.metrics if one.verdict is self.verdict]
        if not gravest:
            return _NOTHING
        return f"{', '.join(one.metric for one in gravest)}: {gravest[0].reason}"

    @property
    def waived(self) -> str:
        """The metrics that are waived, until when and why, in one line."""
        whys = dict.fromkeys(f"{one.verdict}, {one.waived}" for one in self.metrics if one.waived)
        names = {why: [one.metric for one in self.metrics if f"{one.verdict}, {one.waived}" == why] for why in whys}
        return "; ".join(f"{', '.join(metrics)}: {why}" for why, metrics in names.items())


@dataclass(frozen=True, slots=True)
class BaselineInfo:
    """Which baseline was compared with."""

    path: str
    accepted: str
    product: str
    versions: Mapping[str, str]
    commit: str
    settings: Mapping[str, str] = field(default_factory=dict)  # how the GPUs were set


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every verdict of a gate, with what it was compared with.

    signals: what shows only over time or over the whole suite. watch: which of them fail the gate.
    quality: every text that was scored, beside its reference. stopped: why measuring ended early; empty where not.
    out_of_time_s: the budget that ended measuring before all was decided, in s; None where none did.
    uncounted: rounds, and cases in them, that are among `rounds` and whose figures were not judged.
    """

    suite: str
    started: str
    seconds: float
    policy: str
    environment: Environment
    baseline: BaselineInfo | None
    cases: tuple[CaseVerdict, ...]
    alpha: float
    beta: float
    rounds: int
    notes: tuple[str, ...] = ()
    schema: int = COMPARISON_SCHEMA
    signals: tuple[Signal, ...] = ()
    watch: Watch = field(default_factory=Watch)
    quality: tuple[QualityLine, ...] = ()
    stopped: str = ""
    uncounted: tuple[Uncounted, ...] = ()
    out_of_time_s: float | None = None

    @property
    def metrics(self) -> tuple[MetricVerdict, ...]:
        return tuple(metric for case in self.cases for metric in case.metrics)

    @property
    def verdict(self) -> Verdict:
        return worst(case.verdict for case in self.cases if case.outcome != "skipped")

    @property
    def failed_signals(self) -> tuple[Signal, ...]:
        """Confirmed signals of a worsening that fail the gate, as the suite says; steps never do."""
        reactions = {SignalKind.CREEP: self.watch.creep, SignalKind.SUITE_SHIFT: self.watch.suite_shift}
        failing = {kind for kind, reaction in reactions.items() if reaction is Reaction.FAIL}
        return tuple(one for one in self.signals if one.kind in failing and one.is_confirmed and one.size > 0)

    @property
    def is_red(self) -> bool:
        """Whether a case failed, a signal that belongs to no case, measuring was stopped, or CI judged nothing."""
        return bool(self.count().get("failed") or self.failed_signals or self.stopped or self.judged_nothing)

    @property
    def judged_nothing(self) -> str | None:
        """Why this gate of CI could not have failed: every case was skipped or waived; None where it could."""
        counts = self.count()
        if self.policy != "ci" or counts.get("passed") or counts.get("failed"):
            return None
        found = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items())) or "no case"
        return f"nothing was judged that could have failed ({found}); under the policy ci that is red"

    def count(self) -> Mapping[str, int]:
        """Cases per outcome."""
        return Counter(case.outcome for case in self.cases)

    def ended_early(self, why: str) -> Comparison:
        """The same of a gate that was stopped: it is red, and its rounds become nobody's baseline."""
        cases = (replace(one, outcome="warned") if one.outcome == "recorded" else one for one in self.cases)
        return replace(self, cases=tuple(cases), notes=(why, *self.notes), stopped=why)


def compare(
    run: Run,
    suite: Suite,
    stored: tuple[Path, Baseline] | None,
    policy: str,
    *,
    seconds: float = 0.0,
    waivers: Sequence[Waiver] = (),
    today: date | None = None,
    known: Known | None = None,
    signals: Sequence[Signal] = (),
) -> Comparison:
    """Judge a run against a baseline under one of the suite's policies ("ci" or "local").

    waivers: what is borne; they change outcomes, never verdicts. today: the day they are read on, in UTC.
    known: further sessions of the baseline's engine, from history. signals: what the watch saw.
    """
    found = judge(run, stored[1] if stored else None, suite.gate, known)
    asked = {(case.id, metric.name) for case in suite.cases for metric in suite.gate.metrics if metric.is_of(case.kind)}
    asked |= {(one.case, LOSS) for one in suite.gate.references}
    borne, notes = apply_waivers(found, waivers, asked, run.environment.device, today or today_utc())
    verdicts, bought = without_bought(borne, run.cases)
    faults = _faults(run.rounds)
    unkept = failed_quality(verdicts, run.cases)
    cases = tuple(
        replace(
            _case_verdict(
                case, verdicts, suite.policy(policy), keeps=not run.environment.inject and case.engine not in unkept
            ),
            waits=_waits(run, case),
            faults=faults[case.engine, ""] + faults[case.engine, case.id],
        )
        for case in run.cases
    )
    return Comparison(
        suite.name, run.started, seconds, policy, run.environment, baseline_info(stored), cases,
        suite.gate.alpha, suite.gate.beta, len(run.rounds),
        (*_imported(run, stored, suite.gate.metrics), *notes, *bought, *unchecked(run)),
        signals=tuple(signals), watch=suite.gate.watch, quality=quality_lines(run, suite.gate.references, verdicts),
        uncounted=tuple(uncounted(run)),
    )  # fmt: skip


def _imported(run: Run, stored: tuple[Path, Baseline] | None, metrics: Sequence[Metric]) -> tuple[str, ...]:
    """What perfgate did not measure itself, of either side; what of it is compared with itself, or with nothing."""
    cases = stored[1].cases if stored else {}
    both = [(case, cases[case.id]) for case in run.cases if case.id in cases]
    return (
        *told("the baseline", [before.origin for _, before in both]),
        *told("this run", [case.origin for case in run.cases]),
        *(
            f"{name} is in the baseline of {case.id} as well: it is compared with itself"
            for case, before in both
            if (name := repeated_file(before.origin, case.origin))
        ),
        *(
            f"{case.id}: {', '.join(lost)} of the baseline not in this run (too few samples, or not told): not compared"
            for case, before in both
            if case.origin and (lost := _lost(run, case, before, metrics))
        ),
    )


def _lost(run: Run, case: CaseInfo, before: BaselineCase, metrics: Sequence[Metric]) -> list[str]:
    """Metrics of a baseline of which no verdict tells that the run lacks them."""
    quiet = [one.name for one in metrics if one.is_optional and one.name in before.metrics]
    return [name for name in quiet if not run.values(case.id, name, Side.CANDIDATE)]


def baseline_info(stored: tuple[Path, Baseline] | None) -> BaselineInfo | None:
    """What a comparison says of its baseline."""
    if stored is None:
        return None
    made = stored[1].provenance
    return BaselineInfo(str(stored[0]), made.accepted, made.product, made.versions, made.commit, made.settings)


def _waits(run: Run, case: CaseInfo) -> Waiting | None:
    """From the rounds' median share of a decode step in which the device worked."""
    shares = run.values(case.id, "device_busy_share", Side.CANDIDATE)
    return waits_for(is_gpu=True, busy=median(shares), rounds=None) if shares else None


def _case_verdict(
    case: CaseInfo, verdicts: Sequence[MetricVerdict], policy: Policy, *, keeps: bool
) -> CaseVerdict:  # fmt: skip
    """keeps: whether rounds without a baseline may become one; those of a planted or a worse engine never do."""
    if not keeps and policy.no_baseline is Action.RECORD:
        policy = replace(policy, no_baseline=Action.WARN)
    mine = tuple(one for one in verdicts if one.case == case.id)
    if case.skip is not None and not mine:
        return CaseVerdict(case, Verdict.INVALID, "skipped", mine)
    if case.skip is not None and not all(one.waived for one in mine):
        return CaseVerdict(case, Verdict.INVALID, _after(policy.invalid), mine)
    return CaseVerdict(case, worst(one.verdict for one in mine), outcome(mine, policy), mine)


def _faults(rounds: Iterable[Round]) -> Mapping[tuple[str, str], Counter[ProcessFault]]:
    """How often rounds of an engine failed, by kind, of either side: as a whole (case ''), or in one case."""
    out: defaultdict[tuple[str, str], Counter[ProcessFault]] = defaultdict(Counter)
    for one in rounds:
        for case, kind in [("", one.fault_kind), *((mine.case, mine.fault_kind) for mine in one.cases)]:
            if kind is not None:
                out[one.engine, case][kind] += 1
    return out


def outcome(metrics: Sequence[MetricVerdict], policy: Policy) -> str:
    """What a case comes to under a policy. A case of which nothing was measured always fails."""
    left = [one for one in metrics if not one.waived]
    if len(left) < len(metrics):
        return outcome(left, policy).replace("passed", "waived") if left else "waived"
    match worst(one.verdict for one in metrics):
        case Verdict.OK | Verdict.IMPROVED:
            return "passed"
        case Verdict.REGRESSED | Verdict.BROKEN:
            return "failed"
        case Verdict.INVALID:
            measured = any(one.verdict is not Verdict.INVALID for one in metrics)
            return _after(policy.invalid) if measured else "failed"
        case Verdict.INCONCLUSIVE:
            return _after(policy.inconclusive)
        case Verdict.NO_BASELINE:
            return _after(policy.no_baseline)


def _after(action: Action) -> str:
    return {Action.FAIL: "failed", Action.WARN: "warned", Action.RECORD: "recorded"}[action]
