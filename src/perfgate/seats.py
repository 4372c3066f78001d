"""Where work lies in a state folder, by device; and who may touch it: one program at a time.

A lease of the device ends with the last round, but a journal stays until its rounds are in the reports. So a gate has
a seat too, taken before the journal is read and left when the gate is closed: whoever begins meanwhile waits, and
finds no rounds of others to take up. Gates on two devices have two seats, journals and folders, and share no file.
"""

from __future__ import annotations

from pathlib import Path

from perfgate.device import Device
from perfgate.errors import StorageError
from perfgate.leases import Place, name_of


def journal_path(state: Path, work: str, device: Device) -> Path:
    """work: what its rounds are of: a suite's name, or that of a sweep, a tuning or a quantising of it."""
    return state / "journal" / f"{work}@{name_of(device)}.jsonl"


def work_folder(state: Path, device: Device) -> Path:
    """Jobs, results and logs of child processes that work on a device: whoever holds its lease writes there."""
    return state / "work" / name_of(device)


def gate_seat(state: Path, suite: str, device: Device) -> Place:
    """The seat of a suite's gates on a device.

    Raises:
        StorageError: the state folder cannot be written to.
    """
    return _seat(state, f"{suite}@{name_of(device)}", f"suite {suite} in {state}")


def search_seat(state: Path, work: str) -> Place:
    """The seat of sweeps, tunings or quantisings, of whatever suite and device: they share a folder of that name.

    Raises:
        StorageError: the state folder cannot be written to.
    """
    return _seat(state, work, f"{state / work}")


def _seat(state: Path, file: str, name: str) -> Place:
    folder = state / "seats"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageError.of(exc, folder) from exc
    return Place(file, name, folder, "is held, until its reports are written, by", "name another state folder")
