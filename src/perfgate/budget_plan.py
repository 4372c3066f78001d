"""A plan under a budget: what cases cost and show here, as earlier rounds tell, and the choice in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from perfgate.calibration import MetricNoise, load_noise
from perfgate.case import WorkKind
from perfgate.errors import RecordError
from perfgate.loads import LOADS
from perfgate.metrics import PROCESS_WIDE, Kind
from perfgate.needs import Noisy, detectable
from perfgate.plan import Plan
from perfgate.record import CaseInfo, Run, Side
from perfgate.report.figures import count, detects, duration
from perfgate.runs import known_runs
from perfgate.suite import Suite
from perfgate.terms import Gate, Pairing
from perfgate.worth import Candidate, Choice, Chosen, Cost, choose

_OWN_SHARE = 0.5  # of a round that was never seen: loading and warming up


def choose_cases(suite: Suite, plan: Plan, state: Path, budget_s: float) -> Choice:
    """The cases of a plan that are worth the budget, of those that can be measured here."""
    usable = [case for case in plan.cases if case.skip is None]
    seen, needs = _seen(known_runs(state, suite.name, plan.device.key)), _needs(suite, usable)
    blunt = _blunt(suite, _noise(state, plan.device.key, suite.name), len(plan.engines))
    costs = [_times(_cost(case, usable, seen, plan), _rounds(case, plan)) for case in usable]
    return choose(
        [
            Candidate(case, cost, needs.get(case.id, ()), blunt.get(case.id, ""))
            for case, cost in zip(usable, costs, strict=True)
        ],
        budget_s,
    )


def _needs(suite: Suite, usable: Sequence[CaseInfo]) -> Mapping[str, tuple[str, ...]]:
    """A text's reference; and where memory is gated, of a build all loads of its process."""
    needs = {one.case: (one.reference_case,) for one in suite.gate.references}
    if not any(metric.name in PROCESS_WIDE for metric in suite.gate.metrics):
        return needs
    builds = [case for case in usable if case.kind == WorkKind.BUILD]
    return needs | {
        build.id: tuple(one.id for one in usable if one.engine == build.engine and one.kind in LOADS)
        for build in builds
    }


def _rounds(case: CaseInfo, plan: Plan) -> int:
    """Of both sides: the baseline's engine is measured beside where the case has a baseline."""
    has_baseline = plan.baseline is not None and case.id in plan.baseline[1].cases
    return plan.rounds * (2 if has_baseline else 1)


@dataclass(frozen=True, slots=True)
class _Seen:
    """Median seconds of one round here: of each case's timed regions, and of each engine's time beside them."""

    cases: Mapping[str, float] = field(default_factory=dict)
    engines: Mapping[str, float] = field(default_factory=dict)


def _seen(runs: Sequence[Run]) -> _Seen:
    """What rounds told; the newest run of each counts."""
    cases: dict[str, float] = {}
    engines: dict[str, float] = {}
    for run in runs:
        valid = [one for one in run.rounds if one.is_valid and one.side is Side.CANDIDATE]
        timed = [{case.case: sum(part.seconds for part in case.regions) for case in one.cases} for one in valid]
        for engine in {one.engine for one in valid}:
            mine = [(one, spent) for one, spent in zip(valid, timed, strict=True) if one.engine == engine]
            engines[engine] = median(max(0.0, one.seconds - sum(spent.values())) for one, spent in mine)
        for case in {case for spent in timed for case in spent}:
            cases[case] = median(spent[case] for spent in timed if case in spent)
    return _Seen(cases, engines)


def _cost(case: CaseInfo, usable: Sequence[CaseInfo], seen: _Seen, plan: Plan) -> Cost:
    """Of one round: as seen, else as the like of it took here, else its share of the plan's usual round."""
    alike = [seen.cases[one.id] for one in usable if one.kind == case.kind and one.id in seen.cases]
    beside = sum(one.engine == case.engine for one in usable)
    usual_s = median(alike) if alike else (1 - _OWN_SHARE) * plan.round_s / beside
    engine_s = median(seen.engines.values()) if seen.engines else _OWN_SHARE * plan.round_s
    return Cost(seen.engines.get(case.engine, engine_s), seen.cases.get(case.id, usual_s))


def _times(cost: Cost, rounds: int) -> Cost:
    return Cost(cost.engine_s * rounds, cost.case_s * rounds)


def _noise(state: Path, device: str, suite: str) -> Mapping[tuple[str, str], MetricNoise]:
    try:
        return load_noise(state, device, suite)
    except RecordError:
        return {}


def _blunt(suite: Suite, noise: Mapping[tuple[str, str], MetricNoise], engines: int) -> dict[str, str]:
    """Cases whose every calibrated metric shows, within the most rounds, only more than the suite asks for."""
    gate, hashes = suite.gate, {case.id: case.hash for case in suite.cases}
    mine = {
        key: (one, next(metric.detect for metric in gate.metrics if metric.name == key[1]))
        for key, one in noise.items()
        if hashes.get(key[0]) == one.case_hash
        and any(metric.name == key[1] and metric.kind is Kind.NOISY for metric in gate.metrics)
    }
    if not mine:
        return {}
    tests = max(1, engines * len(gate.metrics))
    sizes = detectable([_noisy(one, gate) for one, _ in mine.values()], gate.most_rounds, gate, tests)
    told: dict[str, list[tuple[str, float | None, float]]] = {}
    for (case, metric), (_, asked), size in zip(mine, mine.values(), sizes, strict=True):
        told.setdefault(case, []).append((metric, size, asked))
    return {case: _words(found) for case, found in told.items() if all(s is None or s > asked for _, s, asked in found)}


def _noisy(one: MetricNoise, gate: Gate) -> Noisy:
    is_paired = gate.pairing is Pairing.INTERLEAVED
    return Noisy(one.pair_sd, one.pair_df) if is_paired else Noisy(one.round_sd, one.round_df)


def _words(found: Sequence[tuple[str, float | None, float]]) -> str:
    metric, size, asked = min(found, key=lambda one: one[1] or float("inf"))
    shows = "nothing" if size is None else f"{detects(size)} at best"
    return f"noise: {metric} shows {shows} here, {detects(asked)} is asked for"


# ------------------------------------------------------------------ in words


def choice_lines(choice: Choice, budget_s: float, plan: Plan) -> Iterator[str]:
    """What to measure within the budget, what is left out and why, and how to ask for it."""
    basis = "a guess: nothing was measured here yet" if plan.is_guess else "from rounds seen here"
    taken = count(len(choice.chosen), "case")
    yield f"within {duration(budget_s)}: {taken}, about {duration(choice.seconds)} ({basis})"
    yield from _table(choice.chosen)
    if choice.left_out:
        yield f"left out: {count(len(choice.left_out), 'case')}"
        yield from _table(choice.left_out)
    skipped = [case.id for case in plan.cases if case.skip is not None]
    if skipped:
        yield f"not measurable here: {count(len(skipped), 'case')}"
    if choice.chosen and choice.left_out:
        yield f"pytest -k '{expression(choice)}'"
    if not choice.chosen:
        yield "no case fits: ask for more time, or lower requests and rounds in the suite"


def _table(cases: Sequence[Chosen]) -> Iterator[str]:
    width = max((len(one.case.id) for one in cases), default=0)
    yield from (f"  {one.case.id:<{width}}  {duration(one.seconds):>12}  {one.why}" for one in cases)


def expression(choice: Choice) -> str:
    """For `pytest -k`: ids in their brackets, so that 'fp32-b1' does not take 'fp32-b16' with it."""
    return " or ".join(f"[{one.case.id}]" for one in choice.chosen)


def cases_section(choice: Choice, suite: Suite) -> str:
    """The same as the `cases:` section of a suite."""
    works = {case.id: (case.engine.name, case.work.name) for case in suite.cases}
    engines: dict[str, list[str]] = {}
    for one in choice.chosen:
        engine, work = works[one.case.id]
        engines.setdefault(engine, []).append(work)
    lines = [f"  - {{engines: [{engine}], workloads: [{', '.join(names)}]}}" for engine, names in engines.items()]
    return "\n".join(["cases:", *lines])
