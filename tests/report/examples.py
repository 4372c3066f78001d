"""A run and a comparison with every kind of verdict and outcome, and variants of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from perfgate.comparison import BaselineInfo, CaseVerdict, Comparison
from perfgate.metrics import CATALOGUE
from perfgate.record import CaseInfo, CaseRound, Environment, PreparedInfo, Round, Run, Side
from perfgate.uncounted import WHOLE_ROUND, Uncounted
from perfgate.verdict import MetricVerdict, Verdict, worst

ENVIRONMENT = Environment(
    "cpu/x86_64-avx512", "Example CPU 9000", {"python": "3.11.7", "openvino": "2026.1"}, "0b1c2d3"
)
BASELINE = BaselineInfo(
    "baselines/cpu/x86_64-avx512/smoke.json", "2026-01-14", "Example CPU 9000", {"openvino": "2026.0"}, "a9b8c7d"
)
LOST = Uncounted("int4", Side.CANDIDATE, 3, WHOLE_ROUND, None, "the process was killed by signal 9")
OUTCOMES = {
    Verdict.OK: "passed",
    Verdict.IMPROVED: "passed",
    Verdict.NO_BASELINE: "recorded",
    Verdict.INCONCLUSIVE: "warned",
    Verdict.INVALID: "failed",
    Verdict.REGRESSED: "failed",
}
HOSTILE = (
    "</title></script><script>alert(1)</script><img src=http://evil.example/x onerror='alert(1)'>\" onload=\"alert(1)"
    "|`\n# =1+1 \x1b[31m\u202e"
)


def verdict(case: str, metric: str, kind: Verdict = Verdict.OK, **numbers: Any) -> MetricVerdict:
    known = CATALOGUE[metric]
    usual: dict[str, Any] = {
        "reason": "a worsening of 5 % is ruled out; odds 1,234 to 1",
        "baseline": 0.010, "candidate": 0.0101, "change": 0.012, "low": -0.005, "high": 0.0291,
        "evidence": 0.02, "needed_evidence": 700.0, "detectable": 0.052,
        "rounds_stored": 9, "rounds_baseline": 3, "rounds_candidate": 3,
    }  # fmt: skip
    numbers = usual | numbers
    return MetricVerdict(
        case, metric, kind, numbers.pop("reason"), known.unit, known.better, known.margin, known.detect, **numbers
    )


def case(name: str, *metrics: MetricVerdict, skip: str | None = None, outcome: str = "") -> CaseVerdict:
    info = CaseInfo(name, name.rsplit("-", 1)[0], "latency", "00ff" * 4, skip)
    gravest = worst(metric.verdict for metric in metrics)
    return CaseVerdict(info, gravest, outcome or ("skipped" if skip else OUTCOMES[gravest]), metrics)


def every_verdict() -> tuple[CaseVerdict, ...]:
    return (
        case("int8-chat", _regressed("int8-chat"), verdict("int8-chat", "tpot_p50"), verdict("int8-chat", "itl_p50")),
        case("fp32-chat", verdict("fp32-chat", "ttft_p50"), verdict("fp32-chat", "tpot_p50")),
        case("fp32-batch", _improved("fp32-batch"), _inconclusive("fp32-batch")),
        case("int4-chat", _no_baseline("int4-chat"), verdict("int4-chat", "tpot_p50")),
        case("int4-batch", _invalid("int4-batch")),
        case("fp8-chat", skip="fp8 needs sm_89 or newer"),
    )


def comparison(*cases: CaseVerdict, **changes: Any) -> Comparison:
    made = Comparison(
        "smoke", "2026-02-03T04:05:06Z", 192.4, "ci", ENVIRONMENT, BASELINE, cases or every_verdict(), 0.01, 0.01, 24,
        uncounted=(LOST,),
    )  # fmt: skip
    return replace(made, **changes)


def run(made: Comparison, **changes: Any) -> Run:
    """Three rounds a side in which each metric has its verdict's value, spread a little; one round is at fault."""
    rounds = [_round(made, side, index) for side in Side for index in range(3)]
    broken = Round(LOST.engine, LOST.side, LOST.index, made.started, 4.0, (), fault=LOST.why)
    cases = tuple(one.case for one in made.cases)
    measured = Run(made.suite, made.started, made.environment, cases, (PREPARED,), (*rounds, broken))
    return replace(measured, **changes)


PREPARED = PreparedInfo("int8", "f00d", False, {"convert": 3.2, "compile": 71.0}, 34_567_890, {"openvino": "2026.1"})


def hostile(text: str = HOSTILE) -> tuple[Run, Comparison]:
    """The same with every text that comes from outside replaced."""
    environment = Environment(text, text, {text: text}, text, {text: 1.25})
    cases = tuple(
        CaseVerdict(
            replace(one.case, id=text, engine=text, kind=text, skip=text if one.case.skip else None),
            one.verdict,
            one.outcome,
            tuple(replace(metric, case=text, reason=text) for metric in one.metrics),
        )
        for one in every_verdict()
    )
    baseline = BaselineInfo(text, text, text, {text: text}, text)
    made = comparison(
        *cases, suite=text, started=text, policy=text, environment=environment, baseline=baseline, notes=(text,),
        uncounted=(replace(LOST, engine=text, case=text, why=text),),
    )  # fmt: skip
    prepared = PreparedInfo(text, text, True, {text: 1.0}, 10, {text: text})
    broken = Round(text, Side.BASELINE, 0, text, 1.0, (CaseRound(text, {}, faults=(text,)),), fault=text)
    return run(made, prepared=(prepared,), rounds=(*run(made).rounds, broken)), made


def numberless(value: float | None) -> tuple[Run, Comparison]:
    """The same with one value in place of every number that may be unknown."""
    names = ("baseline", "candidate", "change", "low", "high", "evidence", "needed_evidence", "detectable")
    unknown: dict[str, Any] = dict.fromkeys(names, value)
    cases = tuple(
        replace(one, metrics=tuple(replace(metric, **unknown) for metric in one.metrics)) for one in every_verdict()
    )
    made = comparison(*cases, seconds=math.nan if value is None else value)
    return run(made), made


def _round(made: Comparison, side: Side, index: int) -> Round:
    measured = tuple(CaseRound(one.case.id, _values(one, side, index)) for one in made.cases if one.metrics)
    return Round("int8", side, index, made.started, 8.0, measured)


def _values(one: CaseVerdict, side: Side, index: int) -> dict[str, float]:
    centres = {metric.metric: metric.candidate if side is Side.CANDIDATE else metric.baseline for metric in one.metrics}
    return {name: centre * (1 + 0.01 * (index - 1)) for name, centre in centres.items() if centre is not None}


def _regressed(name: str) -> MetricVerdict:
    return verdict(
        name, "ttft_p50", Verdict.REGRESSED, reason="worse than the 2.0 % margin against 3 fresh baseline rounds",
        candidate=0.01248, change=0.248, low=0.192, high=0.309, evidence=51_234.5,
    )  # fmt: skip


def _improved(name: str) -> MetricVerdict:
    return verdict(
        name, "output_tokens_per_s", Verdict.IMPROVED, reason="better than before against 3 fresh baseline rounds",
        baseline=2450.0, candidate=2680.5, change=-0.086, low=-0.101, high=-0.071,
    )  # fmt: skip


def _inconclusive(name: str) -> MetricVerdict:
    return verdict(
        name, "itl_p50", Verdict.INCONCLUSIVE, reason="too noisy to rule a worsening of 5 % in or out",
        change=0.031, low=-0.04, high=0.10, detectable=0.093, more_rounds=5,
    )  # fmt: skip


def _no_baseline(name: str) -> MetricVerdict:
    return verdict(
        name, "ttft_p50", Verdict.NO_BASELINE, reason="no baseline for this case on this device", baseline=None,
        change=None, low=None, high=None, evidence=None, needed_evidence=None, detectable=None, rounds_stored=0,
    )  # fmt: skip


def _invalid(name: str) -> MetricVerdict:
    return verdict(
        name, "ttft_p99", Verdict.INVALID, reason="24 samples a round, ttft_p99 needs 662: raise `requests`",
        candidate=None, change=None, low=None, high=None, evidence=None, detectable=None, rounds_candidate=0,
    )  # fmt: skip
