from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfgate.case import EngineSpec
from perfgate.errors import RecordError, StorageError
from perfgate.floats import Floats
from perfgate.record import (
    RUN_SCHEMA,
    CaseInfo,
    CaseRound,
    DocumentScore,
    Environment,
    Host,
    PreparedInfo,
    Round,
    Run,
    Side,
    decode,
    encode,
    encode_pretty,
    pieces,
    pretty_pieces,
    printable,
    read_record,
    remove_abandoned,
    write_atomic,
)

QUICK = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

TEXT = st.text(max_size=12)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 2**53)
VALUES = st.dictionaries(TEXT, FLOATS, max_size=3)
SCORES = st.builds(DocumentScore, FLOATS, COUNTS, COUNTS)
CASE_ROUNDS = st.builds(
    CaseRound,
    TEXT,
    VALUES,
    st.dictionaries(TEXT, st.lists(FLOATS, max_size=4).map(Floats), max_size=2),
    st.dictionaries(TEXT, SCORES, max_size=2),
    st.lists(TEXT, max_size=2).map(tuple),
)
ROUNDS = st.builds(
    Round,
    TEXT,
    st.sampled_from(Side),
    COUNTS,
    TEXT,
    FLOATS,
    st.lists(CASE_ROUNDS, max_size=2).map(tuple),
    st.builds(Host, FLOATS, FLOATS, st.none() | FLOATS),
    st.none() | TEXT,
)
VERSIONS = st.dictionaries(TEXT, TEXT, max_size=2)
RUNS = st.builds(
    Run,
    TEXT,
    TEXT,
    st.builds(Environment, TEXT, TEXT, VERSIONS, TEXT, VALUES),
    st.lists(st.builds(CaseInfo, TEXT, TEXT, TEXT, TEXT, st.none() | TEXT), max_size=2).map(tuple),
    st.lists(st.builds(PreparedInfo, TEXT, TEXT, st.booleans(), VALUES, COUNTS, VERSIONS), max_size=2).map(tuple),
    st.lists(ROUNDS, max_size=2).map(tuple),
    st.lists(TEXT, max_size=2).map(tuple),
)

RUN = Run(
    "small",
    "2026-01-14T08:00:00+00:00",
    Environment("cpu/x86_64-avx2", "A CPU", {"python": "3.11"}, "0b1c2d3"),
    (CaseInfo("e-c", "e", "latency", "00ff"),),
    (),
    (Round("e", Side.CANDIDATE, 0, "2026-01-14T08:00:01+00:00", 1.5, (CaseRound("e-c", {"ttft_p50": 0.01}),)),),
)


@QUICK
@given(RUNS)
def test_a_run_survives_its_file(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "run.json"

    write_atomic(path, encode(run))

    assert read_record(path, Run, RUN_SCHEMA) == run


@QUICK
@given(RUNS)
def test_a_run_in_pieces_is_the_same_to_the_byte(run: Run) -> None:
    assert b"".join(pieces(run)) == encode(run)
    assert b"".join(pretty_pieces(run)) == encode_pretty(run)


@QUICK
@given(ROUNDS)
def test_a_round_survives_either_form_of_json(one: Round) -> None:
    assert decode(encode(one), Round, "compact") == one
    assert decode(encode_pretty(one), Round, "pretty") == one


@given(FLOATS)
def test_a_value_comes_back_to_the_last_bit(value: float) -> None:
    found = decode(encode(CaseRound("c", {"v": value})), CaseRound, "")

    assert found.values["v"].hex() == value.hex()


def test_a_path_survives_its_file() -> None:
    spec = EngineSpec("fp32", Path("/models/tiny"))

    assert decode(encode(spec), EngineSpec, "") == spec


def test_what_is_no_record_is_not_written() -> None:
    with pytest.raises(NotImplementedError, match="object is not a record"):
        encode(object())


@given(st.dictionaries(TEXT, FLOATS))
def test_the_order_of_a_mapping_does_not_change_its_file(values: dict[str, float]) -> None:
    backwards = dict(reversed(values.items()))

    assert encode_pretty(CaseRound("c", backwards)) == encode_pretty(CaseRound("c", values))


def test_a_file_for_people_is_indented_and_ends_its_last_line() -> None:
    lines = encode_pretty(RUN).decode().split("\n")

    assert lines[:2] == ["{", ' "suite": "small",']
    assert lines[-2:] == ["}", ""]


def test_a_file_cut_anywhere_is_one_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    whole = encode(RUN)

    messages = [_refusal(path, whole[:length]) for length in range(len(whole))]

    assert [message for message in messages if not message.startswith(f"{path} is damaged")] == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0\0",
        b"not json",
        b"\xff\xfe",
        b'{"suite": "\xff"}',
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        encode(RUN) + b"}",
        encode(RUN).replace(b'"index":0', b'"index":"0"'),
        encode(RUN).replace(b'"index":0', b'"index":0.5'),
        encode(RUN).replace(b'"seconds":1.5', b'"seconds":null'),
        encode(RUN).replace(b'"seconds":1.5,', b""),
        encode(RUN).replace(b'"candidate"', b'"bystander"'),
        encode(RUN).replace(b"0.01", b"1e999"),
        encode(RUN).replace(b"0.01", b"NaN"),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_a_damaged_file_is_one_error_that_names_it(tmp_path: Path, data: bytes) -> None:
    assert _refusal(tmp_path / "run.json", data).startswith(f"{tmp_path}/run.json is damaged or not a perfgate file: ")


def test_the_error_names_the_place_that_does_not_fit(tmp_path: Path) -> None:
    data = encode(RUN).replace(b'"index":0', b'"index":"0"')

    assert "$.rounds[0].index" in _refusal(tmp_path / "run.json", data)


@pytest.mark.parametrize("schema", [b"2", b"0", b'"1"', b"null", b"[1]"])
def test_another_schema_is_an_error_that_says_so(tmp_path: Path, schema: bytes) -> None:
    data = encode(RUN).replace(b'"schema":1', b'"schema":' + schema)

    assert "run.json has schema " in _refusal(tmp_path / "run.json", data)
    assert "this perfgate reads 1" in _refusal(tmp_path / "run.json", data)


def test_a_schema_is_checked_before_what_it_describes(tmp_path: Path) -> None:
    assert "has schema 7" in _refusal(tmp_path / "run.json", b'{"schema": 7, "laps": []}')


def test_a_file_without_a_schema_is_an_error_that_says_so(tmp_path: Path) -> None:
    assert "has schema None" in _refusal(tmp_path / "run.json", b"{}")


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"absent\.json cannot be read: No such file"):
        read_record(tmp_path / "absent.json", Run, RUN_SCHEMA)


def test_a_folder_is_not_a_record(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be read: Is a directory"):
        read_record(tmp_path, Run, RUN_SCHEMA)


def test_a_path_that_is_no_text_is_a_record_error() -> None:
    with pytest.raises(RecordError, match="job"):
        decode(b'{"name": "fp32", "model": 5}', EngineSpec, "job")


@QUICK
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_record_error(data: bytes) -> None:
    with pytest.raises(RecordError, match="a-file"):
        decode(data, Run, "a-file")


@QUICK
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | FLOATS | TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    ),
    st.sampled_from(["suite", "environment", "cases", "prepared", "rounds", "rerunnable"]),
)
def test_a_run_with_any_one_part_replaced_is_read_or_a_record_error(part: object, name: str) -> None:
    data = msgspec.json.encode({**msgspec.json.decode(encode(RUN)), name: part})

    found = _decode_or_error(data)

    assert isinstance(found, (Run, RecordError))


def test_writing_makes_folders_and_a_file_that_all_may_read(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "run.json"

    write_atomic(path, b"data")

    assert path.read_bytes() == b"data"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_writing_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"a much longer old file")

    write_atomic(path, b"new")

    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.chmod"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"old")

    with monkeypatch.context() as patch:
        patch.setattr(step, _Raiser(error))
        with pytest.raises(StorageError if isinstance(error, OSError) else KeyboardInterrupt):
            write_atomic(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_first_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _Raiser(OSError(28, "full")))
        with pytest.raises(StorageError, match=r"run.json cannot be written: full; make room"):
            write_atomic(tmp_path / "run.json", b"new")

    assert list(tmp_path.iterdir()) == []


def test_a_round_at_fault_has_no_values() -> None:
    sound = _round(Side.CANDIDATE, 1.0)

    assert sound.is_valid
    assert sound.value("e-c", "ttft_p50") == 1.0
    assert not replace(sound, fault="killed").is_valid
    assert replace(sound, fault="killed").value("e-c", "ttft_p50") is None
    assert replace(sound, fault="").value("e-c", "ttft_p50") is None


def test_a_case_at_fault_has_no_values_but_its_neighbours_have() -> None:
    cases = (CaseRound("a", {"v": 1.0}, faults=("short",)), CaseRound("b", {"v": 2.0}))
    one = replace(_round(Side.CANDIDATE, 1.0), cases=cases)

    assert one.value("a", "v") is None
    assert one.value("b", "v") == 2.0


def test_a_value_that_was_not_measured_is_none() -> None:
    one = _round(Side.CANDIDATE, 1.0)

    assert one.value("e-c", "ttft_p99") is None
    assert one.value("e-other", "ttft_p50") is None


def test_build_time_is_the_sum_of_its_phases() -> None:
    assert PreparedInfo("e", "k", False, {"convert": 1.5, "compile": 2.0}, 10, {}).build_s == 3.5


def test_values_are_those_of_one_side_in_order_without_invalid_rounds() -> None:
    run = _run(
        _round(Side.CANDIDATE, 1.0),
        _round(Side.BASELINE, 10.0),
        replace(_round(Side.CANDIDATE, 2.0), fault="disturbed"),
        _round(Side.CANDIDATE, 3.0),
    )

    assert run.values("e-c", "ttft_p50", Side.CANDIDATE) == [1.0, 3.0]
    assert run.values("e-c", "ttft_p50", Side.BASELINE) == [10.0]
    assert run.values("e-c", "ttft_p99", Side.CANDIDATE) == []


def test_a_value_of_zero_is_a_value() -> None:
    assert _run(_round(Side.CANDIDATE, 0.0)).values("e-c", "ttft_p50", Side.CANDIDATE) == [0.0]


def test_neighbouring_rounds_are_pairs_of_baseline_and_candidate_in_either_order() -> None:
    run = _run(
        _round(Side.CANDIDATE, 1.0),
        _round(Side.BASELINE, 10.0),
        _round(Side.BASELINE, 20.0),
        _round(Side.CANDIDATE, 2.0),
    )

    assert run.pairs("e-c", "ttft_p50") == [(10.0, 1.0), (20.0, 2.0)]


def test_a_round_is_in_one_pair_only() -> None:
    run = _run(_round(Side.CANDIDATE, 1.0), _round(Side.BASELINE, 10.0), _round(Side.CANDIDATE, 2.0))

    assert run.pairs("e-c", "ttft_p50") == [(10.0, 1.0)]


def test_rounds_of_one_side_are_no_pair() -> None:
    run = _run(_round(Side.CANDIDATE, 1.0), _round(Side.CANDIDATE, 2.0), _round(Side.BASELINE, 10.0))

    assert run.pairs("e-c", "ttft_p50") == [(10.0, 2.0)]


def test_an_invalid_round_is_in_no_pair_and_parts_its_neighbours() -> None:
    broken = replace(_round(Side.BASELINE, 10.0), fault="disturbed")
    run = _run(_round(Side.CANDIDATE, 1.0), broken, _round(Side.BASELINE, 20.0), _round(Side.CANDIDATE, 2.0))

    assert run.pairs("e-c", "ttft_p50") == [(20.0, 2.0)]


def test_a_round_of_another_engine_parts_its_neighbours() -> None:
    other = replace(_round(Side.CANDIDATE, 5.0), engine="other")
    run = _run(_round(Side.CANDIDATE, 1.0), other, _round(Side.BASELINE, 10.0))

    assert run.pairs("e-c", "ttft_p50") == []


def test_rounds_between_which_others_ran_are_no_pair() -> None:
    """Also where the others were left out of the run at hand."""
    run = _run(_round(Side.CANDIDATE, 1.0), _round(Side.BASELINE, 5.0), _round(Side.BASELINE, 10.0))

    assert replace(run, rounds=(run.rounds[0], run.rounds[2])).pairs("e-c", "ttft_p50") == []


def test_a_case_that_one_side_did_not_measure_is_no_pair() -> None:
    run = _run(_round(Side.CANDIDATE, 1.0), replace(_round(Side.BASELINE, 10.0), cases=()))

    assert run.pairs("e-c", "ttft_p50") == []


@given(st.lists(st.tuples(st.sampled_from(Side), st.booleans()), max_size=12))
def test_pairs_are_of_adjacent_valid_rounds_and_share_none(marks: list[tuple[Side, bool]]) -> None:
    rounds = [
        replace(_round(side, float(index)), fault=None if is_valid else "x")
        for index, (side, is_valid) in enumerate(marks)
    ]

    pairs = _run(*rounds).pairs("e-c", "ttft_p50")

    used = [int(value) for pair in pairs for value in pair]
    assert len(set(used)) == len(used)
    assert all(marks[index][1] for index in used)
    assert all(abs(base - candidate) == 1 for base, candidate in pairs)
    assert {marks[int(base)][0] for base, _ in pairs} <= {Side.BASELINE}
    assert {marks[int(candidate)][0] for _, candidate in pairs} <= {Side.CANDIDATE}


@given(st.text(st.characters(exclude_categories=())))
def test_printable_text_fits_any_file(text: str) -> None:
    clean = printable(text)

    assert clean.encode().decode() == clean
    assert clean.isprintable()
    assert len(clean) == len(text)
    assert printable(clean) == clean


def test_printable_text_stays_as_it_is() -> None:
    assert printable("naïve 42 % — 速い") == "naïve 42 % — 速い"


def test_control_codes_and_lone_surrogates_are_replaced() -> None:
    assert printable("a\x1b[31m\n\tb\ud800") == "a [31m  b?"


def _round(side: Side, value: float) -> Round:
    return Round("e", side, 0, "2026-01-14T08:00:00+00:00", 1.0, (CaseRound("e-c", {"ttft_p50": value}),))


def _run(*rounds: Round) -> Run:
    return replace(RUN, rounds=tuple(replace(one, index=index) for index, one in enumerate(rounds)))


def _refusal(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(RecordError) as caught:
        read_record(path, Run, RUN_SCHEMA)
    return str(caught.value)


def _decode_or_error(data: bytes) -> Run | RecordError:
    try:
        return decode(data, Run, "a-file")
    except RecordError as exc:
        return exc


class _Raiser:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __call__(self, *_: object) -> None:
        raise self._error


def test_what_killed_writers_left_is_removed_and_what_living_ones_write_is_not(tmp_path: Path) -> None:
    host = os.uname().nodename
    dead, living = f".a.json.{host}.999999999.x", f".b.json.{host}.{os.getpid()}.y"
    for name in (dead, living, ".c.json.elsewhere.999999999.z", "d.json"):
        (tmp_path / name).touch()

    remove_abandoned(tmp_path, "b.json")
    assert len(list(tmp_path.iterdir())) == 4
    remove_abandoned(tmp_path)

    left = {path.name for path in tmp_path.iterdir()}
    assert left == {living, ".c.json.elsewhere.999999999.z", "d.json"}
