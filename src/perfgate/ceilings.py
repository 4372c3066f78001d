"""Which limits a device has: measured once in a child process, then read from the state folder."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from perfgate.case import short_hash
from perfgate.ceiling_probe import Probed, ProbeJob, Unit
from perfgate.device import Device
from perfgate.engines.installed import version_of
from perfgate.errors import PerfgateError, RoundError
from perfgate.leases import name_of
from perfgate.process import Files, run_module
from perfgate.record import decode, encode, encode_pretty, now, read_record, write_atomic
from perfgate.roofline import Ceilings

CEILINGS_SCHEMA = 1
_TIMEOUT_S = 120.0  # a probe takes some 5 s; importing torch and starting CUDA may take a minute


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of the cache."""

    ceilings: Ceilings
    schema: int = CEILINGS_SCHEMA


def read_ceilings(path: Path) -> Ceilings:
    """The limits in a file of the cache.

    Raises:
        RecordError: it is damaged, or none.
    """
    return read_record(path, Kept, CEILINGS_SCHEMA).ceilings


class CeilingStore:
    """The limits of devices, one file for each device, driver, version of what measures and set of cores."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "ceilings"

    def find(self, device: Device, cpus: tuple[int, ...] = ()) -> Ceilings | None:
        """Those of a device, if they were measured with what is installed now; a damaged file counts as none."""
        try:
            return read_ceilings(self._path(device, cpus))
        except PerfgateError:
            return None

    def newest_of(self, device: str, product: str) -> Ceilings | None:
        """Those of a device by its key, whatever they were measured with; None where none are kept."""
        kept = []
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(PerfgateError):
                kept.append(read_ceilings(path))
        mine = [one for one in kept if (one.device, one.product) == (device, product)]
        return max(mine, key=lambda one: one.measured, default=None)

    def get(
        self, device: Device, cpus: tuple[int, ...] = (), kept_open: tuple[int, ...] = (), *, fresh: bool = False
    ) -> Ceilings:
        """The same, measured now where there are none. Takes the machine for some seconds: lease it before.

        What was measured on a disturbed machine is given but not kept, so that the next call measures again.
        kept_open: descriptors that what measures holds meanwhile (`perfgate.leases`).

        Raises:
            RoundError: they cannot be measured here, with the reason.
        """
        found = None if fresh else self.find(device, cpus)
        if found is None:
            found = measure_ceilings(device, self._folder / "work" / name_of(device), cpus, kept_open)
            if not found.doubt:
                write_atomic(self._path(device, cpus), encode_pretty(Kept(found)))
        return found

    def _path(self, device: Device, cpus: tuple[int, ...]) -> Path:
        parts = {"device": device.key, "product": device.product, "cpus": cpus, **made_with(device)}
        name = re.sub(r"[^a-z0-9]+", "-", device.key.lower())
        return self._folder / f"{name}-{short_hash(parts)}.json"


def made_with(device: Device) -> Mapping[str, str]:
    """What the measured limits depend on beside the device: the measuring library and the driver."""
    library = "torch" if device.is_gpu else "numpy"
    versions = {library: version_of(library) or "not installed"}
    return versions | ({"driver": device.driver} if device.driver else {})


def measure_ceilings(
    device: Device, folder: Path, cpus: tuple[int, ...] = (), kept_open: tuple[int, ...] = ()
) -> Ceilings:
    """Measure in a process of its own, which holds the descriptors `kept_open` meanwhile.

    Raises:
        RoundError: the probe failed, or this device or installation has nothing to measure with.
    """
    unit = Unit.GPU if device.is_gpu else Unit.CPU
    found = probe(ProbeJob(unit, cpus), folder, kept_open)
    if found.copy is None:
        raise RoundError("; ".join(found.untold.values()) or "the probe found nothing")
    return Ceilings(
        device.key, found.product or device.product, {**made_with(device), **found.versions}, now(), found.copy,
        found.matrix, found.cache_bytes, found.untold, found.foreign_share,
    )  # fmt: skip


def probe(job: ProbeJob, folder: Path, kept_open: tuple[int, ...] = ()) -> Probed:
    """What the child process found.

    Raises:
        RoundError: it did not end well.
    """
    files = Files.of(folder, f"ceilings-{job.unit}")
    write_atomic(files.job, encode(job))
    ended = run_module("perfgate.ceiling_probe", files.args, _TIMEOUT_S, files.log, kept_open=kept_open)
    if ended.code != 0 or not files.result.exists():
        raise RoundError(f"the probe ended with code {ended.code}: {ended.last_words} (log: {ended.log})")
    return decode(files.result.read_bytes(), Probed, files.result)
