from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from importing_samples import base_perf, serve_bench, sglang, trtllm_bench, trtllm_serving, vllm, vllm_detailed
from reading import results, source

from perfgate.errors import PerfgateError
from perfgate.importing.assemble import Naming, assemble
from perfgate.importing.faults import Faults, ImportedFileError
from perfgate.importing.formats import read_results
from perfgate.importing.source import MOST_DEPTH, MOST_RESULTS, read_source
from perfgate.record import RUN_SCHEMA, Run, decode, encode

SAMPLES = [vllm(), vllm_detailed(), trtllm_serving(), sglang(), serve_bench(), trtllm_bench()]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "a.json: found no JSON"),
        (b"\xff\xfe", "a.json: found no JSON"),
        (b"[1, 2]", "a.json: found a list (the companion '.pytorch.json' is not read), expected an object"),
        (b"3", "a.json: found a bare value, expected an object"),
        (b"{}", "a.json: found an object with no key, expected a report of trtllm-bench"),
        (b'{"a": 1, "b": 2}', "a.json: found an object with a, b, expected a report of trtllm-bench"),
        (b'{"completed": 1, "completed": 2, "duration": 3}', "found no JSON (the key 'completed' stands twice)"),
        (b'{"completed": 1}\n{"completed": \n', "a.json:2: found no JSON"),
        (b"[" * 100_000, "a.json: found no JSON"),
        (b'{"a":' * 100_000, "a.json: found no JSON"),
        (b'{"completed": 1' + b"0" * 5000 + b"}", "a.json: found no JSON"),
    ],
)
def test_what_is_no_result_is_one_line(content: bytes, line: str) -> None:
    with pytest.raises(ImportedFileError) as caught:
        results(content)

    assert line in str(caught.value)
    assert len(str(caught.value)) < 400


def test_depth_is_limited() -> None:
    deep: object = 1
    for _ in range(MOST_DEPTH):
        deep = [deep]

    with pytest.raises(ImportedFileError, match=f"found more than {MOST_DEPTH} levels of nesting"):
        results(vllm(metadata=deep))


def test_a_file_of_too_many_results_is_refused() -> None:
    with pytest.raises(ImportedFileError, match=f"found {MOST_RESULTS + 1} lines, expected at most"):
        results(b'{"completed": 1}\n' * (MOST_RESULTS + 1))


def test_a_byte_order_mark_is_read_over() -> None:
    assert results(b"\xef\xbb\xbf" + json.dumps(vllm()).encode())[0].faults == ()
    assert results(b"\xef\xbb\xbf" + base_perf().encode())


def test_size_is_limited_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    path.write_bytes(b" " * 101)
    faults = Faults()

    assert read_source(path, faults, most_bytes=100) is None
    assert [str(fault) for fault in faults.found] == [f"{path}: found more than 100 bytes, expected at most that many"]


def test_what_is_no_file_is_told_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    faults = Faults()

    for name in ("pipe", ".", "absent", "\0"):
        assert read_source(tmp_path / name, faults) is None

    found = [fault.what.partition(", expected")[0] for fault in faults.found]
    cannot = "found a file that cannot be read "
    assert found[:3] == [f"{cannot}(it is a named pipe", f"{cannot}(Is a directory)", "found nothing"]
    assert len(found) == 4


def test_many_faults_are_counted() -> None:
    lines = "\n".join(json.dumps(vllm(mean_ttft_ms=-1)) for _ in range(60))

    with pytest.raises(ImportedFileError, match=r"not imported, 60 faults:(.|\n)*\n  and 20 more$"):
        results(lines)


def _never_crashes(data: bytes) -> None:
    """Either a run that its own file format holds, or a PerfgateError of few short lines."""
    try:
        run = assemble(read_results([source(data)], 1000), Naming())
    except PerfgateError as exc:
        lines = str(exc).split("\n")
        assert max(map(len, lines)) in range(1, 600), lines
        return
    assert decode(encode(run), Run, "run") == run
    assert run.schema == RUN_SCHEMA


@given(st.binary(max_size=300))
def test_any_bytes_give_a_run_or_a_perfgate_error(data: bytes) -> None:
    _never_crashes(data)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


@given(st.data())
def test_samples_with_any_key_replaced_give_a_run_or_a_perfgate_error(data: st.DataObject) -> None:
    plain = json.loads(json.dumps(data.draw(st.sampled_from(SAMPLES))))
    for _ in range(data.draw(st.integers(1, 3))):
        inner = plain
        for _ in range(3):
            key = data.draw(st.sampled_from(sorted(inner)))
            if not isinstance(inner[key], dict) or not inner[key] or data.draw(st.booleans()):
                break
            inner = inner[key]
        inner[key] = data.draw(_JSON)
    _never_crashes(json.dumps(plain).encode())


@given(st.data())
def test_samples_with_any_bytes_replaced_give_a_run_or_a_perfgate_error(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([json.dumps(plain) for plain in SAMPLES] + [base_perf()])).encode()
    at = data.draw(st.integers(0, len(whole)))
    cut = data.draw(st.integers(0, 20))
    _never_crashes(whole[:at] + data.draw(st.binary(max_size=20)) + whole[at + cut :])


@given(st.lists(st.lists(st.text(max_size=12), min_size=5, max_size=7), max_size=4))
def test_any_table_gives_a_run_or_a_perfgate_error(rows: list[list[str]]) -> None:
    _never_crashes((base_perf() + "\n".join(",".join(row) for row in rows)).encode("utf-8", "replace"))
