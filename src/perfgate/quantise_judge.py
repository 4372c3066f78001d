"""From rounds of an engine and its reference to a verdict on the engine: accept, adjust or failed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from perfgate.case import Case, WorkKind
from perfgate.loss import Loss, judge_loss, losses_of
from perfgate.metrics import CATALOGUE, Better
from perfgate.percent import percent
from perfgate.quality_suite import Reference
from perfgate.quantise_record import Gain, Outcome, TextLoss
from perfgate.question import broken
from perfgate.record import CaseInfo, Run, Side
from perfgate.terms import Gate
from perfgate.verdict import Verdict
from perfgate.versus import geometric_mean, ratio

_SHOWN = {
    WorkKind.BUILD: ("engine_bytes", "peak_memory_bytes", "peak_gpu_memory_bytes", "load_s"),
    WorkKind.LATENCY: ("ttft_mean", "tpot_mean", "output_tokens_per_s"),
    WorkKind.SERVING: ("ttft_mean", "tpot_mean", "output_tokens_per_s"),
    WorkKind.TASKS: ("task_accuracy",),
}
_EXACT = frozenset({"engine_bytes", "task_accuracy"})


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict with what it rests on."""

    outcome: Outcome
    reason: str
    losses: tuple[TextLoss, ...]
    gains: tuple[Gain, ...]
    notes: tuple[str, ...] = ()


def judge_quantised(run: Run, cases: Sequence[Case], references: Sequence[Reference], gate: Gate, looks: int) -> Judged:
    """looks: how many engines may be judged in all; each has its part of the probabilities of a wrong verdict."""
    parts = max(1, looks * len(references))
    losses = tuple(_text(one, gate, parts) for one in losses_of(run, None, references))
    gains = tuple(_gains(run, cases, references[0].reference_engine))
    outcome, reason = _outcome(run, cases, losses)
    gainless = outcome is Outcome.ACCEPT and gains and not any(one.is_better for one in gains)
    notes = ("it is neither smaller nor surely faster than its reference here",) if gainless else ()
    return Judged(outcome, reason, losses, gains, notes)


def _text(loss: Loss, gate: Gate, parts: int) -> TextLoss:
    told = judge_loss(loss, gate.alpha / parts, gate.beta / parts)
    text = loss.of.case.removeprefix(f"{loss.of.engine}-")
    return TextLoss(
        text, told.verdict, told.reason, told.change, told.low, told.high, loss.of.allowed, len(loss.now),
        told.more_documents,
    )  # fmt: skip


def _outcome(run: Run, cases: Sequence[Case], losses: Sequence[TextLoss]) -> tuple[Outcome, str]:
    for case in cases:
        if why := broken(run, case.id):
            return Outcome.ADJUST, f"its output is broken: {why}"
    if not losses:
        return Outcome.FAILED, "no text was scored"
    worst = max(losses, key=lambda one: _GRAVITY[one.verdict])
    match worst.verdict:
        case Verdict.OK:
            return Outcome.ACCEPT, f"it loses {_percent(worst)}; allowed {percent(worst.allowed)}"
        case Verdict.REGRESSED:
            return Outcome.ADJUST, f"it loses {_percent(worst)}; allowed {percent(worst.allowed)}"
        case Verdict.INCONCLUSIVE:
            return (
                Outcome.ADJUST,
                f"it loses {_percent(worst)}: too close to the allowed {percent(worst.allowed)} to tell",
            )
        case _:
            return Outcome.FAILED, worst.reason


_GRAVITY = dict.fromkeys(Verdict, 3) | {Verdict.OK: 0, Verdict.INCONCLUSIVE: 1, Verdict.REGRESSED: 2}


def _percent(one: TextLoss) -> str:
    if one.loss is None or one.low is None or one.high is None:
        return "an unknown share of perplexity"
    return f"{percent(one.loss)} of perplexity [{one.low * 100:.1f}, {one.high * 100:.1f}] on {one.documents} documents"


def _gains(run: Run, cases: Sequence[Case], reference: str) -> Iterator[Gain]:
    for case in cases:
        for name in _SHOWN.get(case.kind, ()):
            there, here = (
                [value for value in run.values(one, name, Side.CANDIDATE) if value > 0]
                for one in (f"{reference}-{case.work.name}", case.id)
            )
            if there and here:
                yield _gain(case.work.name, name, there, here)


def _gain(workload: str, name: str, there: Sequence[float], here: Sequence[float]) -> Gain:
    found, is_higher = ratio(there, here), CATALOGUE[name].better is Better.HIGHER
    made = Gain(workload, name, geometric_mean(there), geometric_mean(here), found.value, found.low, found.high)
    if name in _EXACT:
        made = replace(made, low=None, high=None)
    is_different = not math.isclose(found.value, 1) if name in _EXACT else found.is_different
    return replace(made, is_better=(found.value > 1) == is_higher if is_different else None)


def infos_of(cases: Sequence[Case]) -> tuple[CaseInfo, ...]:
    return tuple(CaseInfo(case.id, case.engine.name, case.kind, case.hash) for case in cases)
