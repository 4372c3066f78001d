"""Logs that nobody writes any more: what is masked in them, what stays byte for byte, and when nothing is done."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.engines import scrubbing
from perfgate.engines.redaction import without
from perfgate.engines.scrubbing import scrub

TOKEN = "hf_abcdefghijklmnop1234"
LINE = "12:00:00 INFO step 12 took 12.3 ms, see https://h/x?a=1&max_tokens=2\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "a.log"


def others(log: Path) -> list[str]:
    return [path.name for path in log.parent.iterdir() if path != log]


def test_a_log_is_scrubbed_when_nobody_writes_it_any_more(log: Path) -> None:
    log.write_bytes(b"starting\nkey is planted-secret\n\xff\n")

    scrub(log, ["planted-secret"])

    assert log.read_bytes() == b"starting\nkey is ***\n\xff\n"
    assert others(log) == []


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (b"GET https://me:pa55word@hub/m?api_key=abc123def 401", b"GET https://***@hub/m?api_key=*** 401"),
        (b"Authorization: Bearer abcdef123456", b"Authorization: ***"),
        (b"\xfftoken hf_abcdefghijklmnop1234\xe2\x80\xa6", b"\xfftoken ***\xe2\x80\xa6"),
        (b"cannot reach postgres://u:pa55word@h\r\n", b"cannot reach postgres://***@h\r\n"),
    ],
)
def test_what_its_form_gives_away_is_masked_in_logs_too(log: Path, line: bytes, left: bytes) -> None:
    log.write_bytes(b"before\r\x00" + line + b"\nafter")

    scrub(log, ())

    assert log.read_bytes() == b"before\r\x00" + left + b"\nafter"
    assert others(log) == []


def test_a_log_without_secrets_is_not_touched(log: Path) -> None:
    log.write_bytes(LINE.encode() * 1000 + bytes(range(256)))
    before = log.stat()

    scrub(log, ["planted-secret"])

    after = log.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (before.st_ino, before.st_mtime_ns, before.st_mode)


def test_a_log_that_is_gone_is_nobodys_fault(log: Path) -> None:
    scrub(log, ["planted-secret"])

    assert others(log) == []


def test_what_a_killed_one_left_is_replaced(log: Path) -> None:
    log.write_text(f"token {TOKEN}\n")
    (log.parent / ".a.log.scrubbed").write_text("half")

    scrub(log, ())

    assert (log.read_text(), others(log)) == ("token ***\n", [])


def test_a_log_that_somebody_writes_meanwhile_stays(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.write_text(f"token {TOKEN}\n")

    def writes_too(text: str, secrets: Sequence[str]) -> str:
        log.write_text("another process\n" * 2)
        return without(text, secrets)

    monkeypatch.setattr(scrubbing, "without", writes_too)
    scrub(log, ())

    assert (log.read_text(), others(log)) == ("another process\n" * 2, [])


def test_a_log_that_grows_as_fast_as_it_is_read_has_an_end(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def writes_on(text: str, secrets: Sequence[str]) -> str:
        nonlocal looks
        looks += 1
        assert looks < 100, "without an end"
        with log.open("a") as more:
            more.write(LINE * 100)
        return without(text, secrets)

    monkeypatch.setattr(scrubbing, "_PIECE", 300)
    monkeypatch.setattr(scrubbing, "without", writes_on)
    log.write_text(LINE * 10 + f"token {TOKEN}\n")
    scrub(log, ())

    assert (f"token {TOKEN}" in log.read_text(), others(log)) == (True, [])


def test_a_log_that_cannot_be_replaced_is_for_our_user_alone(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    log.write_text(f"token {TOKEN}\n")
    log.chmod(0o644)
    monkeypatch.setattr(Path, "replace", full)
    scrub(log, ())

    assert (log.read_text(), log.stat().st_mode & 0o777, others(log)) == (f"token {TOKEN}\n", 0o600, [])


@given(before=st.integers(0, 400), gap=st.sampled_from([".", " ", "\n", "\r"]), after=st.integers(0, 400))
def test_a_secret_is_masked_wherever_pieces_end(
    tmp_path_factory: pytest.TempPathFactory, before: int, gap: str, after: int
) -> None:
    log = tmp_path_factory.getbasetemp() / "pieces.log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scrubbing, "_PIECE", 300)
        patch.setattr(scrubbing, "_NEAR", 64)
        secrets = f"{gap}{TOKEN} planted secret https://me:pa55@h/ "
        log.write_text("x" * before + secrets + "y" * after + secrets, newline="")

        scrub(log, ["planted secret"])

    left = log.read_bytes().decode()
    masked = f"{gap}*** *** https://***@h/ "
    assert left == "x" * before + masked + "y" * after + masked


def test_a_large_log_takes_little_memory(log: Path) -> None:
    size = 20_000_000
    for text in (LINE * (size // len(LINE)), "x" * size):
        log.write_text(f"{text} {TOKEN}\n")
        tracemalloc.start()
        scrub(log, ())
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        assert log.read_text().endswith(" ***\n")
        assert most < size / 2
