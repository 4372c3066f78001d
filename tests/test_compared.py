"""Runs and baselines side by side, and engines of other names mapped on each other."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from perfgate.baselines import Baseline
from perfgate.compared import candidate_alone, mapped, notes, parse_pairs, read_before, refuse_other_workloads
from perfgate.comparison import Comparison, compare
from perfgate.errors import BaselineError, RecordError, UsageError
from perfgate.record import RUN_SCHEMA, CaseInfo, Run, Side, encode_pretty, read_record
from perfgate.suite import Suite, load_suite
from perfgate.verdict import Verdict

SAMPLE = Path(__file__).parent / "samples" / "c47bc84"
WHOLE = read_record(SAMPLE / "run.json", Run, RUN_SCHEMA)
RUN = candidate_alone(WHOLE)


def renamed(run: Run, name: str) -> Run:
    """The run of another engine: other names, other hashes."""

    def case(one: CaseInfo) -> CaseInfo:
        return replace(one, id=one.id.replace("one-", f"{name}-"), engine=name, hash="0" * 16)

    rounds = tuple(
        replace(one, engine=name, cases=tuple(replace(m, case=m.case.replace("one-", f"{name}-")) for m in one.cases))
        for one in run.rounds
    )
    return replace(run, cases=tuple(map(case, run.cases)), rounds=rounds)


def before() -> Baseline:
    return read_before(SAMPLE / "run.json", RUN)


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    (tmp_path / "model").mkdir()
    (tmp_path / "texts.jsonl").write_text('{"id": "d0", "text": "any"}\n')
    return load_suite(Path(shutil.copy(SAMPLE / "suite.yaml", tmp_path)))


def judged(now: Run, stored: Baseline, suite: Suite) -> Comparison:
    return compare(now, suite, (SAMPLE / "run.json", stored), "local")


def test_without_a_map_engines_of_other_names_have_no_baseline(suite: Suite) -> None:
    found = judged(renamed(RUN, "other"), before(), suite)

    assert {one.verdict for one in found.metrics} == {Verdict.NO_BASELINE}


def test_a_mapped_engine_is_compared_with_all_its_workloads(suite: Suite) -> None:
    now = renamed(RUN, "other")
    pairs = parse_pairs(["one=other"], before(), now)

    found = judged(now, mapped(before(), pairs), suite)

    assert [(pair.before, pair.now.id) for pair in pairs] == [
        ("one-build", "other-build"),
        ("one-b1", "other-b1"),
        ("one-text", "other-text"),
    ]
    assert all(one.change == pytest.approx(0, abs=1e-12) for one in found.metrics)
    assert Verdict.NO_BASELINE not in {one.verdict for one in found.metrics}


def test_a_single_case_is_mapped_alone(suite: Suite) -> None:
    now = renamed(RUN, "other")

    found = judged(now, mapped(before(), parse_pairs(["one-text=other-text"], before(), now)), suite)

    known = {one.case for one in found.metrics if one.verdict is not Verdict.NO_BASELINE}
    assert known == {"other-text"}


def test_a_case_that_was_changed_is_told_with_the_map_that_compares_it(suite: Suite) -> None:
    now = replace(RUN, cases=tuple(replace(case, hash="0" * 16) for case in RUN.cases))

    (told,) = notes(before(), [], now)
    anyhow = judged(now, mapped(before(), parse_pairs(["one=one"], before(), now)), suite)

    assert told == "one-build, one-b1, one-text: asked for in another way in A; --map one=one compares them anyhow"
    assert Verdict.NO_BASELINE not in {one.verdict for one in anyhow.metrics}


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ("one", "--map: found 'one', expected A=B"),
        ("=one", "--map: found '=one', expected A=B"),
        ("one=two", "--map one=two: B has no engine or case 'two'; its engines: one"),
        ("two=one", "--map two=one: A has no case of 'two' for it; its cases: one-b1, one-build, one-text"),
    ],
)
def test_a_map_that_cannot_be_meant_is_refused(wish: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_pairs([wish], before(), RUN)

    assert str(refused.value).startswith(said)


def test_other_workloads_are_refused_where_the_suite_knows_both(suite: Suite) -> None:
    pairs = parse_pairs(["one-text=one-b1"], before(), RUN)

    with pytest.raises(UsageError, match="one-text and one-b1 are other workloads: only engines may differ"):
        refuse_other_workloads(pairs, suite)


def test_rounds_of_the_engine_that_b_was_gated_against_do_not_stand_for_a(suite: Suite) -> None:
    assert {one.side for one in WHOLE.rounds} == set(Side)

    found = judged(candidate_alone(WHOLE), before(), suite)

    assert all(one.change == pytest.approx(0, abs=1e-12) for one in found.metrics)  # a run beside itself
    assert {one.rounds_baseline for one in found.metrics} == {0}


@pytest.mark.parametrize("name", ["run.json", "baseline.json"])
def test_devices_are_never_crossed(name: str) -> None:
    elsewhere = replace(RUN, environment=replace(RUN.environment, device="sm_90/h200-141gb"))

    with pytest.raises(BaselineError, match="never cross devices"):
        read_before(SAMPLE / name, elsewhere)


@pytest.mark.parametrize("data", [b"{}", b'{"rounds": []}', b"[]", b"", b"\xff", encode_pretty({"schema": 1})])
def test_what_is_no_record_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.json").write_bytes(data)

    with pytest.raises(RecordError, match=r"a\.json"):
        read_before(tmp_path / "a.json", RUN)


def test_a_baseline_of_another_suite_is_compared_and_that_is_told() -> None:
    other = replace(RUN, suite="other")

    assert list(notes(read_before(SAMPLE / "baseline.json", other), [], other)) == [
        "A is of suite 'sample', B of 'other'"
    ]
