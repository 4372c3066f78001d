from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.errors import RecordError
from perfgate.load.clock import Offset
from perfgate.load.progress import count_responses
from perfgate.load.rawfile import LoopEnd, Outcome, RawFile, RawResponse, Timing, read_raw

FIRST = RawResponse(3, Outcome.ENDED, 0, 1, 2, Timing(1, 2, 3, 4, 9), "", (5, 6), bytes(32), (3, 2), b"abcde")
SECOND = RawResponse(4, Outcome.RESET, 104, 0, 1, Timing(2, 0, 0, 4, 7), "reset by peer, héhé")
END = LoopEnd(1, 9, 5, 3, 2, "", is_real_time=True)


def written(folder: Path) -> Path:
    path = folder / "run.raw"
    raw = RawFile(path)
    raw.response(FIRST)
    raw.offsets([Offset(5, 100), Offset(3, 90)])
    raw.response(SECOND)
    raw.stray(3)
    raw.end(END)
    raw.close()
    return path


def test_a_raw_file_comes_back_as_written(tmp_path: Path) -> None:
    found = read_raw(written(tmp_path))

    assert found.responses == (FIRST, SECOND)
    assert found.offsets == (Offset(3, 90), Offset(5, 100))
    assert found.strays == {3}
    assert found.end == END


@given(data=st.data())
def test_a_torn_file_gives_its_whole_blocks(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = written(tmp_path_factory.mktemp("raw"))
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])

    found = read_raw(path)

    assert found.responses == (FIRST, SECOND)[: len(found.responses)]
    assert count_responses(path) == len(found.responses)
    assert found.end in {None, END}


@given(noise=st.binary(max_size=80))
def test_noise_behind_the_mark_is_an_error_or_nothing(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("raw") / "run.raw"
    path.write_bytes(b"perfgate load 1\n" + noise)

    with contextlib.suppress(RecordError):
        assert read_raw(path).responses == ()


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"something else altogether")

    with pytest.raises(RecordError, match="no raw record"):
        read_raw(tmp_path / "x")


def test_the_reads_of_a_connection_become_a_response() -> None:
    stamp = [(1, 35, bytes(range(16)))]
    timing = Timing(1, 2, 3, 4, 9)

    found = RawResponse.of(
        7, Outcome.CLOSED, (1, 2), timing, [(5, b"abc", stamp), (6, b"de", [])], OSError(104, "gone")
    )

    assert found == RawResponse(
        7, Outcome.CLOSED, 104, 1, 2, timing, "[Errno 104] gone", (5, 6), bytes(range(16)) + bytes(16), (3, 2), b"abcde"
    )
    assert RawResponse.unpack(found.pack()) == found
