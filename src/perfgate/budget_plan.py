"""A plan under a budget: what cases cost and show here, as earlier rounds tell, and the choice in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from perfgate.calibration import MetricNoise, load_noise
from perfgate.errors import RecordError
from perfgate.metrics import Kind
from perfgate.needs import Noisy, detectable
from perfgate.plan import Plan
from perfgate.record import Run, Side
from perfgate.report.figures import count, detects, duration
from perfgate.runs import known_runs
from perfgate.suite import Gate, Pairing, Suite
from perfgate.worth import Candidate, Choice, Chosen, Cost, choose

_OWN_SHARE = 0.5  # of a round that was never seen: loading and warming up


def choose_cases(suite: Suite, plan: Plan, state: Path, budget_s: float) -> Choice:
    """The cases of a plan that are worth the budget, of those that can be measured here."""
    runs = known_runs(state, suite.name, plan.device.key)
    seen, needs = _seen(runs), {one.case: one.reference_case for one in suite.gate.references}
    blunt = _blunt(suite, _noise(state, plan.device.key, suite.name), len(plan.engines))
    usable = [case for case in plan.cases if case.skip is None]
    per_engine = {engine: sum(case.engine == engine for case in usable) for engine in plan.engines}
    times = plan.rounds * (2 if plan.baseline else 1)  # the baseline's engine is measured beside
    return choose(
        [
            Candidate(case, _times(_cost(seen, case.id, case.engine, plan, per_engine), times), needs.get(case.id),
                      blunt.get(case.id, ""))
            for case in usable
        ],
        budget_s,
    )  # fmt: skip


def _seen(runs: Sequence[Run]) -> Mapping[str, Cost]:
    """Median seconds of each case in its rounds here, and of the rest of its rounds; those of the newest run count."""
    out: dict[str, Cost] = {}
    for run in runs:
        engines: dict[str, list[float]] = {}
        cases: dict[str, list[float]] = {}
        owner: dict[str, str] = {}
        for one in (one for one in run.rounds if one.is_valid and one.side is Side.CANDIDATE):
            spent = {case.case: sum(region.seconds for region in case.regions) for case in one.cases}
            engines.setdefault(one.engine, []).append(max(0.0, one.seconds - sum(spent.values())))
            for case, seconds in spent.items():
                cases.setdefault(case, []).append(seconds)
                owner[case] = one.engine
        out |= {case: Cost(median(engines[owner[case]]), median(seconds)) for case, seconds in cases.items()}
    return out


def _cost(seen: Mapping[str, Cost], case: str, engine: str, plan: Plan, cases: Mapping[str, int]) -> Cost:
    """Of one round; where the case was never measured here, its share of the plan's usual round."""
    if case in seen:
        return seen[case]
    return Cost(_OWN_SHARE * plan.round_s, (1 - _OWN_SHARE) * plan.round_s / cases[engine])


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
