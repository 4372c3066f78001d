"""Leases: one program at a time measures on a device of this machine, by a locked file for each device.

The lock is flock(2)'s: it ends with the last process that holds the file open, however that ended, so that a dead
holder's lease is free at once and no stale file ever blocks. Measuring processes keep the file open too: a lease
whose gate was killed is free when its last round has ended. What stands in the file is for messages only.

Seats in a state folder are held in the same way (`perfgate.seats`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shlex
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from perfgate.case import EngineSpec
from perfgate.device import Device
from perfgate.engines.redaction import masked_argv, secrets_in, without, without_forms
from perfgate.errors import RecordError, StorageError, UsageError
from perfgate.plain_file import check_plain
from perfgate.record import decode, encode, now, printable
from perfgate.stopping import breakable

VARIABLE = "PERFGATE_LEASES"
WAIT_S = 3600.0  # where nothing else is said: as long as most gates may last
_EVERY_S = 0.2
_LONGEST_COMMAND = 200
# a link in a folder of everybody's could name any file, and a named pipe would be waited for
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Place:
    """What is leased: the name of its lock file, and how people call it ('sm_90/h200-141gb #0').

    folder: of the lock file; None: the machine's own. busy: what a holder does to it. instead: of waiting.
    """

    file: str
    name: str
    folder: Path | None = None
    busy: str = "is measured on by"
    instead: str = "name another device (CUDA_VISIBLE_DEVICES)"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease. born: the process's start in clock ticks since boot, which tells a pid used again."""

    pid: int
    born: int
    command: str
    since: str  # UTC, ISO 8601

    @property
    def is_alive(self) -> bool:
        return _born(self.pid) == self.born

    def __str__(self) -> str:
        gone = "" if self.is_alive else "; no such process here: killed with rounds still ending, or in a container"
        return printable(f"pid {self.pid}'s gate, since {self.since} ({without_forms(self.command)}{gone})")


@dataclass(frozen=True, slots=True)
class Wait:
    """How long to wait for a lease, and who is told that we do.

    option: of the command at work, which would allow more time; empty where it has none.
    """

    most_s: float
    tell: Callable[[str], None]
    option: str = ""


def places(device: Device, specs: Iterable[EngineSpec]) -> tuple[Place, ...]:
    """What engines use, the first GPUs that they see or the CPU as a whole; each is one place.

    A GPU goes by its own id, as CUDA_VISIBLE_DEVICES may name it by index in one program and by id in another.
    """
    if not device.is_gpu:
        return (Place("cpu", device.key),)
    count = max((spec.tp * spec.pp for spec in specs), default=1)
    return tuple(Place(file_of(gpu.uuid), f"{device.key} #{gpu.index}") for gpu in device.gpus[:count])


def name_of(device: Device) -> str:
    """What is the device's own in a state folder has this in its path: its first GPU's id, else 'cpu'."""
    return file_of(device.gpus[0].uuid) if device.gpus else "cpu"


def file_of(uuid: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "_", f"gpu-{uuid}")[:100]


@contextmanager
def leased(wanted: Sequence[Place], wait: Wait) -> Iterator[tuple[int, ...]]:
    """Hold the leases of devices for the body; gives their descriptors, for children to keep open.

    Raises:
        UsageError: others held one for longer than we may wait, or no lock can be made.
    """
    deadline = time.monotonic() + wait.most_s
    with ExitStack() as stack:
        # in one order everywhere, so that no two programs wait for each other
        yield tuple(stack.enter_context(_one(place, deadline, wait)) for place in sorted(wanted, key=lambda p: p.file))


@contextmanager
def _one(place: Place, deadline: float, wait: Wait) -> Iterator[int]:
    handle = _opened(place.folder or _folder(), place)
    try:
        _lock(handle, place, deadline, wait)
        _sign(handle)
        yield handle
    finally:
        os.close(handle)  # children that keep it open hold the lease until they end


def _lock(handle: int, place: Place, deadline: float, wait: Wait) -> None:
    told: str | None = None
    while not _try(handle):
        holder = str(_holder(handle) or "a gate that is just starting")
        if time.monotonic() >= deadline:
            more = f", allow more time ({wait.option} 2h)," if wait.option else ""
            raise UsageError(
                f"{place.name} {place.busy} {holder}; waited {wait.most_s:g} s. Wait for its end{more} or "
                f"{place.instead}"
            )
        if holder != told:
            wait.tell(f"waiting for {place.name}: it {place.busy} {holder}")
            told = holder
        with breakable():
            time.sleep(_EVERY_S)


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(handle: int) -> None:
    me = Holder(os.getpid(), _born(os.getpid()) or 0, _command(), now())
    os.ftruncate(handle, 0)
    os.pwrite(handle, encode(me), 0)


def _holder(handle: int) -> Holder | None:
    """What the file says; None while its holder has not signed yet."""
    try:
        return decode(os.pread(handle, 4096, 0), Holder, "a lease")
    except RecordError:
        return None


def _command() -> str:
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):  # whose command line says nothing
        return f"pytest worker {worker}"
    secrets = secrets_in(sys.argv, os.environ)  # everybody may read the file
    words = [without(word, secrets) for word in masked_argv([Path(sys.argv[0]).name, *sys.argv[1:]])]
    return printable(shlex.join(words))[:_LONGEST_COMMAND]


def _born(pid: int) -> int | None:
    """Field 22 of `proc_pid_stat(5)`; None where there is no such process."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return int(after_name[19])


def _folder() -> Path:
    """One for all users of the machine, unless the variable names another."""
    named = os.environ.get(VARIABLE)
    folder = Path(named) if named else Path(tempfile.gettempdir()) / "perfgate-leases"
    try:
        folder.mkdir(parents=bool(named))
        folder.chmod(0o1777)
    except FileExistsError:
        pass
    except OSError as exc:
        raise _refused(folder, exc) from exc
    return folder


def _opened(folder: Path, place: Place) -> int:
    path = folder / f"{place.file}.lock"
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "it is not a folder")
        return _checked(_open_or_make(path), path)
    except OSError as exc:
        raise (StorageError.of(exc, path) if place.folder else _refused(path, exc)) from exc


def _open_or_make(path: Path) -> int:
    """Never O_CREAT on a file that is there: the kernel refuses that for files of other users in shared folders."""
    try:
        return os.open(path, _OPEN)
    except FileNotFoundError:
        pass
    try:
        handle = os.open(path, _OPEN | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return os.open(path, _OPEN)
    os.fchmod(handle, 0o666)  # whatever the umask
    return handle


def _checked(handle: int, path: Path) -> int:
    """The handle of a file that has no other name: what is signed here must not be written to somebody's own.

    Raises:
        OSError: it is something else; it is closed, with nothing written.
    """
    with ExitStack() as refused:
        refused.callback(os.close, handle)
        found = os.fstat(handle)
        check_plain(path, found.st_mode)
        if found.st_nlink != 1:
            raise OSError(errno.EMLINK, f"it is a file of {found.st_nlink} names (hard links), expected one of its own")
        refused.pop_all()
    return handle


def _refused(path: Path, exc: OSError) -> UsageError:
    return UsageError(
        f"no lease of the device can be taken: {path}: {exc.strerror}; let {VARIABLE} name a folder that everybody "
        "who measures on this machine may write to"
    )
