"""Which cores measuring processes run on: what this machine has, and pinning to some of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from perfgate.errors import RoundError, UsageError

NODES = Path("/sys/devices/system/node")
_TASKS = Path("/proc/self/task")


def allowed_cpus() -> tuple[int, ...]:
    """Cores that this process may run on, ascending; empty where the system cannot tell (only Linux pins)."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def check_cpus(where: str, cpus: Sequence[int]) -> None:
    """Refuse cores that this process cannot be pinned to; `where` names the key or option.

    Raises:
        UsageError: a core that is not there or not allowed, or a system that does not pin.
    """
    allowed = allowed_cpus()
    if unknown := sorted(set(cpus) - set(allowed)):
        there = f"this process may use {cpu_text(allowed)}" if allowed else "this system cannot pin processes"
        raise UsageError(f"{where}: found core {cpu_text(unknown)}, {there}; name others or remove the key")


def steady_cpus(allowed: Sequence[int], nodes: Sequence[frozenset[int]]) -> tuple[int, ...]:
    """The cores that a pinned engine gets: one NUMA node where there are several, else all but the first core.

    The first core is left to the system: interrupts and other programs land there by default.
    Empty where pinning would change nothing: fewer than two cores.
    """
    mine = [set(node) & set(allowed) for node in nodes]
    if sum(map(bool, mine)) > 1:
        largest = max(mine, key=len)
        return tuple(sorted(largest))
    return tuple(sorted(allowed)[1:])


@dataclass(frozen=True, slots=True)
class Cores:
    """Cores of a round and, apart from them, of the clients of its servers."""

    engine: tuple[int, ...] = ()
    client: tuple[int, ...] = ()


def chosen_cores(
    allowed: Sequence[int], nodes: Sequence[frozenset[int]], near: Sequence[int] = (), *, keeps_client: bool = False
) -> Cores:
    """Cores for rounds, with `keeps_client` the last of them for clients; the first core is left to the system.

    near: the cores nearest to the GPU. Those are taken, or else those of `steady_cpus`. Of fewer than two none is
    kept for clients; where only one core may be used, nothing is pinned.
    """
    wanted = set(allowed) & set(near)
    steady = tuple(sorted(wanted - {min(allowed)})) if wanted else steady_cpus(allowed, nodes)
    return Cores(steady[:-1], steady[-1:]) if keeps_client and len(steady) > 1 else Cores(steady)


def spare_cpus(taken: Sequence[int]) -> tuple[int, ...]:
    """Cores that this process may use beside those taken; empty where none is left."""
    return tuple(sorted(set(allowed_cpus()) - set(taken)))


def node_cpus(node: int | None, root: Path = NODES) -> tuple[int, ...]:
    """Cores of a NUMA node; empty where it is not known."""
    path = root / f"node{node}" / "cpulist"
    return (parse_cpus(path.read_text()) or ()) if path.exists() else ()


def nodes_of(cpus: Sequence[int], root: Path = NODES) -> tuple[int, ...]:
    """Numbers of the NUMA nodes that cores belong to; empty for no cores, or where the system does not tell."""
    found = [(path.parent.name, parse_cpus(path.read_text())) for path in root.glob("node[0-9]*/cpulist")]
    return tuple(sorted(int(name[len("node") :]) for name, own in found if own and set(own) & set(cpus)))


def numa_nodes(root: Path = NODES) -> tuple[frozenset[int], ...]:
    """Cores of each NUMA node, by `node*/cpulist`; empty where the system does not tell."""
    lists = sorted(root.glob("node[0-9]*/cpulist"))
    found = (parse_cpus(path.read_text()) for path in lists)
    return tuple(frozenset(cpus) for cpus in found if cpus)


def parse_cpus(text: str) -> tuple[int, ...] | None:
    """Cores of a list such as '0-3,8', ascending; None where the text is something else."""
    out: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or len(part) > len("99999-99999"):
            return None
        out.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(out))


def cpu_text(cpus: Iterable[int]) -> str:
    """'0-3,8' of (0, 1, 2, 3, 8); the opposite of `parse_cpus`."""
    spans: list[tuple[int, int]] = []
    for cpu in sorted(set(cpus)):
        if spans and cpu == spans[-1][1] + 1:
            spans[-1] = spans[-1][0], cpu
        else:
            spans.append((cpu, cpu))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def pin(cpus: Sequence[int]) -> tuple[int, ...]:
    """Pin every thread of this process, and those that it will start, to cores; returns the set as read back.

    Threads that exist already (numpy starts some when it is imported) are moved too.

    Raises:
        RoundError: the system refuses.
    """
    try:
        for task in _TASKS.iterdir():
            os.sched_setaffinity(int(task.name), cpus)
    except (OSError, AttributeError) as exc:
        raise RoundError(f"cannot be pinned to cores {cpu_text(cpus)}: {exc}") from exc
    return allowed_cpus()
