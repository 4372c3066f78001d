"""pytest-xdist: the controller measures and judges, once; its workers name the selected cases and get the verdicts.

They talk through files in a folder of their own. What a worker does not find there is an error, never a pass.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.errors import RecordError
from perfgate.record import RUN_SCHEMA, Run, decode, encode, pieces, read_record, write_atomic

if TYPE_CHECKING:
    from perfgate.comparison import Comparison


class Role(Enum):
    """What this process is to a pytest session."""

    ALONE = auto()
    CONTROLLER = auto()  # of workers: collects and runs nothing itself
    WORKER = auto()


def role_of(config: pytest.Config) -> Role:
    if hasattr(config, "workerinput"):
        return Role.WORKER
    return Role.CONTROLLER if config.pluginmanager.hasplugin("dsession") else Role.ALONE


def workers_of(config: pytest.Config) -> int:
    """How many workers a controller was asked for."""
    return len(getattr(config.option, "tx", None) or ()) or int(getattr(config.option, "numprocesses", 0) or 0)


@dataclass(frozen=True, slots=True)
class Selection:
    """The ids of the cases that a worker's tests are about; or what is wrong with suite or options."""

    cases: tuple[str, ...]
    fault: str | None = None


class Exchange:
    """The files of one session with workers; `worker` is the worker's input, on either side of the line."""

    def __init__(self, worker: dict[str, Any]) -> None:
        self._name = str(worker["workerid"])
        self.folder = Path(tempfile.gettempdir()) / f"perfgate-{worker['testrunuid']}"

    def tell_selection(self, selection: Selection) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if self.folder.lstat().st_uid != os.getuid():
            raise pytest.UsageError(f"perfgate: {self.folder} belongs to somebody else; choose another --testrunuid")
        write_atomic(self.folder / f"{self._name}.json", encode(selection))

    def selection(self) -> Selection | None:
        """What this worker said; None where none of its tests is about a case."""
        path = self.folder / f"{self._name}.json"
        return decode(path.read_bytes(), Selection, path) if path.exists() else None

    def tell_verdicts(self, run: Run, comparison: Comparison) -> None:
        write_atomic(self.folder / "run.json", pieces(run))
        write_atomic(self.folder / "comparison.json", encode(comparison))

    def verdicts(self) -> tuple[Run, Comparison] | None:
        """What the controller found; None where it measured nothing, which is never a pass."""
        from perfgate.comparison import COMPARISON_SCHEMA, Comparison

        try:
            run = read_record(self.folder / "run.json", Run, RUN_SCHEMA)
            return run, read_record(self.folder / "comparison.json", Comparison, COMPARISON_SCHEMA)
        except RecordError:
            return None

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def refuse_workers(config: pytest.Config, asked: Sequence[str]) -> None:
    """Refuse what more than one worker would do twice, or not at all.

    asked: the options given, of those that change a baseline or only list.

    Raises:
        UsageError: one line for all of them.
    """
    count = workers_of(config)
    if asked and count > 1:
        raise pytest.UsageError(f"perfgate: {', '.join(asked)} with {count} workers: run it without -n (or with -n 1)")
