"""The sampling process: reads the GPUs of a round every so often and writes a line each time.

Run as `python -m perfgate.gpu.sampler JOB FILE`. It ends when its standard input closes, which it does with the
process that started it, and puts clocks that it locked back whatever happened to the round.
"""

from __future__ import annotations

import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from perfgate.errors import RoundError
from perfgate.gpu.lock import locked_clocks
from perfgate.gpu.nvml import NoNvmlError, Nvml, open_nvml
from perfgate.gpu.processes import processes_on
from perfgate.gpu.reading import reasons_of
from perfgate.gpu.sample import Line, Reading, Sampling, Tick
from perfgate.gpu.visible import Listed, all_gpus
from perfgate.pinning import pin
from perfgate.record import decode, encode

PROCESSES_EVERY_S = 1.0  # NVML refreshes shares of the SMs about this often, and the list costs most of all queries
_TERMINATED = 143


@dataclass(frozen=True, slots=True)
class SamplerJob:
    """What is sampled. root: the process whose descendants are our own. lock_mhz: SM clock to be asked for."""

    uuids: tuple[str, ...]
    period_s: float
    root: int
    cpus: tuple[int, ...] = ()
    lock_mhz: int | None = None


def main(job_path: str, out_path: str) -> int:
    """Sample until standard input ends."""
    job = decode(Path(job_path).read_bytes(), SamplerJob, job_path)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the one who started us, and then our input ends
    with Path(out_path).open("wb") as out:
        try:
            with open_nvml() as nvml:
                _sample(nvml, job, out)
        except (NoNvmlError, RoundError) as exc:
            _write(out, Line(fault=str(exc)))
            return 1
    return 0


def _leave(*_: object) -> NoReturn:
    raise SystemExit(_TERMINATED)


def _sample(nvml: Nvml, job: SamplerJob, out: IO[bytes]) -> None:
    there = {one.uuid: one for one in all_gpus(nvml)}
    missing = [uuid for uuid in job.uuids if uuid not in there]
    if missing:
        raise RoundError(f"NVML no longer lists {', '.join(missing)}")
    gpus = [there[uuid] for uuid in job.uuids]
    with ExitStack() as stack:
        cpus = pin(job.cpus) if job.cpus else ()
        if job.lock_mhz is not None:
            fault = stack.enter_context(locked_clocks(nvml, gpus, job.lock_mhz))
            _write(out, Line(lock_fault=fault))
        begin, cpu, took = time.perf_counter(), time.process_time(), list[float]()
        try:
            for tick in ticks(lambda look: read_all(nvml, gpus, job.root if look else None), job.period_s, _wait):
                took.append(time.perf_counter() - tick.at_s)
                _write(out, Line(tick))
        finally:
            wall_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
            mean, most = (sum(took) / len(took), max(took)) if took else (0.0, 0.0)
            _write(out, Line(sampling=Sampling(job.period_s, len(took), wall_s, cpu_s, mean, most, cpus)))


def ticks(
    read: Callable[[bool], tuple[Reading, ...]],
    period_s: float,
    wait: Callable[[float], bool],
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Tick]:
    """One tick a period, on a fixed grid, and a last one when it is over.

    A late one does not shift the others; periods that were missed are left out.
    read: told whether to look at processes too. wait: waits so many seconds; False: it is over.
    """
    begin = looked = clock()
    yield Tick(begin, read(True))
    number = 1
    while wait(max(0.0, begin + number * period_s - clock())):
        at = clock()
        look = at - looked >= PROCESSES_EVERY_S
        looked = at if look else looked
        yield Tick(at, read(look))
        number = max(number, int((clock() - begin) / period_s)) + 1
    yield Tick(clock(), read(True))


def _wait(seconds: float) -> bool:
    return not select.select([sys.stdin], [], [], seconds)[0]


def read_all(nvml: Nvml, gpus: Sequence[Listed], root: int | None) -> tuple[Reading, ...]:
    """Each GPU now; with a root also who uses it."""
    return tuple(_read(nvml, one, root) for one in gpus)


def _read(nvml: Nvml, one: Listed, root: int | None) -> Reading:
    gpu, ask = one.parent, nvml.ask_again
    busy, memory = ask("nvmlDeviceGetUtilizationRates", gpu), ask("nvmlDeviceGetMemoryInfo", one.handle)
    return Reading(
        power_w=_thousandth(ask("nvmlDeviceGetPowerUsage", gpu)),
        energy_j=_thousandth(ask("nvmlDeviceGetTotalEnergyConsumption", gpu)),
        sm_mhz=ask("nvmlDeviceGetClockInfo", gpu, nvml.constant("NVML_CLOCK_SM")),
        mem_mhz=ask("nvmlDeviceGetClockInfo", gpu, nvml.constant("NVML_CLOCK_MEM")),
        temperature_c=ask("nvmlDeviceGetTemperature", gpu, nvml.constant("NVML_TEMPERATURE_GPU")),
        utilization=None if busy is None else busy.gpu / 100,
        memory_bytes=None if memory is None else int(memory.used),
        reasons=reasons_of(nvml, gpu, ask),
        processes=None if root is None else processes_on(nvml, one, root),
    )


def _thousandth(value: Any) -> float | None:
    return None if value is None else value / 1000


def _write(out: IO[bytes], line: Line) -> None:
    out.write(encode(line) + b"\n")
    out.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
