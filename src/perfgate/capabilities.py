"""Which backend has which technique on which device, asked of the backends themselves (`Backend.support`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from perfgate import engines
from perfgate.case import Batching, Drafting, EngineSpec, Flow, KvDtype, Precision, Speculation, WorkKind
from perfgate.device import Device
from perfgate.engines import BACKENDS, backend
from perfgate.engines.base import Backend, Support

EngineArgs = tuple[tuple[str, str | int | float | bool], ...]

_SEEN = Path(engines.__file__).with_name("seen.yaml")
CPU = Device("cpu/x86_64-avx512", "any CPU")
GPU = Device("sm_90/h200-141gb", "NVIDIA H200")


class Standing(StrEnum):
    """How a technique stands with a backend on a device."""

    HERE = "run here"
    INSTALL = "to install"
    SEEN = "run"  # this technique was seen running on such a device
    CONTRACT = "by contract"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Technique:
    """A row: what a spec says to ask for it."""

    name: str
    asks: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """How one technique stands; the reason where it is not there or has to be installed, the record where it ran."""

    standing: Standing
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """One backend on one device; cells are in the order of `rows()`."""

    backend: str
    device: Device
    cells: tuple[Cell, ...]

    @property
    def title(self) -> str:
        return f"{self.backend}, {'GPU' if self.device.is_gpu else 'CPU'}"


TECHNIQUES = (
    *(Technique(f"precision {one}", {"precision": one}) for one in Precision),
    *(Technique(f"KV cache {one}", {"kv_cache_dtype": one}) for one in (KvDtype.FP8, KvDtype.INT8, KvDtype.INT4)),
    Technique("static batching", {"batching": Batching.STATIC, "paged_kv": False}),
    Technique("in-flight batching", {"batching": Batching.INFLIGHT}),
    Technique("paged KV cache", {"paged_kv": True}),
    Technique("prefix caching", {"prefix_caching": True}),
    Technique("chunked prefill", {"chunked_prefill": True}),
    Technique("n-gram speculation", {"speculative": Speculation(Drafting.NGRAM)}),
    Technique("draft-model speculation", {"speculative": Speculation(Drafting.DRAFT_MODEL, model=Path("draft"))}),
    Technique("CUDA graphs on", {"cuda_graphs": True}),
    Technique("CUDA graphs off", {"cuda_graphs": False}),
    Technique("overlap scheduler on", {"overlap_scheduler": True}),
    Technique("overlap scheduler off", {"overlap_scheduler": False}),
    Technique("context FMHA", {"context_fmha": True}),
    Technique("input padding removed", {"remove_input_padding": True}),
    Technique("tensor parallelism of 2", {"tp": 2}),
    Technique("pipeline parallelism of 2", {"pp": 2}),
)
# A technique is there if it is with one of these around it: backends differ in what goes together.
_SURROUNDINGS: tuple[Mapping[str, Any], ...] = (
    {"batching": Batching.INFLIGHT, "paged_kv": True},
    {"batching": Batching.INFLIGHT, "paged_kv": True, "chunked_prefill": True},
    {"batching": Batching.STATIC, "paged_kv": False},
    {"batching": Batching.STATIC, "paged_kv": False, "max_batch_size": 1},
    {"batching": Batching.INFLIGHT, "paged_kv": True, "flow": Flow.ENGINE},
)
_PRECISIONS = (Precision.BF16, Precision.FP16, Precision.FP32)


def rows() -> list[str]:
    """The names of all rows: techniques, then kinds of workload."""
    return [*(one.name for one in TECHNIQUES), *(f"workload {kind}" for kind in WorkKind)]


def matrix(here: Device | None = None, names: Sequence[str] | None = None) -> list[Column]:
    """Every registered backend on a CPU and a GPU, without columns in which nothing is there.

    here: this machine's device, asked in place of the usual one of its kind, with what is installed counting;
    None asks as if everything were installed, so that the answer is the same on every machine.
    """
    devices = [here if here and here.is_gpu == usual.is_gpu else usual for usual in (CPU, GPU)]
    made = [column for name in names or BACKENDS for device in devices for column in _columns(name, device, here)]
    return [column for column in made if any(cell.standing is not Standing.NO for cell in column.cells)]


def _columns(name: str, device: Device, here: Device | None) -> Iterator[Column]:
    """One, or one for each of a backend's `probes`: engine_args, by name, without which it cannot be asked."""
    one = backend(name)
    probes: Mapping[str, EngineArgs] = getattr(one, "probes", {"": ()})
    for suffix, args in probes.items():
        title = f"{name} {suffix}".strip()
        ran = _ran(title, device)
        asked = [(technique.name, _asked(one, device, technique, args)) for technique in TECHNIQUES]
        cells = [_cell(device, found, here, ran.get(row)) for row, found in asked]
        yield Column(title, device, (*cells, *_workloads(one, device, cells, ran)))


def _ran(column: str, device: Device) -> dict[str, str]:
    """The rows of a column that really ran on a device, each with where that is written down."""
    files = records().get(column, {}).get(device.key, {})
    return {row: f"ran on {device.key}: {file}" for file, its_rows in files.items() for row in its_rows}


@cache
def records() -> Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]]:
    """What really ran: rows by column, device key and the file that tells of it."""
    found: Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]] = yaml.safe_load(_SEEN.read_bytes())
    return found


def _workloads(one: Backend, device: Device, cells: Sequence[Cell], ran: Mapping[str, str]) -> Iterator[Cell]:
    """A kind of workload stands as the best technique does, or as it ran, where the backend has it (`kinds`)."""
    order = list(Standing)
    best = min(cells, key=lambda cell: order.index(cell.standing))
    for kind in WorkKind:
        if kind not in getattr(one, "kinds", frozenset(WorkKind)):
            yield Cell(Standing.NO, f"{one.name} has no {kind} workload on {device.key.split('/')[0]}")
        elif best.standing in (Standing.SEEN, Standing.CONTRACT):
            yield _elsewhere(ran.get(f"workload {kind}"))
        else:
            yield best


def _cell(device: Device, found: Support, here: Device | None, record: str | None) -> Cell:
    if not found.is_supported and not found.is_missing:
        return Cell(Standing.NO, found.reason)
    if here == device:
        return Cell(Standing.INSTALL, found.reason) if found.is_missing else Cell(Standing.HERE)
    return _elsewhere(record)


def _elsewhere(record: str | None) -> Cell:
    """What is there, on a device that is not this machine's."""
    return Cell(Standing.SEEN, record) if record else Cell(Standing.CONTRACT)


def _asked(one: Backend, device: Device, technique: Technique, args: EngineArgs) -> Support:
    """The first yes over all surroundings, else the no that is the technique's own.

    A no that the surroundings get without the technique says nothing about it.
    """
    kind = "gpu" if device.is_gpu else "cpu"
    if kind not in getattr(one, "runs_on", frozenset({"cpu", "gpu"})):
        return Support(f"{one.name} does not run on a {kind.upper()}")
    plain: list[Support] = []
    own: list[Support] = []
    for around in _surroundings(args):
        bare = one.support(around, device)
        found = one.support(replace(around, **technique.asks), device)
        if found.is_supported or found.is_missing:
            return found
        (own if bare.is_supported or bare.is_missing else plain).append(found)
    return (own or plain)[0]


def _surroundings(args: EngineArgs) -> Iterable[EngineSpec]:
    for around in _SURROUNDINGS:
        for precision in _PRECISIONS:
            yield replace(EngineSpec("probe", Path("model"), precision=precision, engine_args=args), **around)
