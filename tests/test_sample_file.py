"""Samples of rounds that lie on disk are the same numbers, leave no file, and stay in memory where they do not fit."""

from __future__ import annotations

import copy
import errno
import gc
import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.errors import StorageError
from perfgate.floats import Floats
from perfgate.record import CaseRound, Round, Side, encode
from perfgate.sample_file import SampleFile

SAMPLES = st.dictionaries(st.sampled_from(["ttft", "itl", "e2el"]), st.lists(st.floats(allow_nan=False), max_size=5))


def _round(samples: dict[str, list[float]]) -> Round:
    kept = {name: Floats(values) for name, values in samples.items()}
    return Round("one", Side.CANDIDATE, 0, "2026-01-14T08:00:01+00:00", 1.0, (CaseRound("one-b1", {}, kept),))


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@given(st.lists(SAMPLES, max_size=3))
def test_samples_are_read_back_as_they_were(measured: list[dict[str, list[float]]]) -> None:
    rounds = list(map(_round, measured))
    with tempfile.TemporaryDirectory() as folder:
        away = list(map(SampleFile(Path(folder) / "work").put_away, rounds))

        assert away == rounds
        assert [*map(encode, away)] == [*map(encode, rounds)]
        assert not list(Path(folder).rglob("*.*"))


def test_they_are_numbers_like_others(tmp_path: Path) -> None:
    samples = SampleFile(tmp_path).put_away(_round({"itl": [3.0, 1.0, 2.0]})).cases[0].samples["itl"]

    assert (len(samples), samples[1], sorted(samples)) == (3, 1.0, [1.0, 2.0, 3.0])
    assert samples[1:] == Floats([1.0, 2.0])
    assert np.array(samples).tolist() == [3.0, 1.0, 2.0]
    assert copy.deepcopy(samples) == pickle.loads(pickle.dumps(samples)) == samples  # noqa: S301 - our own


def test_the_file_is_closed_with_the_last_round(tmp_path: Path) -> None:
    before = _open_files()
    file = SampleFile(tmp_path)
    done = file.put_away(_round({"itl": [1.0]}))

    del file
    gc.collect()
    assert done.cases[0].samples["itl"][0] == 1.0
    assert _open_files() == before + 1
    del done
    gc.collect()
    assert _open_files() == before
    assert not list(tmp_path.iterdir())


def test_where_the_disk_has_no_room_they_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    done = _round({"itl": [1.0]})

    assert SampleFile(tmp_path).put_away(done) is done


def test_what_the_disk_does_not_give_back_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = SampleFile(tmp_path).put_away(_round({"itl": [1.0]})).cases[0].samples["itl"]
    monkeypatch.setattr(os, "preadv", lambda *_: 4)

    with pytest.raises(StorageError, match=r"cannot be read back from the disk of .*; when it is in order, run again"):
        samples.as_list()
