"""A double of `pynvml` (nvidia-ml-py 12.560 to 13.x): its names, errors and shapes, over a scripted machine.

It refuses what a real GPU refuses: a feature that a card lacks raises NVMLError_NotSupported, a function of another
driver generation NVMLError_FunctionNotFound, a change without rights NVMLError_NoPermission. Every
version says 'double'.

In a process: `use(Machine(...))`, then put the module into sys.modules as `pynvml`. In a child: `install` writes a
folder for PYTHONPATH, and a script that the child reads.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

SCRIPT = "PYNVML_DOUBLE"

NVML_ERROR_UNINITIALIZED = 1
NVML_ERROR_INVALID_ARGUMENT = 2
NVML_ERROR_NOT_SUPPORTED = 3
NVML_ERROR_NO_PERMISSION = 4
NVML_ERROR_NOT_FOUND = 6
NVML_ERROR_DRIVER_NOT_LOADED = 9
NVML_ERROR_LIBRARY_NOT_FOUND = 12
NVML_ERROR_FUNCTION_NOT_FOUND = 13
NVML_ERROR_GPU_IS_LOST = 15
NVML_ERROR_UNKNOWN = 999
NVML_CLOCK_GRAPHICS = 0
NVML_CLOCK_SM = 1
NVML_CLOCK_MEM = 2
NVML_TEMPERATURE_GPU = 0
NVML_NVLINK_MAX_LINKS = 18
NVML_DEVICE_MIG_DISABLE = 0
NVML_DEVICE_MIG_ENABLE = 1
nvmlClocksThrottleReasonGpuIdle = 0x1
nvmlClocksThrottleReasonApplicationsClocksSetting = 0x2
nvmlClocksThrottleReasonSwPowerCap = 0x4
nvmlClocksThrottleReasonHwSlowdown = 0x8
nvmlClocksThrottleReasonSyncBoost = 0x10
nvmlClocksThrottleReasonSwThermalSlowdown = 0x20
nvmlClocksThrottleReasonHwThermalSlowdown = 0x40
nvmlClocksThrottleReasonHwPowerBrakeSlowdown = 0x80
nvmlClocksThrottleReasonDisplayClockSetting = 0x100

_WORDS = {
    NVML_ERROR_UNINITIALIZED: "Uninitialized",
    NVML_ERROR_INVALID_ARGUMENT: "Invalid Argument",
    NVML_ERROR_NOT_SUPPORTED: "Not Supported",
    NVML_ERROR_NO_PERMISSION: "Insufficient Permissions",
    NVML_ERROR_NOT_FOUND: "Not Found",
    NVML_ERROR_DRIVER_NOT_LOADED: "Driver Not Loaded",
    NVML_ERROR_LIBRARY_NOT_FOUND: "NVML Shared Library Not Found",
    NVML_ERROR_FUNCTION_NOT_FOUND: "Function Not Found",
    NVML_ERROR_GPU_IS_LOST: "GPU is lost",
    NVML_ERROR_UNKNOWN: "Unknown Error",
}


class NVMLError(Exception):
    """As the real one: `NVMLError(code)` is of the class of its code, and such a class needs none."""

    value: int
    _code: ClassVar[int | None] = None

    def __new__(cls, value: int | None = None) -> Any:
        own = next((one for one in cls.__subclasses__() if one._code == value), cls)
        made = Exception.__new__(own)
        made.value = own._code or value or NVML_ERROR_UNKNOWN
        return made

    def __str__(self) -> str:
        return _WORDS.get(self.value, f"NVML Error with code {self.value}")


class NVMLError_NotSupported(NVMLError):
    _code = NVML_ERROR_NOT_SUPPORTED


class NVMLError_NoPermission(NVMLError):
    _code = NVML_ERROR_NO_PERMISSION


class NVMLError_FunctionNotFound(NVMLError):
    _code = NVML_ERROR_FUNCTION_NOT_FOUND


class NVMLError_NotFound(NVMLError):
    _code = NVML_ERROR_NOT_FOUND


Series = float | Sequence[Sequence[float]]  # a constant, or [from second, value] in order


@dataclass
class Process:
    """A process on a card. busy: its share of the SMs in per cent; None: the card does not tell."""

    pid: int
    name: str | None = None
    memory: int | None = 2**30
    busy: int | None = None
    begin: float = 0.0
    end: float = float("inf")


@dataclass
class Slice:
    """A MIG slice: GPU instance and compute instance."""

    uuid: str
    name: str
    memory: int
    gi: int
    ci: int = 0
    used: Series = 0
    processes: list[Process] = field(default_factory=list)


@dataclass
class Card:
    """A GPU. lacks: functions that it does not support; refuses: functions by the code that they fail with."""

    uuid: str = "GPU-00000000-1111-2222-3333-444444444444"
    name: str = "NVIDIA H200"
    capability: Sequence[int] = (9, 0)
    memory: int = 143771 * 2**20
    used: Series = 10 * 2**30
    bus: str = "00000000:19:00.0"
    affinity: Sequence[int] = (0b1111,)
    power: Series = 300_000.0  # mW
    limit: int = 700_000
    default_limit: int = 700_000
    sm: Series = 1980
    mem: Series = 3201
    sm_most: int = 1980
    mem_most: int = 3201
    temperature: Series = 45
    busy: Series = 90
    reasons: Series = 0
    ecc: Sequence[int] | None = (1, 1)
    persistence: int = 1
    mig: int | None = 0
    pcie: Sequence[int] = (5, 5, 16, 16)  # generation now, at most; lanes now, at most
    nvlinks: int = 18
    compute_mode: int = 0
    processes: list[Process] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    lacks: Sequence[str] = ()
    refuses: Mapping[str, int] = field(default_factory=dict)
    obeys: bool = True  # whether locked clocks are kept
    locked: int | None = None


@dataclass
class Machine:
    """What NVML knows. log: a file that gets a line for each change that is asked for. begin: monotonic seconds."""

    cards: list[Card] = field(default_factory=list)
    driver: str = "575.57.08.double"
    cuda: int = 12090
    missing: Sequence[str] = ()  # functions of another driver generation
    init_error: int | None = None
    log: str | None = None
    begin: float = field(default_factory=time.monotonic)
    is_open: int = 0


_machine = Machine()


def use(machine: Machine) -> None:
    """The machine that this process sees from now on."""
    global _machine  # noqa: PLW0603 - the driver is one for the process, as the real one
    _machine = machine


def install(folder: Path, machine: Machine) -> dict[str, str]:
    """Write a `pynvml` and a script for child processes into a folder; returns the variables that lead there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pynvml.py").write_text(Path(__file__).read_text())
    script = folder / "machine.json"
    script.write_text(json.dumps(asdict(machine)))
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {SCRIPT: str(script), "PYTHONPATH": path}


def _read(script: str) -> Machine:
    raw = json.loads(Path(script).read_text())
    cards = [
        Card(
            **{
                **card,
                "processes": [Process(**one) for one in card["processes"]],
                "slices": [
                    Slice(**{**one, "processes": [Process(**who) for who in one["processes"]]})
                    for one in card["slices"]
                ],
            }
        )
        for card in raw.pop("cards")
    ]
    return Machine(cards, **raw)


# ------------------------------------------------------------------ NVML's functions


def nvmlInit() -> None:
    if script := os.environ.get(SCRIPT):
        use(_read(script))
    if _machine.init_error is not None:
        raise NVMLError(_machine.init_error)
    _machine.is_open += 1


def nvmlShutdown() -> None:
    _check_open()
    _machine.is_open -= 1


def nvmlSystemGetDriverVersion() -> str:
    _check("nvmlSystemGetDriverVersion")
    return _machine.driver


def nvmlSystemGetCudaDriverVersion_v2() -> int:
    _check("nvmlSystemGetCudaDriverVersion_v2")
    return _machine.cuda


def nvmlSystemGetNVMLVersion() -> str:
    _check("nvmlSystemGetNVMLVersion")
    return f"12.{_machine.driver}"


def nvmlSystemGetProcessName(pid: int) -> str:
    _check("nvmlSystemGetProcessName")
    for card in _machine.cards:
        for one in (*card.processes, *(one for part in card.slices for one in part.processes)):
            if one.pid == pid and one.name is not None:
                return one.name
    raise NVMLError(NVML_ERROR_NOT_FOUND)


def nvmlDeviceGetCount() -> int:
    _check("nvmlDeviceGetCount")
    return len(_machine.cards)


def nvmlDeviceGetHandleByIndex(index: int) -> Card:
    _check("nvmlDeviceGetHandleByIndex")
    if not 0 <= index < len(_machine.cards):
        raise NVMLError(NVML_ERROR_INVALID_ARGUMENT)
    return _machine.cards[index]


def nvmlDeviceGetUUID(handle: Card | Slice) -> str:
    _check("nvmlDeviceGetUUID", handle)
    return handle.uuid


def nvmlDeviceGetName(handle: Card | Slice) -> str:
    _check("nvmlDeviceGetName", handle)
    return handle.name


def nvmlDeviceGetCudaComputeCapability(handle: Card) -> tuple[int, int]:
    card = _card("nvmlDeviceGetCudaComputeCapability", handle)
    return card.capability[0], card.capability[1]


def nvmlDeviceGetMemoryInfo(handle: Card | Slice, version: int | None = None) -> Any:
    del version
    _check("nvmlDeviceGetMemoryInfo", handle)
    used = int(_at(handle.used))
    return SimpleNamespace(total=handle.memory, used=used, free=handle.memory - used)


def nvmlDeviceGetPciInfo(handle: Card) -> Any:
    return SimpleNamespace(busId=_card("nvmlDeviceGetPciInfo", handle).bus.encode())


def nvmlDeviceGetCpuAffinity(handle: Card, cpuSetSize: int) -> list[int]:
    masks = list(_card("nvmlDeviceGetCpuAffinity", handle).affinity)
    return [*masks, *[0] * cpuSetSize][:cpuSetSize]


def nvmlDeviceGetMigMode(device: Card) -> list[int]:
    mode = _card("nvmlDeviceGetMigMode", device).mig
    if mode is None:
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    return [mode, mode]


def nvmlDeviceGetMaxMigDeviceCount(device: Card) -> int:
    return 7 if _card("nvmlDeviceGetMaxMigDeviceCount", device).mig is not None else 0


def nvmlDeviceGetMigDeviceHandleByIndex(device: Card, index: int) -> Slice:
    card = _card("nvmlDeviceGetMigDeviceHandleByIndex", device)
    if index >= len(card.slices):
        raise NVMLError(NVML_ERROR_NOT_FOUND)
    return card.slices[index]


def nvmlDeviceGetGpuInstanceId(device: Slice) -> int:
    _check("nvmlDeviceGetGpuInstanceId", device)
    return device.gi


def nvmlDeviceGetComputeInstanceId(device: Slice) -> int:
    _check("nvmlDeviceGetComputeInstanceId", device)
    return device.ci


def nvmlDeviceGetEnforcedPowerLimit(handle: Card) -> int:
    return _card("nvmlDeviceGetEnforcedPowerLimit", handle).limit


def nvmlDeviceGetPowerManagementDefaultLimit(handle: Card) -> int:
    return _card("nvmlDeviceGetPowerManagementDefaultLimit", handle).default_limit


def nvmlDeviceGetPowerUsage(handle: Card) -> int:
    return int(_at(_card("nvmlDeviceGetPowerUsage", handle).power))


def nvmlDeviceGetTotalEnergyConsumption(handle: Card) -> int:
    """In mJ, as the integral of the scripted power since the machine began."""
    card = _card("nvmlDeviceGetTotalEnergyConsumption", handle)
    return int(sum((end - begin) * power for begin, end, power in _pieces(card.power)))


def nvmlDeviceGetMaxClockInfo(handle: Card, type: int) -> int:
    card = _card("nvmlDeviceGetMaxClockInfo", handle)
    return {NVML_CLOCK_GRAPHICS: card.sm_most, NVML_CLOCK_SM: card.sm_most, NVML_CLOCK_MEM: card.mem_most}[type]


def nvmlDeviceGetApplicationsClock(handle: Card, type: int) -> int:
    card = _card("nvmlDeviceGetApplicationsClock", handle)
    return {NVML_CLOCK_GRAPHICS: card.sm_most, NVML_CLOCK_SM: card.sm_most, NVML_CLOCK_MEM: card.mem_most}[type]


def nvmlDeviceGetClockInfo(handle: Card, type: int) -> int:
    card = _card("nvmlDeviceGetClockInfo", handle)
    if type == NVML_CLOCK_MEM:
        return int(_at(card.mem))
    return card.locked if card.locked is not None and card.obeys else int(_at(card.sm))


def nvmlDeviceSetGpuLockedClocks(handle: Card, minGpuClockMHz: int, maxGpuClockMHz: int) -> None:
    _log(f"lock {minGpuClockMHz} {maxGpuClockMHz}")
    _card("nvmlDeviceSetGpuLockedClocks", handle).locked = maxGpuClockMHz


def nvmlDeviceResetGpuLockedClocks(handle: Card) -> None:
    _log("reset")
    _card("nvmlDeviceResetGpuLockedClocks", handle).locked = None


def nvmlDeviceGetTemperature(handle: Card, sensor: int) -> int:
    assert sensor == NVML_TEMPERATURE_GPU
    return int(_at(_card("nvmlDeviceGetTemperature", handle).temperature))


def nvmlDeviceGetUtilizationRates(handle: Card) -> Any:
    return SimpleNamespace(gpu=int(_at(_card("nvmlDeviceGetUtilizationRates", handle).busy)), memory=0)


def nvmlDeviceGetCurrentClocksEventReasons(handle: Card) -> int:
    return int(_at(_card("nvmlDeviceGetCurrentClocksEventReasons", handle).reasons))


def nvmlDeviceGetCurrentClocksThrottleReasons(handle: Card) -> int:
    return int(_at(_card("nvmlDeviceGetCurrentClocksThrottleReasons", handle).reasons))


def nvmlDeviceGetEccMode(handle: Card) -> list[int]:
    modes = _card("nvmlDeviceGetEccMode", handle).ecc
    if modes is None:
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    return list(modes)


def nvmlDeviceGetPersistenceMode(handle: Card) -> int:
    return _card("nvmlDeviceGetPersistenceMode", handle).persistence


def nvmlDeviceGetComputeMode(handle: Card) -> int:
    return _card("nvmlDeviceGetComputeMode", handle).compute_mode


def nvmlDeviceGetCurrPcieLinkGeneration(handle: Card) -> int:
    return _card("nvmlDeviceGetCurrPcieLinkGeneration", handle).pcie[0]


def nvmlDeviceGetMaxPcieLinkGeneration(handle: Card) -> int:
    return _card("nvmlDeviceGetMaxPcieLinkGeneration", handle).pcie[1]


def nvmlDeviceGetCurrPcieLinkWidth(handle: Card) -> int:
    return _card("nvmlDeviceGetCurrPcieLinkWidth", handle).pcie[2]


def nvmlDeviceGetMaxPcieLinkWidth(handle: Card) -> int:
    return _card("nvmlDeviceGetMaxPcieLinkWidth", handle).pcie[3]


def nvmlDeviceGetNvLinkState(device: Card, link: int) -> int:
    if link >= _card("nvmlDeviceGetNvLinkState", device).nvlinks:
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    return 1


def nvmlDeviceGetComputeRunningProcesses(handle: Card | Slice) -> list[Any]:
    _check("nvmlDeviceGetComputeRunningProcesses", handle)
    return [SimpleNamespace(pid=one.pid, usedGpuMemory=one.memory) for one in _running(handle)]


def nvmlDeviceGetProcessUtilization(handle: Card, timeStamp: int) -> list[Any]:
    card = _card("nvmlDeviceGetProcessUtilization", handle)
    known = [one for one in _running(card) if one.busy is not None]
    if len(known) < len(list(_running(card))):
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    if not any(one.busy for one in known):
        raise NVMLError(NVML_ERROR_NOT_FOUND)
    stamp = timeStamp + 1
    return [SimpleNamespace(pid=one.pid, timeStamp=stamp, smUtil=one.busy, memUtil=0) for one in known if one.busy]


# ------------------------------------------------------------------ the scripted machine


def _check_open() -> None:
    if not _machine.is_open:
        raise NVMLError(NVML_ERROR_UNINITIALIZED)


def _check(name: str, handle: Card | Slice | None = None) -> None:
    _check_open()
    if name in _machine.missing:
        raise NVMLError(NVML_ERROR_FUNCTION_NOT_FOUND)
    if isinstance(handle, Card):
        if name in handle.lacks:
            raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
        if name in handle.refuses:
            raise NVMLError(handle.refuses[name])


def _card(name: str, handle: Card | Slice) -> Card:
    """The card of a handle: what only whole GPUs tell, a slice does not support."""
    _check(name, handle)
    if not isinstance(handle, Card):
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    return handle


def _now() -> float:
    return time.monotonic() - _machine.begin


def _at(series: Series) -> float:
    if isinstance(series, int | float):
        return series
    now = _now()
    return next((value for begin, value in reversed(series) if begin <= now), series[0][1])


def _pieces(series: Series) -> Iterator[tuple[float, float, float]]:
    """Begin, end and value of each stretch up to now."""
    points = [(0.0, series)] if isinstance(series, int | float) else [(one[0], one[1]) for one in series]
    now = _now()
    for number, (begin, value) in enumerate(points):
        end = points[number + 1][0] if number + 1 < len(points) else now
        if begin < now:
            yield begin, min(end, now), value


def _running(handle: Card | Slice) -> Iterator[Process]:
    now = _now()
    return (one for one in handle.processes if one.begin <= now < one.end)


def _log(line: str) -> None:
    if _machine.log is not None:
        with Path(_machine.log).open("a") as log:
            log.write(f"{line}\n")


def as_module() -> Any:
    """This double, to be put into sys.modules as `pynvml`."""
    return sys.modules[__name__]
