"""What a calibration is asked for: cases, pairs, and the levers that may lower the noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from perfgate.case import Case, LatencyWork, PerplexityWork, ServingWork, TasksWork, Workload
from perfgate.device import Device
from perfgate.engines.carrying import why_skipped
from perfgate.errors import UsageError
from perfgate.measure import Ask, Turnout
from perfgate.metrics import Kind
from perfgate.pinning import allowed_cpus, check_cpus, chosen_cores, cpu_text, numa_nodes
from perfgate.record import Side
from perfgate.rounds_option import checked_rounds
from perfgate.schema import nearest
from perfgate.suite import Suite
from perfgate.terms import Pairing

LEVERS = ("pin", "samples", "warmup")
FEWEST_PAIRS = 3
MORE_SAMPLES = 2  # times the requests
MORE_WARMUP = 3  # times the warm-up requests
FIRST_WARMUP = 4  # where the workload has none


@dataclass(frozen=True, slots=True)
class Wish:
    """What a calibration is asked for.

    engines, workloads: names, empty: all; pairs: of rounds, per engine and session; pause_s: between
    sessions; cpus: for the lever 'pin', empty: those of `steady_cpus`.
    """

    engines: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    pairs: int = 6
    sessions: int = 1
    pause_s: float = 0.0
    budget_s: float | None = None
    levers: tuple[str, ...] = LEVERS
    cpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Lever:
    """A lever as it is pulled: cases and cores in place of the suite's; `skipped`: why it cannot be."""

    name: str
    what: str
    cases: tuple[Case, ...]
    cpus: tuple[int, ...]
    skipped: str = ""


def check_wish(wish: Wish, suite: Suite) -> None:
    """Refuse what cannot be carried out, before anything runs.

    Raises:
        UsageError: telling which option, and what is allowed.
    """
    checked_rounds(wish.pairs, FEWEST_PAIRS)
    if wish.sessions < 1:
        raise UsageError(f"--sessions: found {wish.sessions}, expected at least 1")
    _check_names("--engines", wish.engines, [spec.name for spec in suite.engines])
    _check_names("--workloads", wish.workloads, [case.work.name for case in suite.cases])
    _check_names("--levers", wish.levers, LEVERS)
    check_cpus("--cpus", wish.cpus)
    check_cpus("gate.cpus", suite.gate.cpus)


def _check_names(option: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in (name for name in names if name not in known):
        there = ", ".join(dict.fromkeys(known))
        raise UsageError(f"{option}: no '{name}'; there: {there}{nearest(name, list(known))}")


def chosen_cases(suite: Suite, wish: Wish, device: Device) -> tuple[Case, ...]:
    """The cases that have a noise, run here and are asked for: texts are scored without any.

    Raises:
        UsageError: there are none.
    """
    found = tuple(
        case
        for case in suite.cases
        if (not wish.engines or case.engine.name in wish.engines)
        and (not wish.workloads or case.work.name in wish.workloads)
        and not isinstance(case.work, PerplexityWork | TasksWork)
        and why_skipped(case, device) is None
    )
    if not found:
        raise UsageError("nothing to calibrate: no case of these engines and workloads is timed and runs here")
    return found


def pull(name: str, cases: tuple[Case, ...], wish: Wish, suite: Suite, near: Sequence[int] = ()) -> Lever:
    """What a lever changes. near: the cores nearest to the GPU."""
    cpus = suite.gate.cpus
    if name == "pin":
        wanted = wish.cpus or chosen_cores(allowed_cpus(), numa_nodes(), near).engine
        what = f"pinned to cores {cpu_text(wanted)}"
        if not wanted or wanted == cpus:
            why = "the suite pins to these cores already" if wanted else "there is no second core to leave out"
            return Lever(name, "pinned to some cores", cases, wanted, why)
        return Lever(name, what, cases, wanted)
    if not any(isinstance(case.work, LatencyWork | ServingWork) for case in cases):
        return Lever(name, "more requests", cases, cpus, "no latency or serving workload is measured")
    more = tuple(replace(case, work=_more(case.work, name)) for case in cases)
    what = f"{MORE_SAMPLES} times the requests" if name == "samples" else f"{MORE_WARMUP} times the warm-up"
    return Lever(name, what, more, cpus)


def _more(work: Workload, name: str) -> Workload:
    if not isinstance(work, LatencyWork | ServingWork):
        return work
    if name == "samples":
        return replace(work, requests=work.requests * MORE_SAMPLES)
    return replace(work, warmup_requests=max(work.warmup_requests * MORE_WARMUP, FIRST_WARMUP))


def pair(engine: str, number: int, pairing: Pairing) -> list[Turnout]:
    """The n-th pair of rounds of an engine: together in turns, or one after the other; who begins alternates."""
    sides = (Ask(engine, Side.CANDIDATE), Ask(engine, Side.BASELINE))
    order = sides if number % 2 == 0 else sides[::-1]
    return [order] if pairing is Pairing.INTERLEAVED else [(ask,) for ask in order]


def gate_tests(suite: Suite, device: Device) -> int:
    """Over how many tests a gate of the whole suite shares its alpha."""
    able = [case for case in suite.cases if why_skipped(case, device) is None]
    kinds = [case.kind for case in able]
    judged = [metric for metric in suite.gate.metrics if metric.kind is not Kind.EXACT and not metric.is_optional]
    return max(1, sum(metric.is_of(kind) for metric in judged for kind in kinds))
