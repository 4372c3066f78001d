"""The measuring process of a device's limits: how fast it copies, and how fast it multiplies matrices.

Run as `python -m perfgate.ceiling_probe JOB RESULT`. Takes a few seconds; every figure has its time, and one that the
device cannot do becomes a reason.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from perfgate.pinning import allowed_cpus, parse_cpus, pin
from perfgate.record import decode, encode, write_atomic
from perfgate.roofline import Rate
from perfgate.telemetry import host_between, read_counters

LEAST, MOST = 5, 50  # timings of a figure
FIGURE_S = 0.8  # a figure is timed for so long, unless LEAST timings take longer
_CACHES = Path("/sys/devices/system/cpu")
_TIMES_CACHE = 4  # a buffer is so many times the last-level cache: STREAM's own rule
_LEAST_BUFFER, _SHARE_OF_MEMORY = 256 * 2**20, 8


class Unit(StrEnum):
    """What is measured: the host's cores, or its first GPU."""

    CPU = "cpu"
    GPU = "gpu"


@dataclass(frozen=True, slots=True)
class ProbeJob:
    """Which unit; cpus: the cores to be pinned to, empty: all that are allowed."""

    unit: Unit
    cpus: tuple[int, ...] = ()
    figure_s: float = FIGURE_S


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe found. copy is None where nothing could be measured at all; `untold` then says why."""

    copy: Rate | None
    matrix: Mapping[str, Rate] = field(default_factory=dict)
    cache_bytes: int | None = None
    product: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    untold: Mapping[str, str] = field(default_factory=dict)
    foreign_share: float = 0.0  # of the machine's CPU time


def main(job_path: str, result_path: str) -> int:
    """Carry out a job and write what came of it."""
    job = decode(Path(job_path).read_bytes(), ProbeJob, job_path)
    if job.cpus:
        pin(job.cpus)  # before numpy starts its threads
    before = read_counters()
    found = probe_cpu(job.figure_s) if job.unit is Unit.CPU else probe_gpu(job.figure_s)
    host = host_between(before, read_counters())
    write_atomic(Path(result_path), encode(replace(found, foreign_share=host.foreign_cpu_share + host.steal_share)))
    return 0


def rate_of(amount: float, seconds: Sequence[float]) -> Rate:
    """`amount` done in each of these times."""
    return Rate(amount / median(seconds), amount / max(seconds), amount / min(seconds), len(seconds))


def _timings(timed: Callable[[], float], figure_s: float) -> list[float]:
    """Seconds of one call, again and again: for `figure_s`, at least LEAST and at most MOST times."""
    out: list[float] = []
    begin = time.perf_counter()
    while len(out) < LEAST or (len(out) < MOST and time.perf_counter() - begin < figure_s):
        out.append(timed())
    return out


# ------------------------------------------------------------------ CPU


def probe_cpu(figure_s: float = FIGURE_S) -> Probed:
    """Copies by as many threads as there are cores, and numpy's single-precision matrix product."""
    cores = allowed_cpus() or tuple(range(os.cpu_count() or 1))
    cache = last_level_cache(cores)
    return Probed(
        _cpu_copy(len(cores), cache, figure_s),
        {"fp32": _cpu_matrix(figure_s)},
        cache,
        versions={"numpy": metadata.version("numpy"), "cores": str(len(cores))},
        untold=dict.fromkeys(("bf16", "int8"), "numpy multiplies in single precision only"),
    )


def _cpu_copy(threads: int, cache: int | None, figure_s: float) -> Rate:
    """Each thread copies its own part; numpy lets go of the interpreter's lock while it does."""
    import numpy as np

    size = _buffer_bytes(cache) // threads
    parts = [(np.empty(size, np.uint8), np.empty(size, np.uint8)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda part: [buffer.fill(1) for buffer in part], parts))  # touched by a thread of the pool

        def copied() -> float:
            begin = time.perf_counter()
            list(pool.map(lambda part: np.copyto(*part), parts))
            return time.perf_counter() - begin

        copied()
        return rate_of(2.0 * size * threads, _timings(copied, figure_s))


def _buffer_bytes(cache: int | None) -> int:
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(max(_LEAST_BUFFER, _TIMES_CACHE * (cache or 0)), memory // _SHARE_OF_MEMORY)


def _cpu_matrix(figure_s: float) -> Rate:
    """sgemm of the BLAS that numpy was built with; a size that takes a tenth of a second or so."""
    import numpy as np

    def timed(size: int) -> Callable[[], float]:
        a, b = (np.random.default_rng(seed).standard_normal((size, size), dtype=np.float32) for seed in (1, 2))
        out = np.empty_like(a)

        def multiplied() -> float:
            begin = time.perf_counter()
            np.matmul(a, b, out=out)
            return time.perf_counter() - begin

        multiplied()
        return multiplied

    small = 1024
    size = 4 * small if _products_flops(small) / timed(small)() > 1e12 else 2 * small  # noqa: PLR2004
    return rate_of(_products_flops(size), _timings(timed(size), figure_s))


def _products_flops(size: int) -> float:
    """Of the product of two square matrices: a multiplication and an addition for each of size^3 pairs."""
    return 2.0 * size**3


def last_level_cache(cores: Sequence[int], root: Path = _CACHES) -> int | None:
    """Bytes of the highest cache level that these cores have, each shared one once; None where nothing tells."""
    found: dict[tuple[int, tuple[int, ...]], int] = {}
    for core in cores:
        for index in (root / f"cpu{core}" / "cache").glob("index*"):
            level, shared, size = (_read(index / name) for name in ("level", "shared_cpu_list", "size"))
            if level.isdecimal() and size.endswith("K"):
                found[int(level), parse_cpus(shared) or (core,)] = int(size[:-1]) * 1024
    highest = max((level for level, _ in found), default=None)
    return sum(size for (level, _), size in found.items() if level == highest) or None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


# ------------------------------------------------------------------ GPU


def probe_gpu(figure_s: float = FIGURE_S) -> Probed:
    """Device copies and torch's matrix products in every precision that this device multiplies in."""
    try:
        import torch
    except ImportError as exc:
        return Probed(None, untold={"gpu": f"torch is not installed, which measures a GPU's limits: {exc}"})
    if not torch.cuda.is_available():
        return Probed(None, untold={"gpu": f"torch {torch.__version__} sees no GPU"})
    torch.backends.cuda.matmul.allow_tf32 = False  # fp32 means fp32; TF32 has a figure of its own
    made = torch.cuda.get_device_properties(0)
    copy, why = _told(lambda: _gpu_copy(torch, figure_s))
    matrix, untold = _gpu_matrices(torch, figure_s)
    return Probed(
        copy, matrix, getattr(made, "L2_cache_size", None), str(made.name),
        {"torch": str(torch.__version__), "cuda": str(torch.version.cuda)},
        untold | ({"copy": why} if why else {}),
    )  # fmt: skip


def _told(measure: Callable[[], Rate]) -> tuple[Rate | None, str]:
    """A figure, or why there is none: libraries refuse a precision by whatever exception they like."""
    try:
        return measure(), ""
    except Exception as exc:  # noqa: BLE001 - one precision that fails must not cost the others
        return None, (str(exc).strip().splitlines() or [type(exc).__name__])[0][:300]


def _gpu_copy(torch: Any, figure_s: float) -> Rate:
    free, _ = torch.cuda.mem_get_info()
    size = min(2 * 2**30, free // _SHARE_OF_MEMORY)
    source = torch.ones(size, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return rate_of(2.0 * size, _gpu_timings(torch, lambda: target.copy_(source), figure_s))


def _gpu_matrices(torch: Any, figure_s: float) -> tuple[dict[str, Rate], dict[str, str]]:
    """Rates by precision, and why others have none."""
    size = 8192
    rates: dict[str, Rate] = {}
    untold: dict[str, str] = {}
    for name, make in _PRODUCTS.items():
        rate, why = _told(lambda make=make: _gpu_matrix(torch, make, size, figure_s))  # type: ignore[misc]
        if rate is None:
            untold[name] = why
        else:
            rates[name] = rate
        torch.cuda.empty_cache()
    return rates, untold


def _gpu_matrix(torch: Any, make: Callable[[Any, int], Callable[[], object]], size: int, figure_s: float) -> Rate:
    return rate_of(_products_flops(size), _gpu_timings(torch, make(torch, size), figure_s))


def _normal(torch: Any, size: int) -> Any:
    """Random numbers: products of zeros draw less power, and clocks stay higher than with real weights."""
    return torch.randn(size, size, device="cuda", dtype=torch.float32)


def _plain(dtype: str) -> Callable[[Any, int], Callable[[], object]]:
    def make(torch: Any, size: int) -> Callable[[], object]:
        a, b = (_normal(torch, size).to(getattr(torch, dtype)) for _ in range(2))
        out = torch.empty_like(a)
        return lambda: torch.matmul(a, b, out=out)

    return make


def _tf32(torch: Any, size: int) -> Callable[[], object]:
    multiply = _plain("float32")(torch, size)

    def with_tf32() -> None:
        torch.backends.cuda.matmul.allow_tf32 = True
        try:
            multiply()
        finally:
            torch.backends.cuda.matmul.allow_tf32 = False

    return with_tf32


def _fp8(torch: Any, size: int) -> Callable[[], object]:
    """E4M3 with one scale a matrix; the second matrix by columns, as the kernel wants it."""
    a, b = (_normal(torch, size).to(torch.float8_e4m3fn) for _ in range(2))
    one = torch.ones((), device="cuda")
    return lambda: torch._scaled_mm(  # noqa: SLF001 - torch has no public name for it
        a, b.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True
    )


def _int8(torch: Any, size: int) -> Callable[[], object]:
    a, b = (torch.randint(-127, 127, (size, size), device="cuda", dtype=torch.int8) for _ in range(2))
    return lambda: torch._int_mm(a, b.t())  # noqa: SLF001 - torch has no public name for it


_PRODUCTS: Mapping[str, Callable[[Any, int], Callable[[], object]]] = {
    "bf16": _plain("bfloat16"),
    "fp16": _plain("float16"),
    "fp8": _fp8,
    "int8": _int8,
    "fp32": _plain("float32"),
    "tf32": _tf32,
}
_WARM_UP, _BATCH_S = 3, 0.02


def _gpu_timings(torch: Any, call: Callable[[], object], figure_s: float) -> list[float]:
    """Seconds of one call by the device's own clock, each the mean of a batch that lasts 20 ms or more."""
    for _ in range(_WARM_UP):
        call()
    batch = max(1, round(_BATCH_S / max(_gpu_seconds(torch, call, 1), 1e-6)))
    return _timings(lambda: _gpu_seconds(torch, call, batch), figure_s)


def _gpu_seconds(torch: Any, call: Callable[[], object], batch: int) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(batch):
        call()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1e3 / batch


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
