"""The sqlite file of a history: made whole, opened with its schema checked, shared by processes.

Three tables: `run` (one row per gate), `series` (suite, device, case, engine and metric: what values are
comparable with what) and `measured` (the rounds of a series in a run and on a side, as two JSON lists:
numbers row by row read several times slower; `unchanged` is 1 where the gate found a candidate to be as its
baseline). The view `value` has one row per value, for people.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from perfgate.errors import RecordError

HISTORY_SCHEMA = 2
BUSY_S = 60.0  # how long to wait for another process that is adding a run

_TABLES = """
CREATE TABLE run (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, suite TEXT NOT NULL, device TEXT NOT NULL,
  product TEXT NOT NULL, started TEXT NOT NULL, commit_id TEXT NOT NULL, versions TEXT NOT NULL,
  value_count INTEGER NOT NULL);
CREATE TABLE series (
  number INTEGER PRIMARY KEY, suite TEXT NOT NULL, device TEXT NOT NULL, case_id TEXT NOT NULL,
  case_hash TEXT NOT NULL, engine TEXT NOT NULL, engine_key TEXT NOT NULL, metric TEXT NOT NULL,
  unit TEXT NOT NULL, UNIQUE (suite, device, case_id, case_hash, engine_key, metric));
CREATE TABLE measured (
  series INTEGER NOT NULL REFERENCES series, run INTEGER NOT NULL REFERENCES run, side TEXT NOT NULL,
  rounds TEXT NOT NULL, figures TEXT NOT NULL, unchanged INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (series, run, side))
  WITHOUT ROWID;
CREATE VIEW value AS
  SELECT run.id AS run, run.suite, run.device, run.product, run.started, run.commit_id, series.case_id,
    series.case_hash, series.engine, series.engine_key, measured.side, place.value AS round, series.metric,
    series.unit, figure.value AS value
  FROM measured JOIN series ON series.number = measured.series JOIN run ON run.number = measured.run,
    json_each(measured.rounds) AS place JOIN json_each(measured.figures) AS figure ON figure.key = place.key;
"""

_FROM_SCHEMA_1 = "ALTER TABLE measured ADD COLUMN unchanged INTEGER NOT NULL DEFAULT 0"

Row = tuple[Any, ...]


class HistoryFile:
    """An open history file. Every method raises RecordError where the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._told():
            if not path.exists():
                _make(path)
            self._store = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        try:
            if self._schema() == 1:
                self._bring_up()
            self._check_schema()
        except RecordError:
            self.close()
            raise

    def close(self) -> None:
        self._store.close()

    def rows(self, question: str, values: Sequence[object] = ()) -> Iterator[Row]:
        """The rows of a SELECT, read as they are asked for."""
        with self._told():
            yield from self._store.execute(question, values)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing. The write lock is taken at the start, so that writers wait for each other."""
        with self._told():
            self._store.execute("BEGIN IMMEDIATE")
            try:
                yield self._store
            except BaseException:
                if self._store.in_transaction:  # sqlite itself has rolled back where the disk is full
                    self._store.execute("ROLLBACK")
                raise
            self._store.execute("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """An error of sqlite's becomes one line that names the file."""
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError) as exc:
            raise RecordError(
                f"{self.path} cannot be used as history: {exc}; if it is damaged, move it away: a new one is begun"
            ) from exc

    def _schema(self) -> int:
        ((found,),) = self.rows("PRAGMA user_version")
        return int(found)

    def _bring_up(self) -> None:
        """A file of schema 1 gets the new column, unless another process was faster; no session of it is trusted."""
        with self.transaction() as store:
            if self._schema() == 1:
                store.execute(_FROM_SCHEMA_1)
                store.execute("PRAGMA user_version = 2")

    def _check_schema(self) -> None:
        found = self._schema()
        if found == 0:
            raise RecordError(f"{self.path} is no perfgate history; move it away or set PERFGATE_HISTORY")
        if found != HISTORY_SCHEMA:
            raise RecordError(
                f"{self.path} has schema {found}, this perfgate reads {HISTORY_SCHEMA}; use the perfgate that wrote it"
            )


def _make(path: Path) -> None:
    """An empty history, made aside and linked into place: two processes that do this at once both find it whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        fresh = Path(folder) / path.name
        store = sqlite3.connect(fresh)
        try:
            store.execute("PRAGMA journal_mode = WAL")
            store.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {HISTORY_SCHEMA}; COMMIT;")
        finally:
            store.close()
        with suppress(FileExistsError):
            path.hardlink_to(fresh)
