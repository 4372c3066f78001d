from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.errors import UsageError
from perfgate.load.trace import Limits, TraceEntry, TraceError, at_mean_rate, faster, read_trace

LINE = {"timestamp": 0, "input_length": 8, "output_length": 4}


def written(folder: Path, *lines: object) -> Path:
    path = folder / "trace.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def faults(path: Path, **more: Any) -> list[str]:
    with pytest.raises(TraceError) as caught:
        read_trace(path, **more)
    return [str(fault).removeprefix(f"{path}") for fault in caught.value.faults]


def test_times_count_from_the_first_request_in_seconds(tmp_path: Path) -> None:
    path = written(tmp_path, LINE | {"timestamp": 500}, "", LINE | {"timestamp": 2750, "input_length": 9})

    assert read_trace(path) == (TraceEntry(0.0, 8, 4), TraceEntry(2.25, 9, 4))
    assert read_trace(path, timestamps_per_s=1)[1].due_s == 2250.0


def test_what_a_line_may_have_besides_is_read(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "a"}]
    path = written(tmp_path, LINE | {"hash_ids": [3, 0]}, LINE | {"prompt": "hello"}, LINE | {"messages": messages})

    hashed, prompted, chatted = read_trace(path, block=4)

    assert hashed.hash_ids == (3, 0)
    assert prompted.prompt == "hello"
    assert chatted.messages == tuple(messages)


entries = st.lists(
    st.tuples(st.integers(0, 10**9), st.integers(1, 5000), st.integers(1, 500)), min_size=1, max_size=30
).map(lambda found: sorted(found, key=lambda one: one[0]))


@given(entries)
def test_every_right_trace_is_read_as_written(tmp_path_factory: pytest.TempPathFactory, found: Any) -> None:
    lines = [{"timestamp": at, "input_length": isl, "output_length": osl} for at, isl, osl in found]

    read = read_trace(written(tmp_path_factory.mktemp("trace"), *lines))

    assert [(entry.input_tokens, entry.output_tokens) for entry in read] == [one[1:] for one in found]
    assert [entry.due_s for entry in read] == pytest.approx([(one[0] - found[0][0]) / 1000 for one in found])


@given(st.binary(max_size=200))
def test_bytes_that_are_no_trace_are_refused_with_their_place(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    path.write_bytes(data)

    with pytest.raises(TraceError, match=r"trace\.jsonl"):
        read_trace(path)


WRONG = [
    ({"timestamp": -1}, "timestamp: found -1, expected a number of 0 or more"),
    ({"timestamp": True}, "timestamp: found true, expected a number of 0 or more"),
    ({"timestamp": "1"}, 'timestamp: found "1", expected a number of 0 or more'),
    ({"timestamp": 1e300}, "timestamp: found 1e+300, expected a number of 0 or more"),
    ({"input_length": 0}, "input_length: found 0, expected a whole number of tokens from 1 to 10000000"),
    ({"output_length": 1.5}, "output_length: found 1.5, expected a whole number of tokens from 1 to 10000000"),
    ({"output_length": None}, "output_length: found nothing, expected a whole number of tokens from 1 to 10000000"),
    ({"hash_ids": [1]}, "hash_ids: found 1 ids, expected 2: one for each 4 of 8 tokens"),
    ({"hash_ids": [1, -2]}, "hash_ids: found [1, -2], expected a list of whole numbers of 0 or more"),
    ({"hash_ids": [1, True]}, "hash_ids: found [1, true], expected a list of whole numbers of 0 or more"),
    ({"prompt": 3}, "prompt: found 3, expected a text"),
    ({"messages": []}, "messages: found [], expected a list of objects with role and content"),
    ({"messages": [{}]}, "messages: found [{}], expected a list of objects with role and content"),
    (
        {"prompt": "a", "hash_ids": [1, 2]},
        ": found more than one of hash_ids, prompt and messages, expected one of them",
    ),
    ({"input_lenght": 3}, "input_lenght: found an unknown key, expected one of timestamp, input_length"),
]


@pytest.mark.parametrize(("change", "fault"), WRONG, ids=[fault.partition(",")[0] for _, fault in WRONG])
def test_a_wrong_value_is_named_with_what_is_expected(tmp_path: Path, change: dict[str, Any], fault: str) -> None:
    (found,) = faults(written(tmp_path, LINE, LINE | change), block=4)

    assert found.startswith(":2")
    assert fault in found


@pytest.mark.parametrize("line", ["{", "[1]", "3", '{"timestamp": NaN}', '{"a": 1, "a": 2}', "[" * 100_000])
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: str) -> None:
    (found,) = faults(written(tmp_path, LINE, line))

    assert found.startswith(":2: found ")
    assert "expected" in found


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    found = faults(written(tmp_path, {"timestamp": 0}, "x", LINE | {"output_length": 0}, LINE))

    assert [one.partition(" ")[0] for one in found] == [":1", ":1", ":2:", ":3"]


def test_times_that_go_back_are_a_fault(tmp_path: Path) -> None:
    (found,) = faults(written(tmp_path, LINE | {"timestamp": 5}, LINE | {"timestamp": 4}))

    assert found == ":2 timestamp: found 4, expected one not before the line above"


def test_many_faults_are_counted(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"the trace has 50 faults:(.|\n)*and 10 more"):
        read_trace(written(tmp_path, *["x"] * 50))


def test_a_trace_without_requests_is_a_fault(tmp_path: Path) -> None:
    assert "found no request" in faults(written(tmp_path, "", ""))[0]


def test_a_missing_trace_is_a_fault(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in faults(tmp_path / "none.jsonl")[0]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(requests=1), ":2: found more than 1 requests"),
        (Limits(line_bytes=20), ":1: found more than 20 bytes in a line"),
        (Limits(total_bytes=80), ":2: found more than 80 bytes,"),
    ],
)
def test_a_trace_over_a_limit_is_refused(tmp_path: Path, limits: Limits, words: str) -> None:
    assert faults(written(tmp_path, LINE, LINE, LINE), limits=limits)[0].startswith(words)


def test_a_faster_trace_keeps_its_bursts() -> None:
    slow = (TraceEntry(0.0, 1, 1), TraceEntry(1.0, 1, 1), TraceEntry(1.0, 1, 1), TraceEntry(4.0, 1, 1))

    assert [entry.due_s for entry in faster(slow, 2.0)] == [0.0, 0.5, 0.5, 2.0]


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=50).map(sorted), st.floats(0.01, 1000))
def test_a_mean_rate_comes_out_as_asked(times: list[float], per_s: float) -> None:
    slow = [TraceEntry(at, 1, 1) for at in times]
    if times[-1] - times[0] <= 1e-3:
        return

    scaled = at_mean_rate(slow, per_s)

    span_s = scaled[-1].due_s - scaled[0].due_s
    assert (len(scaled) - 1) / span_s == pytest.approx(per_s)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_a_factor_that_is_none_is_refused(factor: float) -> None:
    with pytest.raises(UsageError, match="expected one above 0"):
        faster([], factor)


def test_a_trace_of_one_moment_has_no_rate() -> None:
    with pytest.raises(UsageError, match="no rate that could be scaled"):
        at_mean_rate([TraceEntry(0.0, 1, 1)] * 3, 5.0)
