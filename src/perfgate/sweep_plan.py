"""What a sweep would do: configurations with their skips, what is measured already, and an estimate of time."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import perfgate
from perfgate.case import Case, EngineSpec, canonical, short_hash
from perfgate.device import Device, find_device
from perfgate.engines import backend
from perfgate.engines.cache import calibration_digest, code_of, model_digest
from perfgate.engines.carrying import why_skipped
from perfgate.errors import UsageError
from perfgate.foreign_json import read_json
from perfgate.leases import places
from perfgate.pinning import check_cpus
from perfgate.plan import FIRST_GUESS_S
from perfgate.record import write_atomic
from perfgate.report.figures import count
from perfgate.suite import Suite
from perfgate.sweep import Configuration, Sweep
from perfgate.terminal import clock
from perfgate.terms import Gate


@dataclass(frozen=True, slots=True)
class SweepWish:
    """What a sweep is told beside its suite.

    names: only these configurations; empty: all. fresh: what an interrupted sweep measured is not taken up.
    """

    state: Path
    rounds: int | None = None
    names: tuple[str, ...] = ()
    fresh: bool = False

    @property
    def folder(self) -> Path:
        return self.state / "sweep"


@dataclass(frozen=True, slots=True)
class Planned:
    """A configuration: why it is skipped, or the key under which its rounds are kept."""

    configuration: Configuration
    skip: str | None = None
    key: str = ""

    @property
    def name(self) -> str:
        return self.configuration.name


@dataclass(frozen=True, slots=True)
class Seconds:
    """How long a build and a round of a configuration last."""

    build: float = FIRST_GUESS_S
    round: float = FIRST_GUESS_S


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """Configurations in the suite's order; seconds by key, of those that were measured here."""

    suite: Suite
    device: Device
    points: tuple[Planned, ...]
    rounds: int
    builds: int
    known: Mapping[str, Seconds]

    @property
    def sweep(self) -> Sweep:
        assert self.suite.sweep is not None
        return self.suite.sweep

    @property
    def measured(self) -> tuple[Planned, ...]:
        return tuple(one for one in self.points if one.skip is None)

    def seconds(self, key: str) -> Seconds:
        """Of a configuration: its own, else the mean of all that are known, else a guess."""
        every = list(self.known.values())
        if key in self.known or not every:
            return self.known.get(key, Seconds())
        return Seconds(*(sum(each) / len(every) for each in ([x.build for x in every], [x.round for x in every])))

    @property
    def estimate_s(self) -> float:
        return sum(self.builds * one.build + self.rounds * one.round for one in self._each())

    def _each(self) -> Iterator[Seconds]:
        return (self.seconds(point.key) for point in self.measured)


def plan_sweep(suite: Suite, wish: SweepWish) -> SweepPlan:
    """Configurations, skips and an estimate, without running anything.

    Raises:
        UsageError: the suite has no sweep, a name is none of its configurations, or a checkpoint cannot be read.
    """
    sweep = suite.sweep
    if sweep is None:
        raise UsageError(f"{suite.source} has no section 'sweep:'; see fixtures/suites/tradeoffs.yaml for one")
    check_cpus("gate.cpus", suite.gate.cpus)
    device = find_device()
    known = {one.name for one in sweep.configurations}
    if unknown := [name for name in wish.names if name not in known]:
        raise UsageError(f"no configuration '{unknown[0]}' in this sweep; `perfgate sweep --plan` lists them")
    chosen = [one for one in sweep.configurations if not wish.names or one.name in wish.names]
    rounds = wish.rounds or sweep.rounds
    points = tuple(_planned(sweep, one, device, suite.gate) for one in chosen)
    return SweepPlan(suite, device, points, rounds, min(sweep.builds, rounds), known_seconds(wish.folder))


def _planned(sweep: Sweep, one: Configuration, device: Device, gate: Gate) -> Planned:
    cases = sweep.cases(one)
    skip = one.refusal or next((why for case in cases if (why := why_skipped(case, device))), None)
    return Planned(one, skip, "" if skip else key_of(cases, device, gate))


def key_of(cases: Sequence[Case], device: Device, gate: Gate) -> str:
    """What rounds of a configuration belong to: the spec, its weights, the workloads, versions and this machine."""
    spec = cases[0].engine
    drafts = spec.speculative.model if spec.speculative else None
    return short_hash(
        {
            "cases": [case.hash for case in cases],
            "spec": {name: str(value) for name, value in canonical(spec).items()},
            "weights": [_digest(model) for model in (spec.model, drafts) if model is not None],
            "calibration": calibration_digest(texts) if (texts := _calibration(spec)) else "",
            "versions": dict(backend(spec.backend).versions()),
            "backend": dict(code_of(backend(spec.backend))),
            "machine": [device.key, device.product, device.driver, platform.node(), platform.python_version()],
            "devices": [one.file for one in places(device, [spec])],
            "perfgate": perfgate.__version__,
            "cpus": gate.cpus,
        }
    )


def _calibration(spec: EngineSpec) -> Path | None:
    return spec.quantisation.calibration if spec.quantisation else None


@cache
def _digest(model: Path) -> str:
    """Of a checkpoint that many configurations share."""
    return model_digest(model)


# ------------------------------------------------------------------ how long things last here


def known_seconds(folder: Path) -> dict[str, Seconds]:
    """Seconds by key, as earlier sweeps kept them; a file that cannot be read is no knowledge."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        stored = read_json(folder / "seconds.json")
        return {str(key): Seconds(float(build), float(each)) for key, (build, each) in stored.items()}
    return {}


def keep_seconds(folder: Path, known: Mapping[str, Seconds]) -> None:
    plain = {key: [round(one.build, 2), round(one.round, 2)] for key, one in known.items()}
    write_atomic(folder / "seconds.json", json.dumps(plain, indent=0).encode())


# ------------------------------------------------------------------ for people


def sweep_plan_lines(plan: SweepPlan) -> list[str]:
    """What a sweep would do, for people."""
    suite, sweep = plan.suite, plan.sweep
    axes = " x ".join(f"{axis.name} ({len(axis.values)})" for axis in sweep.axes)
    lines = [f"sweep of suite {suite.name} ({suite.source}) on {plan.device.key} ({plan.device.product}): {axes}", ""]
    width = max((len(one.name) for one in plan.points), default=0)
    lines += [f"  {one.name:<{width}}  {f'skip: {one.skip}' if one.skip else _times(plan, one)}" for one in plan.points]
    lines += [f"  ({count} left out: {reason})" for reason, count in sweep.left_out]
    ready = plan.measured
    names = ", ".join(work.name for work in sweep.works)
    new = sum(one.key not in plan.known for one in ready)
    basis = "from what builds and rounds lasted here" if not new else f"{new} of them a guess: not measured here yet"
    return [
        *lines,
        "",
        f"{count(len(ready), 'configuration')} to measure, {len(plan.points) - len(ready)} skipped; measured: {names}",
        f"each: {count(plan.builds, 'cold build')}, {count(plan.rounds, 'round')}; weighed on {sweep.traffic}",
        f"about {clock(plan.estimate_s)} ({basis})" if ready else "nothing of it can run here",
    ]


def _times(plan: SweepPlan, one: Planned) -> str:
    seconds = plan.seconds(one.key)
    guess = "" if one.key in plan.known else ", a guess"
    return f"measure: about {clock(plan.builds * seconds.build + plan.rounds * seconds.round)}{guess}"
