"""Which techniques were measured on a device, and why the others were not: nothing is left out in silence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perfgate.capabilities import TECHNIQUES, Column, Standing, Technique, rows
from perfgate.case import EngineSpec, KvDtype, Precision, WorkKind
from perfgate.spec_keys import is_alike
from perfgate.techniques import Group, Row

# Keys in which an engine may differ from its reference and still tell of its precision alone.
_OF_WEIGHTS = {"precision", "kv_cache_dtype", "quantisation", "backend", "engine_args"}
_OF_CACHE = {"kv_cache_dtype"}
KV = (KvDtype.FP8, KvDtype.INT8, KvDtype.INT4)


@dataclass(frozen=True, slots=True)
class Told:
    """A technique on a device. engines: that measured it, as 'suite: engine, engine'; why: there are none."""

    technique: str
    engines: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """A precision on a device: an engine that measured it with its suite's rows, or why there is none."""

    precision: str
    group: Group | None = None
    row: Row | None = None
    why: str = ""


def coverage(groups: Sequence[Group], columns: Sequence[Column]) -> list[Told]:
    """Every technique of the capability matrix on the device that these groups are of."""
    return [_told(technique, groups, columns) for technique in TECHNIQUES]


def _told(technique: Technique, groups: Sequence[Group], columns: Sequence[Column]) -> Told:
    by_suite = {
        group.suite.name: [row.engine.name for row in group.rows if asks(row.engine, technique)] for group in groups
    }
    found = tuple(f"{suite}: {', '.join(names)}" for suite, names in by_suite.items() if names)
    return Told(technique.name, found, "" if found else why_not(technique, groups, columns))


def asks(spec: EngineSpec, technique: Technique) -> bool:
    """Whether a spec asks for a technique."""
    return all(is_alike(getattr(spec, key), wanted) for key, wanted in technique.asks.items())


def why_not(technique: Technique, groups: Sequence[Group], columns: Sequence[Column]) -> str:
    """Why a technique was not measured: what the suites wanted in vain, else what the backends say of it."""
    return "; ".join(_asked_in_vain(technique, groups)) or _by_backends(technique, columns)


def _asked_in_vain(technique: Technique, groups: Sequence[Group]) -> Iterator[str]:
    for group in groups:
        measured = {row.engine.name for row in group.rows}
        for spec in (one for one in group.suite.engines if asks(one, technique)):
            if spec.name in measured:
                yield f"{spec.name} in {group.suite.name} differs from its reference in more than that"
            else:
                yield f"no rounds yet of {spec.name} in {group.suite.name}{_skipped(group, spec)}"


def _skipped(group: Group, spec: EngineSpec) -> str:
    infos = (info for source in group.sources for info in source.run.cases if info.engine == spec.name)
    why = next((info.skip for info in infos if info.skip), None)
    return f", skipped: {why}" if why else ""


def _by_backends(technique: Technique, columns: Sequence[Column]) -> str:
    """By standing: who has it though nobody measured it here; refusals only where nobody has it."""
    at = rows().index(technique.name)
    of = {standing: [one for one in columns if one.cells[at].standing is standing] for standing in Standing}
    ran, contract = (_names(of[one]) for one in (Standing.SEEN, Standing.CONTRACT))
    said = [
        *([f"ran with {ran}, and no engine of these suites sets it"] if ran else []),
        *([f"by contract only, no run on such a device yet: {contract}"] if contract else []),
    ]
    refused = dict.fromkeys(f"{one.backend}: {one.cells[at].reason}" for one in of[Standing.NO])
    return "; ".join(said) or f"not supported: {'; '.join(refused)}"


def _names(columns: Sequence[Column]) -> str:
    return ", ".join(one.backend for one in columns)


def precisions(groups: Sequence[Group], columns: Sequence[Column]) -> list[Compared]:
    """Weights and KV cache in every precision: engines that differ from their reference in nothing else."""
    found: list[Compared] = []
    by_name = {technique.name: technique for technique in TECHNIQUES}
    for precision in Precision:
        technique = by_name[f"precision {precision}"]
        found += _compared(str(precision), technique, _OF_WEIGHTS, groups, columns)
    for kv in KV:
        found += _compared(f"KV cache {kv}", by_name[f"KV cache {kv}"], _OF_CACHE, groups, columns)
    return found


def _compared(
    name: str, technique: Technique, may_differ: set[str], groups: Sequence[Group], columns: Sequence[Column]
) -> Iterator[Compared]:
    fitting = [
        (group, row)
        for group in groups
        for row in group.rows
        if asks(row.engine, technique) and _keys(row) <= may_differ and _is_plain(row, technique) and _tells(row)
    ]
    if not fitting:
        yield Compared(name, why=why_not(technique, groups, columns))
    for group, row in fitting:
        yield Compared(name, group, row)


def _keys(row: Row) -> set[str]:
    return {one.partition(" ")[0] for one in row.differs}


def _tells(row: Row) -> bool:
    """Whether the engine itself was measured: a load on a server tells neither of memory nor of quality."""
    return any(row.of(kind) is not None for kind in (WorkKind.BUILD, WorkKind.LATENCY, WorkKind.PERPLEXITY))


def _is_plain(row: Row, technique: Technique) -> bool:
    """Not an engine whose KV cache, too, is quantised, where weights are asked for."""
    return "kv_cache_dtype" in technique.asks or row.engine.kv_cache_dtype not in KV
