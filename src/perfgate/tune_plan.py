"""What a tuning would do: the engine it begins with, the workload that tells, which steps apply and why others not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from perfgate.case import Case, Drafting, EngineSpec, PerplexityWork, Speculation
from perfgate.device import Device, find_device
from perfgate.errors import UsageError
from perfgate.metrics import CATALOGUE
from perfgate.percent import percent
from perfgate.pinning import check_cpus
from perfgate.plan import FIRST_GUESS_S
from perfgate.schema import nearest
from perfgate.suite import Suite
from perfgate.terminal import clock
from perfgate.tune_goal import RULES, Goal, metric_of
from perfgate.tune_steps import STEPS, Scene, Step, looks, why_unable

MAX_LOSS = 0.01  # of perplexity: what the field takes as harmless
LEAST_PAIRS = 3  # by which a step can be decided, and no sooner


@dataclass(frozen=True, slots=True)
class TuneWish:
    """What a tuning is told beside its suite. max_loss: of perplexity, from the engine that it begins with."""

    state: Path
    engine: str
    goal: Goal
    budget_s: float
    max_loss: float = MAX_LOSS
    fresh: bool = False

    @property
    def folder(self) -> Path:
        return self.state / "tune"


@dataclass(frozen=True, slots=True)
class TunePlan:
    """start: the suite's engine. scene: what is known before anything was measured."""

    suite: Suite
    device: Device
    start: EngineSpec
    scene: Scene
    metric: str
    looks: int

    def cases(self, spec: EngineSpec) -> tuple[Case, ...]:
        return tuple(Case(spec, work) for work in self.scene.works)

    @property
    def margin(self) -> float:
        """The gain that a step must surely have: the suite's margin of the metric, else the usual one."""
        own = (metric for metric in self.suite.gate.metrics if metric.name == self.metric)
        return next(own, CATALOGUE[self.metric]).margin

    @property
    def pairs(self) -> int:
        """Pairs of rounds before the first look."""
        return max(self.suite.gate.first_rounds, LEAST_PAIRS)


def plan_tune(suite: Suite, wish: TuneWish) -> TunePlan:
    """See that the engine can be measured and its goal told, without running anything.

    Raises:
        UsageError: no such engine, it cannot run here, or no workload tells of the goal.
    """
    check_cpus("gate.cpus", suite.gate.cpus)
    device, start = find_device(), _start(suite, wish.engine)
    works = tuple(case.work for case in suite.cases if case.engine == start)
    work = RULES[wish.goal].choose(works)
    if work is None:
        kind = "build" if wish.goal is Goal.MEMORY else "latency or serving"
        raise UsageError(f"the goal {wish.goal} is told by a workload of kind {kind}: give '{start.name}' one")
    scene = Scene(
        wish.goal, device, works, work, any(isinstance(one, PerplexityWork) for one in works), _draft(suite, start)
    )
    if why := why_unable(start, scene):
        raise UsageError(f"engine '{start.name}' cannot run here: {why}")
    return TunePlan(suite, device, start, scene, metric_of(wish.goal, is_gpu=device.is_gpu), looks(start, scene))


def _start(suite: Suite, name: str) -> EngineSpec:
    engines = {spec.name: spec for spec in suite.engines}
    if name not in engines:
        there = ", ".join(engines) or "none"
        raise UsageError(f"no engine '{name}' in {suite.source}; there: {there}{nearest(name, list(engines))}")
    return engines[name]


def _draft(suite: Suite, start: EngineSpec) -> Speculation | None:
    """The draft model that an engine of the same checkpoint names."""
    found = (spec.speculative for spec in suite.engines if spec.model == start.model and spec.speculative)
    return next((one for one in found if one.method is Drafting.DRAFT_MODEL), None)


# ------------------------------------------------------------------ for people


def tune_plan_lines(plan: TunePlan, wish: TuneWish) -> Iterator[str]:
    """What would be tried on the engine as it is; what a step leaves behind may change what the next one says."""
    rule, scene = RULES[wish.goal], plan.scene
    yield f"tuning {plan.start.name} of suite {plan.suite.name} ({plan.suite.source}) on {plan.device.key}"
    yield f"goal {wish.goal}: {rule.words}; judged by {plan.metric} of {scene.work.name}"
    yield f"kept if surely better by more than {percent(plan.margin)}, {_terms(plan, wish)}"
    yield ""
    width = max(len(step.words) for step in STEPS)
    for step in STEPS:
        yield f"  {step.words:<{width}}  {_would(step, plan)}"
    tried = sum(step.refusal(plan.start, scene) is None for step in STEPS)
    least_s = tried * plan.pairs * 2 * FIRST_GUESS_S
    yield ""
    yield (
        f"{tried} of {len(STEPS)} steps to try, each by {plan.pairs} pairs of rounds or more: about {clock(least_s)} "
        f"by a guess of {FIRST_GUESS_S:.0f} s a round, of a budget of {clock(wish.budget_s)}"
    )


def _terms(plan: TunePlan, wish: TuneWish) -> str:
    if not plan.scene.has_text:
        return "no gated metric worse; no text tells of quality"
    return f"no gated metric worse and at most {percent(wish.max_loss)} of perplexity lost from {plan.start.name}"


def _would(step: Step, plan: TunePlan) -> str:
    why = step.refusal(plan.start, plan.scene)
    return f"no: {why}" if why else "to try"
