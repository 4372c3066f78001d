"""What a sweep tells: figures by configuration, the Pareto front, the effect of each value of each axis, and advice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from perfgate.case import canonical
from perfgate.metrics import CATALOGUE, Kind
from perfgate.pareto import Figures, Noise, dominators, noise_of
from perfgate.percent import percent
from perfgate.record import Environment
from perfgate.sweep import in_words
from perfgate.sweep_effects import Effect, effects_of
from perfgate.sweep_figures import Row, figures_of, rows_of, why_unmeasured
from perfgate.sweep_plan import Planned
from perfgate.sweep_run import Swept

TRADEOFFS_SCHEMA = 1
BUILD, LATENCY, THROUGHPUT, QUALITY = "build_s", "e2el_p95", "requests_per_s", "perplexity"
_MEMORIES = ("peak_gpu_memory_bytes", "peak_memory_bytes")  # the first that every configuration has


@dataclass(frozen=True, slots=True)
class Option:
    """A measured configuration. `dominated_by`: those that are better all in all; empty: it is on the front.

    spec: its keys as plain text; figures: metric -> value in each round, in canonical units; rows: the same of every
    workload.
    """

    name: str
    values: tuple[tuple[str, str], ...]
    spec: Mapping[str, str]
    figures: Figures
    rows: tuple[Row, ...]
    dominated_by: tuple[str, ...] = ()

    @property
    def is_on_front(self) -> bool:
        return not self.dominated_by


@dataclass(frozen=True, slots=True)
class Absent:
    """A configuration without figures, and why."""

    name: str
    values: tuple[tuple[str, str], ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Tradeoffs:
    """Everything that is reported of a sweep.

    objectives: the metrics over which the front is taken. noises: of each metric, in log units. stopped: why measuring
    ended early; empty where not.
    """

    suite: str
    started: str
    seconds: float
    environment: Environment
    traffic: str
    rounds: int
    builds: int
    axes: tuple[tuple[str, tuple[str, ...]], ...]
    objectives: tuple[str, ...]
    options: tuple[Option, ...]
    failed: tuple[Absent, ...]
    skipped: tuple[Absent, ...]
    left_out: tuple[tuple[str, int], ...]
    noises: Mapping[str, Noise]
    effects: tuple[Effect, ...]
    notes: tuple[str, ...]
    schema: int = TRADEOFFS_SCHEMA
    stopped: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether something failed or was not measured, or nothing was."""
        return bool(self.failed or self.stopped or not self.options)

    @property
    def front(self) -> tuple[Option, ...]:
        return tuple(one for one in self.options if one.is_on_front)

    @property
    def memory(self) -> str:
        """The metric of memory that is weighed."""
        return next((name for name in _MEMORIES if name in self.objectives), _MEMORIES[-1])

    def option(self, name: str) -> Option:
        return next(one for one in self.options if one.name == name)


def weigh(swept: Swept) -> Tradeoffs:
    """Figures, front and effects of what was measured."""
    plan, found = swept.plan, dict[str, Option]()
    failed: list[Absent] = []
    for point in plan.measured:
        visits = swept.of(point)
        figures = figures_of(plan.sweep, point, visits)
        missing = why_unmeasured(plan.sweep, visits, figures, swept.stopped)
        if missing:
            failed.append(_absent(point, missing))
        else:
            values = point.configuration.values
            found[point.name] = Option(point.name, values, _spec(point), figures, rows_of(visits))
    options = tuple(found.values())
    objectives = _objectives(options)
    assumed = plan.suite.gate.noise.round_sd
    metrics = dict.fromkeys(name for one in options for name in one.figures)
    noises = {name: noise_of(name, [one.figures for one in options], assumed) for name in metrics}
    weighed = _with_front(options, {name: noises[name] for name in objectives})
    axes = tuple((axis.name, tuple(map(in_words, axis.values))) for axis in plan.sweep.axes)
    return Tradeoffs(
        suite=plan.suite.name, started=swept.started, seconds=swept.seconds, environment=swept.environment,
        traffic=plan.sweep.traffic, rounds=plan.rounds, builds=plan.builds, axes=axes, objectives=objectives,
        options=weighed, failed=tuple(failed),
        skipped=tuple(_absent(one, one.skip) for one in plan.points if one.skip is not None),
        left_out=plan.sweep.left_out, noises=noises, effects=effects_of(weighed, axes, noises),
        notes=tuple(_notes(swept, noises, objectives)), stopped=swept.stopped,
    )  # fmt: skip


def _absent(point: Planned, reason: str) -> Absent:
    return Absent(point.name, point.configuration.values, reason)


def _spec(point: Planned) -> Mapping[str, str]:
    spec = point.configuration.spec
    return {
        "backend": spec.backend,
        **{name: str(value) for name, value in canonical(spec).items() if value is not None},
    }


def _objectives(options: tuple[Option, ...]) -> tuple[str, ...]:
    """Those that every configuration has: what some lack could not be weighed."""
    has = {name for one in options for name in one.figures if all(name in other.figures for other in options)}
    memory = next((name for name in _MEMORIES if name in has), None)
    return tuple(name for name in (BUILD, LATENCY, THROUGHPUT, memory, QUALITY) if name in has and name is not None)


def _with_front(options: tuple[Option, ...], noises: Mapping[str, Noise]) -> tuple[Option, ...]:
    by = dominators({one.name: one.figures for one in options}, noises)
    return tuple(replace(one, dominated_by=by[one.name]) for one in options)


_COLD = (
    "builds are cold: the engine cache was neither read nor written, and nothing of an earlier build lay beside them; "
    "the checkpoint may have been in the system's file cache"
)


def _notes(swept: Swept, noises: Mapping[str, Noise], objectives: tuple[str, ...]) -> list[str]:
    """What a reader must know before trusting the figures."""
    assumed = [name for name in objectives if not noises[name].df and CATALOGUE[name].kind is Kind.NOISY]
    notes = [*filter(None, [swept.stopped]), _COLD]
    if assumed:
        sd = swept.plan.suite.gate.noise.round_sd
        notes.append(
            f"{', '.join(assumed)}: one value a configuration, assumed to vary by {percent(sd)} (gate.noise.round_sd)"
        )
    lost = [one for one in swept.visits if not one.is_counted]
    if lost:
        notes.append(f"{len(lost)} rounds did not count, the last because: {lost[-1].round.fault}")
    return notes
