"""Trailing history: every valid value of every run, asked by engine (what is known) or over time (the trail)."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Self

from perfgate.errors import RecordError
from perfgate.history_export import Value, write_values
from perfgate.history_file import HistoryFile, Row
from perfgate.measured import Point, Series, measured
from perfgate.record import Run, Side, decode, encode

_MEASURED = """
FROM series JOIN measured ON measured.series = series.number JOIN run ON run.number = measured.run
"""
_ADD_RUN = "INSERT INTO run VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
_ADD_SERIES = "INSERT OR IGNORE INTO series VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)"
_ADD_MEASURED = """
INSERT INTO measured SELECT number, ?, ?, ?, ?, ? FROM series
WHERE suite = ? AND device = ? AND case_id = ? AND case_hash = ? AND engine_key = ? AND metric = ?
"""


def history_path(state: Path) -> Path:
    """Where the history lies: `PERFGATE_HISTORY`, else `history.sqlite` in the state folder."""
    return Path(os.environ.get("PERFGATE_HISTORY") or state / "history.sqlite")


@dataclass(frozen=True, slots=True)
class Session:
    """One stored run."""

    id: str
    suite: str
    device: str
    product: str
    started: str  # UTC, ISO 8601
    commit: str
    versions: Mapping[str, str]
    values: int  # how many are stored of it


@dataclass(frozen=True, slots=True)
class Sessions:
    """The rounds of one engine and metric, oldest session first."""

    started: tuple[str, ...]  # UTC, ISO 8601: when the run of each session began
    values: tuple[tuple[float, ...], ...]  # [session][round]
    is_trusted: tuple[bool, ...]  # [session]: the engine was found as it was, or measured beside another one


@dataclass(frozen=True, slots=True)
class LatestRounds:
    """The newest session of a case: by metric the candidate's rounds. started: UTC, ISO 8601."""

    case: str
    started: str
    product: str
    metrics: Mapping[str, tuple[float, ...]]


class History:
    """The store, open inside a `with` block; made on first use.

    Every method raises RecordError where the file is damaged, of a newer schema, or cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: HistoryFile | None = None

    def __enter__(self) -> Self:
        self._open = HistoryFile(self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._open = None

    @property
    def _file(self) -> HistoryFile:
        assert self._open is not None, "a History is used inside its `with` block"
        return self._open

    def add(self, run: Run, baseline_keys: Mapping[str, str], unchanged: Collection[tuple[str, str]] = ()) -> bool:
        """Store a run's valid values in one transaction; whether anything was stored.

        baseline_keys: the engine key of each case's baseline; baseline rounds of other cases are left out.
        unchanged: case id and metric of what the gate found to be as its baseline.
        Nothing is stored of a run with a planted regression, without a valid value, or already there.
        """
        values = {} if run.environment.inject else measured(run, baseline_keys)
        if not values:
            return False
        with self._file.transaction() as store:
            number = _add_run(store, run, sum(map(len, values.values())))
            if number is None:
                return False
            for (series, side), figures in values.items():
                store.execute(_ADD_SERIES, astuple(series))
                is_unchanged = side is Side.CANDIDATE and (series.case, series.metric) in unchanged
                _add_measured(store, (number, side), series, figures, is_unchanged=is_unchanged)
        return True

    def sessions(self, suite: str | None = None, device: str | None = None) -> list[Session]:
        """The stored runs, oldest first; of one suite or device where named."""
        rows = self._file.rows(
            "SELECT id, suite, device, product, started, commit_id, versions, value_count FROM run"
            " WHERE suite = coalesce(?, suite) AND device = coalesce(?, device) ORDER BY started, number",
            (suite, device),
        )
        return [self._session(row) for row in rows]

    def cases(self, suite: str, device: str) -> Mapping[str, str]:
        """The hash under which each case was measured last, by case id."""
        rows = self._file.rows(
            "SELECT series.case_id, series.case_hash, max(run.started)" + _MEASURED +
            "WHERE series.suite = ? AND series.device = ? AND side = ? GROUP BY series.case_id ORDER BY series.case_id",
            (suite, device, Side.CANDIDATE),
        )  # fmt: skip
        return {case: case_hash for case, case_hash, _ in rows}

    def known(
        self, suite: str, device: str, cases: Mapping[str, tuple[str, str]], before: str | None = None
    ) -> Mapping[tuple[str, str], Sessions]:
        """All sessions of exactly these engines, oldest first, and which of them level and noise may be learnt from.

        cases: (case hash, engine key) by case id. before: only sessions that began earlier (UTC, ISO 8601). Returned
        by (case id, metric); an engine measured on both sides of a run has one session there, in order of rounds.
        """
        runs = self._file.rows(
            "SELECT number, started FROM run WHERE suite = ? AND device = ? AND (? IS NULL OR started < ?)"
            " ORDER BY started, number",
            (suite, device, before, before),
        )
        order = {number: (place, started) for place, (number, started) in enumerate(runs)}
        found: dict[tuple[str, str], Sessions] = {}
        for case, (case_hash, engine_key) in cases.items():
            rows = self._file.rows(
                "SELECT metric, number, run, figures, side, unchanged"
                " FROM series JOIN measured ON measured.series = series.number"
                " WHERE suite = ? AND device = ? AND case_id = ? AND case_hash = ? AND engine_key = ? ORDER BY metric",
                (suite, device, case, case_hash, engine_key),
            )
            for metric, mine in groupby((row for row in rows if row[2] in order), itemgetter(0)):
                ordered = sorted(mine, key=lambda row: order[row[2]])
                numbers = dict.fromkeys(row[2] for row in ordered)
                suspect = {run for _, _, run, _, side, same in ordered if side == Side.CANDIDATE and not same}
                found[case, metric] = Sessions(
                    tuple(order[run][1] for run in numbers),
                    self._sessions([row[:4] for row in ordered]),
                    tuple(run not in suspect for run in numbers),
                )
        return found

    def trail(
        self, suite: str, device: str, case: str, case_hash: str, before: str | None = None
    ) -> Mapping[str, tuple[Point, ...]]:
        """Per metric the candidate's sessions over time, oldest first: what creep is watched on.

        before: only sessions that began earlier (UTC, ISO 8601).
        """
        rows = self._file.rows(
            "SELECT metric, run.number, side, engine_key, figures, run.id, run.started, commit_id" + _MEASURED +
            "WHERE series.suite = ? AND series.device = ? AND case_id = ? AND case_hash = ?"
            " AND (? IS NULL OR run.started < ?) ORDER BY metric, run.started, run.number",
            (suite, device, case, case_hash, before, before),
        )  # fmt: skip
        points: dict[str, list[Point]] = {}
        for (metric, _), mine in groupby(rows, itemgetter(0, 1)):
            sides = {row[2]: row for row in mine}
            if Side.CANDIDATE in sides:
                points.setdefault(metric, []).append(self._point(sides))
        return {metric: tuple(trail) for metric, trail in points.items()}

    def latest(self, suite: str, device: str, cases: Mapping[str, str]) -> list[LatestRounds]:
        """The newest session of exactly these cases (hash by case id), of those that have any."""
        return [one for case, case_hash in cases.items() for one in self._latest(suite, device, case, case_hash)]

    def _latest(self, suite: str, device: str, case: str, case_hash: str) -> Iterator[LatestRounds]:
        rows = self._file.rows(
            "SELECT run.number, run.started, product, metric, figures" + _MEASURED +
            "WHERE series.suite = ? AND series.device = ? AND case_id = ? AND case_hash = ? AND side = ?"
            " ORDER BY run.started DESC, run.number DESC, metric",
            (suite, device, case, case_hash, Side.CANDIDATE),
        )  # fmt: skip
        for _, mine in groupby(rows, itemgetter(0)):
            newest = list(mine)
            _, started, product, _, _ = newest[0]
            yield LatestRounds(case, started, product, {row[3]: self._floats(row[4]) for row in newest})
            return

    def export(self, path: Path) -> int:
        """Write all values to a `.csv` or `.parquet` file, whole or not at all; returns how many rows.

        Raises:
            UsageError: another suffix, no pyarrow for Parquet, or a folder that cannot be written.
        """
        return write_values(path, self._values())

    # ------------------------------------------------------------------ rows

    def _values(self) -> Iterator[Value]:
        rows = self._file.rows(
            "SELECT run.id, run.suite, run.device, product, run.started, commit_id, case_id, case_hash, engine,"
            " engine_key, side, metric, unit, rounds, figures" + _MEASURED +
            "ORDER BY run.started, run.number, case_id, side DESC, metric",
        )  # fmt: skip
        for row in rows:
            for place, value in self._rounds(row[13], row[14]):
                yield Value(*(*row[:11], place, *row[11:13], value))

    def _session(self, row: Row) -> Session:
        *head, versions, count = row
        return Session(*(*head, decode(versions.encode(), dict[str, str], self.path), count))

    def _sessions(self, rows: Sequence[Row]) -> tuple[tuple[float, ...], ...]:
        """[session][round] of rows (metric, series, run, figures); the sides of one run become one session."""
        if len({run for _, _, run, _ in rows}) == len(rows):
            lists = f"[{','.join([figures for _, _, _, figures in rows])}]"
            return decode(lists.encode(), tuple[tuple[float, ...], ...], self.path)
        return tuple(self._session_of(series, run) for series, run in dict.fromkeys(row[1:3] for row in rows))

    def _session_of(self, series: int, run: int) -> tuple[float, ...]:
        sides = self._file.rows("SELECT rounds, figures FROM measured WHERE series = ? AND run = ?", (series, run))
        return tuple(value for _, value in sorted(pair for side in sides for pair in self._rounds(*side)))

    def _rounds(self, places: str, figures: str) -> list[tuple[int, float]]:
        """(round index, value) of one row of `measured`."""
        indexes, values = decode(places.encode(), tuple[int, ...], self.path), self._floats(figures)
        if len(indexes) != len(values):
            raise RecordError(
                f"{self.path} is damaged: found {len(values)} values of {len(indexes)} rounds; move it away"
            )
        return list(zip(indexes, values, strict=True))

    def _point(self, sides: Mapping[str, Row]) -> Point:
        *_, engine_key, figures, run, started, commit = sides[Side.CANDIDATE]
        mine = Point(run, started, commit, engine_key, statistics.median(self._floats(figures)))
        if Side.BASELINE not in sides:
            return mine
        *_, key, figures, _, _, _ = sides[Side.BASELINE]
        return Point(run, started, commit, engine_key, mine.level, key, statistics.median(self._floats(figures)))

    def _floats(self, text: str) -> tuple[float, ...]:
        found = decode(text.encode(), tuple[float, ...], self.path)
        if not found:
            raise RecordError(f"{self.path} is damaged: found no value where a series has one; move it away")
        return found


def _add_run(store: sqlite3.Connection, run: Run, values: int) -> int | None:
    """The new run's number; None where this run is there already."""
    made = run.environment
    done = store.execute(
        _ADD_RUN,
        (_id(run), run.suite, made.device, made.product, run.started, made.commit, _text(made.versions), values),
    )
    return done.lastrowid if done.rowcount else None


def _add_measured(
    store: sqlite3.Connection, of: tuple[int, Side], series: Series, figures: Mapping[int, float], *,
    is_unchanged: bool,
) -> None:  # fmt: skip
    """of: number of the run, and side."""
    same = (series.suite, series.device, series.case, series.case_hash, series.engine_key, series.metric)
    store.execute(_ADD_MEASURED, (*of, _text(list(figures)), _text(list(figures.values())), is_unchanged, *same))


def _id(run: Run) -> str:
    """32 hex digits of a run's start and rounds: those of two hosts differ, those of the same run.json do not.

    Nor do those of a gate that was killed after its run was stored, and taken up again: only its engines came from
    the cache then. It is the hash of `encode([suite, device, started, rounds])`, made a round at a time.
    """
    digest = hashlib.sha256(encode([run.suite, run.environment.device, run.started])[:-1] + b",[")
    for number, one in enumerate(run.rounds):
        digest.update((b"," if number else b"") + encode(one))
    digest.update(b"]]")
    return digest.hexdigest()[:32]


def _text(record: object) -> str:
    return encode(record).decode()
