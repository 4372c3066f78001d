from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfgate.journal import Header, Journal
from perfgate.record import CaseRound, Round, Side, encode

HEADER = Header("small", "2026-01-14T08:00:00+00:00", "f00d")
LATER = replace(HEADER, started="2026-01-14T09:00:00+00:00")
FIRST, SECOND, THIRD = (
    Round("e", Side.CANDIDATE, index, "2026-01-14T08:00:01+00:00", 1.0, (CaseRound("e-c", {"v": 0.1 * index}),))
    for index in range(3)
)
LINES = [encode(record) + b"\n" for record in (HEADER, FIRST, SECOND)]
WHOLE = b"".join(LINES)

GARBAGE = [b"", b"\n", b"\n\n\n", b"\0" * 100, b"not a journal\n", b"\xff\xfe\xfd\n\n", b"{}\n", b"[" * 10_000]


def test_a_new_journal_is_empty(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state" / "journal.jsonl")

    assert journal.resume(HEADER) == (HEADER, [])
    assert journal.path.read_bytes() == LINES[0]


def test_an_interrupted_run_is_taken_up_with_its_own_start(tmp_path: Path) -> None:
    journal = _journal(tmp_path, LINES[0])
    journal.append(FIRST)
    journal.append(SECOND)

    assert Journal(journal.path).resume(LATER) == (HEADER, [FIRST, SECOND])
    assert journal.path.read_bytes() == WHOLE


def test_a_journal_can_be_taken_up_many_times(tmp_path: Path) -> None:
    journal = _journal(tmp_path, WHOLE)
    journal.resume(LATER)
    journal.append(THIRD)

    assert journal.resume(LATER) == (HEADER, [FIRST, SECOND, THIRD])


def test_another_fingerprint_starts_anew(tmp_path: Path) -> None:
    journal = _journal(tmp_path, WHOLE)
    other = replace(LATER, fingerprint="beef")

    assert journal.resume(other) == (other, [])
    assert journal.path.read_bytes() == encode(other) + b"\n"


@pytest.mark.parametrize("other", [replace(HEADER, suite="large"), replace(HEADER, schema=1)], ids=["suite", "schema"])
def test_rounds_of_another_suite_or_schema_are_not_taken_up(tmp_path: Path, other: Header) -> None:
    journal = _journal(tmp_path, encode(other) + b"\n" + LINES[1])

    assert journal.resume(HEADER) == (HEADER, [])


def test_a_last_line_cut_at_any_byte_keeps_all_whole_rounds(tmp_path: Path) -> None:
    kept = [_journal(tmp_path, LINES[0] + LINES[1] + LINES[2][:cut]).resume(LATER)[1] for cut in range(len(LINES[2]))]

    assert kept == [[FIRST]] * len(LINES[2])


def test_a_journal_cut_at_any_byte_of_a_round_can_be_appended_to(tmp_path: Path) -> None:
    kept = [_after_append(_journal(tmp_path, LINES[0] + LINES[1] + LINES[2][:cut])) for cut in range(len(LINES[2]))]

    assert kept == [[FIRST, THIRD]] * len(LINES[2])


def test_a_header_cut_at_any_byte_starts_anew(tmp_path: Path) -> None:
    kept = [_journal(tmp_path, LINES[0][:cut]).resume(LATER)[1] for cut in range(len(LINES[0]))]

    assert kept == [[]] * len(LINES[0])


def test_a_journal_cut_at_any_byte_of_its_header_can_be_appended_to(tmp_path: Path) -> None:
    kept = [_after_append(_journal(tmp_path, LINES[0][:cut])) for cut in range(len(LINES[0]))]

    assert kept == [[THIRD]] * len(LINES[0])


def test_rounds_after_a_damaged_line_are_cut_off(tmp_path: Path) -> None:
    journal = _journal(tmp_path, LINES[0] + LINES[1] + b"\0\0\0\n" + LINES[2])

    assert journal.resume(LATER) == (HEADER, [FIRST])
    assert journal.path.read_bytes() == LINES[0] + LINES[1]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda data: repr(data[:8]))
def test_a_file_that_is_no_journal_starts_anew(tmp_path: Path, garbage: bytes) -> None:
    journal = _journal(tmp_path, garbage)

    assert journal.resume(HEADER) == (HEADER, [])
    assert _after_append(journal) == [THIRD]


def test_a_closed_journal_has_nothing_to_take_up(tmp_path: Path) -> None:
    journal = _journal(tmp_path, WHOLE)

    journal.close()
    journal.close()

    assert not journal.path.exists()
    assert journal.resume(LATER) == (LATER, [])


def test_a_round_is_on_disk_when_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    journal = _journal(tmp_path, LINES[0])
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))

    journal.append(FIRST)

    assert synced == [len(LINES[0] + LINES[1])]


def test_the_rounds_of_a_killed_process_are_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    script = (
        "import os, signal, sys; from pathlib import Path; from test_journal import FIRST, HEADER, Journal, SECOND\n"
        "journal = Journal(Path(sys.argv[1])); journal.resume(HEADER); journal.append(FIRST); journal.append(SECOND)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )

    ended = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )

    assert ended.returncode == -signal.SIGKILL
    assert Journal(path).resume(LATER) == (HEADER, [FIRST, SECOND])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"commit": "0b1c2d3"}, "measured at commit c0ffee, this is 0b1c2d3"),
        ({"commit": ""}, "measured at commit c0ffee, this is unknown"),
        ({"changes": "b"}, "measured with other uncommitted changes of c0ffee than there are now"),
        ({"devices": ("gpu-2",)}, "measured on gpu-1, this is gpu-2"),
        ({"fingerprint": "other"}, "its cases, engines, versions or settings are others"),
        ({"schema": 3}, "another version of perfgate began it"),
    ],
)
def test_it_is_said_why_rounds_are_not_taken_up(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    begun, told = replace(HEADER, commit="c0ffee", changes="a", devices=("gpu-1",)), list[str]()
    journal, now = _journal(tmp_path, encode(begun) + b"\n" + LINES[1]), replace(begun, started=LATER.started, **change)

    assert journal.resume(now, told.append) == (now, [])
    assert told == [f"the interrupted run of {HEADER.started} is not gone on with: {why}; measuring anew"]
    assert journal.resume(now, told.append) == (now, [])
    assert len(told) == 1  # there is nothing more to tell of


@pytest.mark.parametrize(("hours", "is_taken_up"), [(23, True), (25, False), (-25, False)])
def test_rounds_of_a_day_ago_are_not_taken_up_also_where_a_half_line_was_cut_off(
    tmp_path: Path, hours: int, *, is_taken_up: bool
) -> None:
    journal, told = _journal(tmp_path, WHOLE[:-3]), list[str]()
    moment = time.time() - 3600 * hours
    os.utime(journal.path, (moment, moment))
    journal.read()

    assert journal.resume(LATER, told.append)[1] == ([FIRST] if is_taken_up else [])
    assert told == ([] if is_taken_up else [f"{_NOT} its last round is 25 h old, more than 24 h; measuring anew"])


_NOT = f"the interrupted run of {HEADER.started} is not gone on with:"


def _journal(folder: Path, data: bytes) -> Journal:
    path = folder / "journal.jsonl"
    path.write_bytes(data)
    return Journal(path)


def _after_append(journal: Journal) -> list[Round]:
    journal.resume(LATER)
    journal.append(THIRD)
    return journal.resume(LATER)[1]
