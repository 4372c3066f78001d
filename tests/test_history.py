from __future__ import annotations

import csv
import hashlib
import json
import signal
import sqlite3
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfgate.errors import RecordError, UsageError
from perfgate.history import History, history_path
from perfgate.history_export import COLUMNS, Value, write_values
from perfgate.history_file import HISTORY_SCHEMA
from perfgate.record import (
    RUN_SCHEMA,
    CaseInfo,
    CaseRound,
    Environment,
    PreparedInfo,
    Round,
    Run,
    Side,
    encode,
    read_record,
    write_atomic,
)

DEVICE = "sm_90/h200-141gb"
MADE = Environment(DEVICE, "NVIDIA H200", {"fake": "1.0"}, "0b1c2d3")
CASE = CaseInfo("e-c", "e", "latency", "00ff")
KNOWN = {"e-c": ("00ff", "k1")}


def _round(index: int, value: float, side: Side = Side.CANDIDATE, fault: str | None = None) -> Round:
    return Round("e", side, index, "", 1.0, (CaseRound("e-c", {"itl_p50": value}),), fault=fault)


def _run(
    day: int,
    values: Sequence[float],
    beside: Sequence[float] = (),
    key: str = "k1",
    commit: str = "0b1c2d3",
) -> Run:
    """Candidate rounds 0, 1, ... and then the baseline's."""
    rounds = [_round(index, value) for index, value in enumerate(values)]
    rounds += [_round(len(values) + index, value, Side.BASELINE) for index, value in enumerate(beside)]
    started = f"2026-01-{day:02}T08:00:00+00:00"
    prepared = PreparedInfo("e", key, False, {}, 10, {})
    return Run("small", started, replace(MADE, commit=commit), (CASE,), (prepared,), tuple(rounds))


def _known(
    history: History, cases: Mapping[str, tuple[str, str]] = KNOWN
) -> dict[tuple[str, str], tuple[tuple[float, ...], ...]]:
    return {key: one.values for key, one in history.known("small", DEVICE, cases).items()}


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with History(tmp_path / "state" / "history.sqlite") as store:
        yield store


# ---------------------------------------------------------------------- where


def test_the_history_lies_in_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERFGATE_HISTORY", raising=False)

    assert history_path(tmp_path) == tmp_path / "history.sqlite"


@pytest.mark.parametrize(("value", "expected"), [("/else/h.sqlite", "/else/h.sqlite"), ("", "state/history.sqlite")])
def test_the_environment_decides_where_it_is_set(value: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERFGATE_HISTORY", value)

    assert history_path(Path("state")) == Path(expected)


# ---------------------------------------------------------------------- adding


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.6]])
def test_a_run_keeps_the_id_that_earlier_versions_gave_it(history: History, values: list[float]) -> None:
    run = _run(1, values)
    whole = encode([run.suite, run.environment.device, run.started, run.rounds])

    history.add(run, {})

    assert [one.id for one in history.sessions()] == [hashlib.sha256(whole).hexdigest()[:32]]


def test_a_run_is_stored_once(history: History, tmp_path: Path) -> None:
    run = _run(1, [0.5, 0.6])
    write_atomic(tmp_path / "run.json", encode(run))

    assert history.add(run, {})
    assert not history.add(run, {})
    assert not history.add(read_record(tmp_path / "run.json", Run, RUN_SCHEMA), {})
    assert [one.values for one in history.sessions()] == [2]


def test_runs_of_two_hosts_that_started_together_are_both_stored(history: History) -> None:
    assert history.add(_run(1, [0.5]), {})
    assert history.add(_run(1, [0.6]), {})


def test_a_planted_run_is_not_stored(history: History) -> None:
    run = _run(1, [0.5])

    assert not history.add(replace(run, environment=replace(MADE, inject={"decode": 1.25})), {})
    assert history.sessions() == []


def test_a_run_without_a_valid_value_is_not_stored(history: History) -> None:
    run = _run(1, [])
    disturbed = replace(run, rounds=(_round(0, 0.5, fault="disturbed"), _round(1, float("nan"))))

    assert not history.add(run, {})
    assert not history.add(disturbed, {})


def test_faulty_cases_foreign_metrics_and_foreign_cases_are_left_out(history: History) -> None:
    cases = (
        CaseRound("e-c", {"itl_p50": 0.5}, faults=("too few samples",)),
        CaseRound("e-gone", {"itl_p50": 0.5}),
        CaseRound("e-c", {"itl_p50": 0.7, "not_of_ours": 1.0}),
    )
    run = replace(_run(1, []), rounds=(Round("e", Side.CANDIDATE, 0, "", 1.0, cases),))

    assert history.add(run, {})
    assert _known(history) == {("e-c", "itl_p50"): ((0.7,),)}


def test_baseline_rounds_belong_to_the_baselines_engine(history: History) -> None:
    history.add(_run(1, [0.5], beside=[0.4, 0.3], key="new"), {"e-c": "old"})

    assert _known(history, {"e-c": ("00ff", "new")}) == {("e-c", "itl_p50"): ((0.5,),)}
    assert _known(history, {"e-c": ("00ff", "old")}) == {("e-c", "itl_p50"): ((0.4, 0.3),)}


def test_baseline_rounds_of_an_unknown_engine_are_left_out(history: History) -> None:
    history.add(_run(1, [0.5], beside=[0.4]), {})

    assert [one.values for one in history.sessions()] == [1]


# ---------------------------------------------------------------------- asking


def test_sessions_are_known_oldest_first_whatever_order_they_came_in(history: History) -> None:
    for day in (3, 1, 2):
        history.add(_run(day, [float(day), day + 0.5]), {})

    assert _known(history)["e-c", "itl_p50"] == ((1.0, 1.5), (2.0, 2.5), (3.0, 3.5))
    assert [one.started[8:10] for one in history.sessions()] == ["01", "02", "03"]


def test_both_sides_of_one_engine_are_one_session_in_the_order_of_rounds(history: History) -> None:
    rounds = (_round(0, 1.0, Side.BASELINE), _round(1, 2.0), _round(2, 3.0), _round(3, 4.0, Side.BASELINE))
    history.add(replace(_run(1, []), rounds=rounds), {"e-c": "k1"})
    history.add(_run(2, [5.0]), {})

    assert _known(history)["e-c", "itl_p50"] == ((1.0, 2.0, 3.0, 4.0), (5.0,))


@pytest.mark.parametrize(
    ("suite", "device", "known"),
    [
        ("large", DEVICE, KNOWN),
        ("small", "cpu/x86_64-avx512", KNOWN),
        ("small", DEVICE, {"e-c": ("other", "k1")}),
        ("small", DEVICE, {"e-c": ("00ff", "k2")}),
        ("small", DEVICE, {"e-d": ("00ff", "k1")}),
        ("small", DEVICE, {}),
    ],
    ids=["suite", "device", "hash", "engine", "case", "nothing"],
)
def test_what_is_known_of_one_thing_is_not_told_of_another(
    history: History, suite: str, device: str, known: Mapping[str, tuple[str, str]]
) -> None:
    history.add(_run(1, [0.5]), {})

    assert history.known(suite, device, known) == {}


def test_a_trail_has_medians_commits_and_what_was_measured_beside(history: History) -> None:
    history.add(_run(2, [0.5, 0.9, 0.6], beside=[0.4, 0.2], key="new", commit="bbb"), {"e-c": "old"})
    history.add(_run(1, [0.3], key="old", commit="aaa"), {})

    first, second = history.trail("small", DEVICE, "e-c", "00ff")["itl_p50"]

    assert (first.commit, first.engine_key, first.level) == ("aaa", "old", 0.3)
    assert (first.baseline_key, first.baseline_level) == (None, None)
    assert (second.commit, second.engine_key, second.level) == ("bbb", "new", 0.6)
    assert second.baseline_key == "old"
    assert second.baseline_level == pytest.approx(0.3)
    assert [one.id for one in history.sessions()] == [first.run, second.run]


def test_a_session_without_the_candidate_is_no_point_of_its_trail(history: History) -> None:
    history.add(_run(1, [], beside=[0.4]), {"e-c": "old"})

    assert history.trail("small", DEVICE, "e-c", "00ff") == {}


def test_cases_are_told_with_their_newest_hash(history: History) -> None:
    changed = replace(_run(2, [0.5]), cases=(replace(CASE, hash="beef"),))
    history.add(changed, {})
    history.add(_run(1, [0.5]), {})

    assert history.cases("small", DEVICE) == {"e-c": "beef"}


def test_sessions_can_be_asked_by_suite_and_device(history: History) -> None:
    history.add(_run(1, [0.5]), {})

    (found,) = history.sessions("small", DEVICE)

    assert (found.product, found.commit, found.versions) == ("NVIDIA H200", "0b1c2d3", {"fake": "1.0"})
    assert history.sessions("large") == []
    assert history.sessions(device="cpu/x") == []


def test_the_view_shows_one_row_per_value(history: History) -> None:
    history.add(_run(1, [0.5, 0.6], beside=[0.4]), {"e-c": "old"})

    with closing(sqlite3.connect(history.path)) as store:
        rows = store.execute("SELECT side, round, metric, unit, value FROM value ORDER BY round").fetchall()

    assert rows == [
        ("candidate", 0, "itl_p50", "s", 0.5),
        ("candidate", 1, "itl_p50", "s", 0.6),
        ("baseline", 2, "itl_p50", "s", 0.4),
    ]


# ---------------------------------------------------------------------- damage


@pytest.mark.parametrize("garbage", [b"not a database at all " * 100, b""], ids=["text", "empty"])
def test_another_file_is_refused(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "history.sqlite"
    path.write_bytes(garbage)

    with pytest.raises(RecordError, match=r"history\.sqlite .*move it away"), History(path):
        pass


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    with History(path):
        pass
    with closing(sqlite3.connect(path)) as store:
        store.execute(f"PRAGMA user_version = {HISTORY_SCHEMA + 1}")

    with pytest.raises(RecordError, match=f"schema {HISTORY_SCHEMA + 1}, this perfgate reads {HISTORY_SCHEMA}"):
        History(path).__enter__()


def test_a_file_of_schema_1_is_brought_up_and_no_session_of_it_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    with History(path) as store:
        store.add(_run(1, [0.5]), {})
        store.add(_run(2, [0.7], beside=[0.6], key="new"), {"e-c": "k1"})
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript("ALTER TABLE measured DROP COLUMN unchanged; PRAGMA user_version = 1")

    with History(path) as store:
        store.add(_run(3, [0.8]), {}, [("e-c", "itl_p50")])
        found = store.known("small", DEVICE, KNOWN)["e-c", "itl_p50"]

    assert found.values == ((0.5,), (0.6,), (0.8,))
    assert found.is_trusted == (False, True, True)


def test_damage_inside_the_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    with History(path) as store:
        for day in range(1, 20):
            store.add(_run(day, [0.5] * 40), {})
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)  # all pages but the first
    path.write_bytes(data)

    with pytest.raises(RecordError, match="cannot be used as history"), History(path) as store:
        _known(store)


def test_lists_that_do_not_fit_each_other_are_damage(history: History) -> None:
    history.add(_run(1, [0.5, 0.6]), {})
    with closing(sqlite3.connect(history.path)) as store:
        store.execute("UPDATE measured SET rounds = '[0]'")
        store.commit()

    with pytest.raises(RecordError, match="found 2 values of 1 rounds"):
        history.export(history.path.parent / "out.csv")


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(RecordError, match="cannot be used as history"):
        History(tmp_path / "file" / "history.sqlite").__enter__()


# ---------------------------------------------------------------------- processes

ADDER = """
import sys
from pathlib import Path
from perfgate.history import History
from perfgate.record import Run, read_record
for path in sorted(Path(sys.argv[2]).glob(sys.argv[3])):
    with History(Path(sys.argv[1])) as store:
        store.add(read_record(path, Run, 1), {})
"""

CRASHER = """
import os, signal, sys
from pathlib import Path
import perfgate.history as module
from perfgate.record import Run, read_record
whole, left = module._add_measured, [3]
def add(*args, **kwargs):
    whole(*args, **kwargs)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
module._add_measured = add
with module.History(Path(sys.argv[1])) as store:
    store.add(read_record(Path(sys.argv[2]), Run, 1), {})
"""


def test_processes_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    for day in range(1, 21):
        write_atomic(tmp_path / f"{'ab'[day % 2]}-{day:02}.json", encode(_run(day, [float(day)] * 5)))
    path = tmp_path / "state" / "history.sqlite"

    processes = [
        subprocess.Popen([sys.executable, "-c", ADDER, str(path), str(tmp_path), f"{name}-*.json"]) for name in "aabb"
    ]

    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    with History(path) as store:
        assert _known(store)["e-c", "itl_p50"] == tuple((float(d),) * 5 for d in range(1, 21))
    assert {file.name for file in path.parent.iterdir()} == {"history.sqlite"}


def test_a_crash_while_adding_leaves_nothing_half(tmp_path: Path) -> None:
    values = {f"{stem}_{part}": 0.5 for stem in ("ttft", "itl", "e2el") for part in ("p50", "p90")}
    run = replace(_run(1, []), rounds=(Round("e", Side.CANDIDATE, 0, "", 1.0, (CaseRound("e-c", values),)),))
    write_atomic(tmp_path / "run.json", encode(run))
    path = tmp_path / "history.sqlite"

    done = subprocess.run([sys.executable, "-c", CRASHER, str(path), str(tmp_path / "run.json")], check=False)

    assert done.returncode == -signal.SIGKILL
    with History(path) as store:
        assert store.sessions() == []
        assert _known(store) == {}
        assert store.add(run, {})
        assert len(_known(store)) == 6


# ---------------------------------------------------------------------- export

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.lists(
    st.builds(
        Value, *[TEXTS] * 11, st.integers(0, 2**53), TEXTS, TEXTS, NUMBERS,
    ),
    max_size=4,
)  # fmt: skip


def _typed(row: Mapping[str, str]) -> Value:
    plain: dict[str, object] = {**row, "round": int(row["round"]), "value": float(row["value"])}
    return Value(*plain.values())  # type: ignore[arg-type]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES)
def test_values_survive_csv(tmp_path: Path, values: list[Value]) -> None:
    path = tmp_path / "out.csv"

    assert write_values(path, iter(values)) == len(values)

    with path.open(encoding="utf-8", newline="") as file:
        assert [_typed(row) for row in csv.DictReader(file)] == values


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES)
def test_values_survive_parquet(tmp_path: Path, values: list[Value]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "out.parquet"

    assert write_values(path, iter(values)) == len(values)

    table = parquet.read_table(path)
    assert tuple(table.column_names) == COLUMNS
    assert [Value(**row) for row in table.to_pylist()] == values


def test_an_export_names_every_column(history: History) -> None:
    history.add(_run(1, [0.5], beside=[0.4]), {"e-c": "old"})
    out = history.path.parent / "new" / "out.csv"

    assert history.export(out) == 2

    first, second = csv.DictReader(out.read_text().splitlines())
    assert tuple(first) == COLUMNS
    assert (first["case"], first["side"], first["engine_key"], first["value"]) == ("e-c", "candidate", "k1", "0.5")
    assert (first["metric"], first["unit"], first["round"]) == ("itl_p50", "s", "0")
    assert (second["side"], second["engine_key"], second["commit"]) == ("baseline", "old", "0b1c2d3")


def test_an_export_that_fails_leaves_the_old_file(history: History) -> None:
    history.add(_run(1, [0.5]), {})
    out = history.path.parent / "out.csv"
    out.write_text("old")
    with closing(sqlite3.connect(history.path)) as store:
        store.execute("UPDATE measured SET figures = 'damaged'")
        store.commit()

    with pytest.raises(RecordError, match="damaged"):
        history.export(out)

    assert out.read_text() == "old"
    assert {file.name for file in out.parent.glob("*out.csv*")} == {"out.csv"}


@pytest.mark.parametrize("name", ["out.xlsx", "out"])
def test_another_suffix_is_refused(history: History, name: str) -> None:
    with pytest.raises(UsageError, match=r"expected \.csv or \.parquet"):
        history.export(history.path.parent / name)


def test_parquet_without_pyarrow_says_what_to_install(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(UsageError, match=r"pip install 'pytest-perfgate\[history\]'"):
        history.export(history.path.parent / "out.parquet")


# ---------------------------------------------------------------------- properties

SESSIONS = st.lists(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5), min_size=1, max_size=6)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SESSIONS, st.randoms())
def test_every_stored_value_comes_back(
    tmp_path_factory: pytest.TempPathFactory, sessions: list[list[float]], rng: object
) -> None:
    days = list(enumerate(sessions, 1))
    rng.shuffle(days)  # type: ignore[attr-defined]
    with History(tmp_path_factory.mktemp("store") / "history.sqlite") as store:
        for day, values in days:
            assert store.add(_run(day, values), {})

        assert _known(store)["e-c", "itl_p50"] == tuple(map(tuple, sessions))
        trail = store.trail("small", DEVICE, "e-c", "00ff")["itl_p50"]

    assert [point.level for point in trail] == [statistics.median(values) for values in sessions]


def test_the_command_line_does_not_import_numpy() -> None:
    code = "import json, sys, perfgate.cli, perfgate.history; print(json.dumps('numpy' in sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) is False
