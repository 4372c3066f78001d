"""What a gate would do: options, device, baseline, cases with their skips, and an estimate of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from perfgate.baselines import Baseline, find_baseline
from perfgate.case import Case, ServingWork
from perfgate.device import Device, find_device
from perfgate.engines import backend
from perfgate.engines.carrying import why_skipped
from perfgate.errors import UsageError
from perfgate.leases import WAIT_S
from perfgate.pinning import allowed_cpus, check_cpus, chosen_cores, numa_nodes
from perfgate.plant import Plant
from perfgate.record import CaseInfo
from perfgate.schema import parse_duration
from perfgate.suite import Suite
from perfgate.terms import Gate
from perfgate.waivers import Waiver

BASELINE_ROUNDS = 5  # rounds of what becomes a baseline: enough to see the noise between processes
FIRST_GUESS_S = 8.0  # a round's length before any was seen


@dataclass(frozen=True, slots=True)
class Options:
    """What a gate is told beside its suite."""

    baselines: Path
    state: Path  # cache, journal, logs, local baselines
    policy: str = "local"
    rounds: int | None = None
    budget_s: float | None = None
    plant: Plant = field(default_factory=Plant)
    update_reason: str | None = None  # accept this run as the baseline
    rebuild: bool = False
    rebuild_baseline: bool = False  # packages of a baseline's engine may be installed, to run it again
    update_expires: str | None = None  # UTC, ISO 8601: when that baseline expires
    update_only_new: bool = False  # accept cases without a baseline only
    waivers: tuple[Waiver, ...] = ()
    thorough: bool = False  # judge for smaller changes, with more rounds
    lease_wait_s: float = WAIT_S  # how long to wait where others measure on the device
    lease_option: str = ""  # which option says so; empty: the command has none


@dataclass(frozen=True, slots=True)
class Plan:
    """What a gate would do: cases with their skips, and where the time would go."""

    device: Device
    cases: tuple[CaseInfo, ...]
    baseline: tuple[Path, Baseline] | None
    rounds: int
    round_s: float
    is_guess: bool

    @property
    def engines(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(case.engine for case in self.cases if case.skip is None))

    @property
    def estimate_s(self) -> float:
        return len(self.engines) * self.rounds * self.round_s


def parse_budget(option: str, text: str | None) -> float | None:
    """Seconds of an option such as '4min'; None where it was not given.

    Raises:
        UsageError: the text is no duration.
    """
    seconds = parse_duration(text) if text else None
    if text and seconds is None:
        raise UsageError(f"{option}: found '{text}', expected a duration such as 90s, 4min or 2h")
    return seconds


def make_plan(suite: Suite, cases: Sequence[Case], options: Options) -> Plan:
    """Cases, skips and an estimate, without running anything.

    Raises:
        UsageError: the baseline or a checkpoint cannot be read, the suite pins to cores that are not here, or it has a
            sweep and no case.
    """
    if suite.sweep is not None and not cases:
        raise UsageError(
            f"suite {suite.name} has no case to judge, only a sweep: perfgate sweep --suite {suite.source}"
        )
    device = find_device()
    settled(suite.gate, device, serves=any(isinstance(case.work, ServingWork) for case in cases))
    infos = tuple(replace(_info(case, device), concurrency=case.concurrency, family=case.family) for case in cases)
    _check_plant(cases, device, options.plant)
    roots = [options.baselines, options.state / "baselines"]
    found = find_baseline(roots, device.key, suite.name, may_be_expired=options.update_reason is not None)
    seen = _seen_round_s(options.state)
    first = options.rounds or suite.gate.first_rounds
    known = found is not None and all(case.id in found[1].cases for case in infos if case.skip is None)
    is_judged_only = known and options.update_reason is None
    rounds = first if is_judged_only or options.rounds else max(first, BASELINE_ROUNDS)
    return Plan(device, infos, found, rounds, seen or FIRST_GUESS_S, seen is None)


def _check_plant(cases: Sequence[Case], device: Device, plant: Plant) -> None:
    """Graphs can be taken from an engine only where one may have them.

    Raises:
        UsageError: no engine may.
    """
    specs = {replace(case.engine, cuda_graphs=True) for case in cases if case.engine.cuda_graphs is not False}
    if not plant.graphs and not any(backend(spec.backend).support(spec, device).reason is None for spec in specs):
        raise UsageError(f"--perfgate-inject graphs=off: no engine of these cases can have CUDA graphs on {device.key}")


def settled(gate: Gate, device: Device, *, serves: bool) -> Gate:
    """A gate with the cores that its rounds are pinned to, near the GPU where the suite leaves the choice to us.

    serves: whether a core is kept for clients of servers.

    Raises:
        UsageError: the suite names cores that are not here.
    """
    check_cpus("gate.cpus", gate.cpus)
    check_cpus("gate.client_cpus", gate.client_cpus)
    if not gate.pin:
        return gate
    cores = chosen_cores(allowed_cpus(), numa_nodes(), nearest_cpus(device), keeps_client=serves)
    return replace(gate, cpus=cores.engine, client_cpus=cores.client, pin=False)


def nearest_cpus(device: Device) -> tuple[int, ...]:
    """The cores nearest to the first GPU; empty without one, or where nothing tells."""
    return device.gpus[0].cpus if device.gpus else ()


def _info(case: Case, device: Device) -> CaseInfo:
    return CaseInfo(case.id, case.engine.name, case.kind, case.hash, why_skipped(case, device))


def remember_round_s(state: Path, seconds: float) -> None:
    """Keep the mean length of this gate's rounds for the next estimate."""
    (state / "round-seconds").write_text(f"{seconds:.2f}\n")


def _seen_round_s(state: Path) -> float | None:
    try:
        return float((state / "round-seconds").read_text())
    except (OSError, ValueError):
        return None
