"""Which code stands here: its commit, and what of it is not committed."""

from __future__ import annotations

import hashlib
import subprocess
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 10.0
_MOST_FILES = 2000  # untracked ones that are read; of others, and of large ones, size and time count
_MOST_BYTES = 2**20
_DIFF = ("diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color", "--full-index", "--submodule=diff")
_UNTRACKED = ("ls-files", "-z", "--others", "--exclude-standard", "--", "*.py")


@dataclass(frozen=True, slots=True)
class Code:
    """commit: as `git describe` says; both are empty outside git. changes: what tells two '-dirty' trees apart."""

    commit: str
    changes: str


def code_here(state: Path) -> Code:
    """The code of the folder we run in. state: the folder whose files are no code, as they are ours.

    What git does not tell in time is like nothing else, so that nothing is taken for the same by accident.
    """
    commit = commit_here()
    try:
        return Code(commit, _changes(state.resolve()) if commit else "")
    except (OSError, subprocess.SubprocessError):
        return Code(commit, uuid.uuid4().hex)


def commit_here() -> str:
    """The commit of the folder we run in; '-dirty' where it has changes; empty outside git."""
    try:
        return _git("describe", "--always", "--dirty", "--abbrev=12").decode(errors="replace").strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _changes(state: Path) -> str:
    """A digest of the changes of tracked files, and of untracked files of Python, of the whole repository."""
    top = Path(_git("rev-parse", "--show-toplevel").decode().rstrip("\n"))
    found = hashlib.sha256(_git(*_DIFF, folder=top))
    names = _git(*_UNTRACKED, folder=top).decode(errors="surrogateescape").split("\0")
    paths = (top / name for name in sorted(filter(None, names)))
    for told in _told(path for path in paths if not path.is_relative_to(state)):
        found.update(told)
    return found.hexdigest()[:16]


def _told(paths: Iterable[Path]) -> Iterable[bytes]:
    for number, path in enumerate(paths):
        yield bytes(path)
        if not path.is_file():
            continue
        there = path.stat()
        is_read = number < _MOST_FILES and there.st_size <= _MOST_BYTES
        yield hashlib.sha256(path.read_bytes()).digest() if is_read else f"{there.st_size} {there.st_mtime_ns}".encode()


def _git(*words: str, folder: Path | None = None) -> bytes:
    command: list[str] = ["git", *words]
    run: Callable[..., subprocess.CompletedProcess[bytes]] = subprocess.run
    return run(command, cwd=folder, capture_output=True, timeout=_TIMEOUT_S, check=True).stdout
