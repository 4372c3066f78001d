"""What history tells a gate, and what it must never tell it again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.baselines import Acceptance, Baseline, BaselineCase, Provenance, Series, baseline_from_run
from perfgate.history import History, Sessions
from perfgate.judge import judge
from perfgate.metrics import CATALOGUE
from perfgate.recall import Past, engine_keys, recall, remember, without_accepted
from perfgate.record import CaseInfo, CaseRound, Environment, PreparedInfo, Round, Run, Side
from perfgate.terms import Gate
from perfgate.verdict import MetricVerdict, Verdict

KEY = ("e-c", "itl_p50")
CASE = CaseInfo("e-c", "e", "latency", "00ff")
MADE = Provenance("2026-01-01", "first", "", {}, "")


def _day(day: int) -> str:
    return f"2026-01-{day:02}T08:00:00+00:00"


def _run(day: int, *values: float, beside: tuple[float, ...] = (), key: str = "k") -> Run:
    sides = [(Side.CANDIDATE, value) for value in values] + [(Side.BASELINE, value) for value in beside]
    rounds = [Round("e", side, i, "", 1.0, (CaseRound("e-c", {"itl_p50": v}),)) for i, (side, v) in enumerate(sides)]
    prepared = PreparedInfo("e", key, False, {}, 10, {})
    return Run("small", _day(day), Environment("cpu/x", "x", {}, f"c{day}"), (CASE,), (prepared,), tuple(rounds))


def _baseline(*runs: Run) -> Baseline:
    after = None
    for run in runs:
        after = baseline_from_run(run, MADE, after)
    assert after is not None
    return after


def _stored(baseline: Baseline) -> tuple[Path, Baseline]:
    return Path("b.json"), baseline


def _unnamed(*sessions: tuple[float, ...]) -> Baseline:
    """A baseline of a time when files did not name their runs."""
    series = {"itl_p50": Series("s", sessions)}
    return Baseline("small", "cpu/x", MADE, {"e-c": BaselineCase("00ff", "k", series)})


def _sessions(**by_day: tuple[float, ...]) -> dict[tuple[str, str], Sessions]:
    return {KEY: Sessions(tuple(_day(int(day[1:])) for day in by_day), tuple(by_day.values()), (True,) * len(by_day))}


# ---------------------------------------------------------------------- what counts


def test_an_accepted_run_does_not_count_twice() -> None:
    found = _sessions(d2=(1.0, 2.0), d3=(3.0,))

    assert without_accepted(found, _baseline(_run(2, 1.0, 2.0))) == {KEY: ((3.0,),)}


def test_an_accepted_run_whose_baseline_side_is_the_same_engine_does_not_count_twice() -> None:
    found = _sessions(d2=(1.0, 1.5, 2.0))  # both sides of an A/A run are one session of the engine

    assert without_accepted(found, _baseline(_run(2, 1.0, 2.0, beside=(1.5,)))) == {KEY: ()}


def test_what_is_older_than_the_oldest_accepted_run_stays_out() -> None:
    found = _sessions(d1=(9.0,), d2=(1.0,), d3=(2.0,), d4=(3.0,))

    assert without_accepted(found, _baseline(_run(2, 1.0), _run(4, 3.0))) == {KEY: ((2.0,),)}


def test_runs_left_out_on_request_stay_out() -> None:
    baseline = _baseline(_run(1, 1.0))
    earlier = Acceptance("2026-01-01", "", "", left_out=(_day(2),))
    made = replace(MADE, left_out=(_day(3),), history=(earlier,))

    found = without_accepted(_sessions(d2=(2.0,), d3=(3.0,), d4=(4.0,)), replace(baseline, provenance=made))

    assert found == {KEY: ((4.0,),)}


def test_a_baseline_that_names_no_runs_is_compared_by_values() -> None:
    found = _sessions(d1=(1.0, 2.0), d2=(1.0, 5.0, 2.0), d3=(1.0, 3.0), d4=(4.0,))

    assert without_accepted(found, _unnamed((1.0, 2.0), ())) == {KEY: ((1.0, 3.0), (4.0,))}


_rounds = st.lists(st.floats(0.1, 9.0), min_size=1, max_size=4).map(tuple)


@given(st.lists(_rounds, min_size=1, max_size=6), st.data())
def test_accepted_and_further_sessions_are_all_sessions_once(
    sessions: list[tuple[float, ...]], data: st.DataObject
) -> None:
    runs = [_run(day, *values) for day, values in enumerate(sessions, 1)]
    accepted = [runs[0], *data.draw(st.lists(st.sampled_from(runs[1:]), unique_by=id) if runs[1:] else st.just([]))]
    baseline = _baseline(*sorted(accepted, key=lambda run: run.started))
    found = {KEY: Sessions(tuple(run.started for run in runs), tuple(sessions), (True,) * len(runs))}

    further = without_accepted(found, baseline)[KEY]

    known = [*baseline.cases["e-c"].metrics["itl_p50"].sessions, *map(tuple, further)]
    assert sorted(known) == sorted(sessions)


def test_a_session_that_was_not_found_unchanged_stays_out() -> None:
    found = Sessions((_day(2), _day(3)), ((2.0,), (3.0,)), (False, True))

    assert without_accepted({KEY: found}, _baseline(_run(1, 1.0))) == {KEY: ((3.0,),)}


# ---------------------------------------------------------------------- gate after gate

SPREAD = (1.0, 1.002, 0.998, 1.001, 0.999, 1.0)
GATE = Gate((replace(CATALOGUE["itl_p50"], margin=0.05, detect=0.25),))


def _course(path: Path, *levels: float) -> list[MetricVerdict]:
    """The verdicts of gates, one a day, on engines of one key whose speed may change; stored rounds alone decide."""
    baseline = _baseline(_run(1, *SPREAD))
    found: list[MetricVerdict] = []
    for day, level in enumerate(levels, 2):
        run = _run(day, *(level * one for one in SPREAD))
        past = recall(path, run, _stored(baseline))
        verdicts = judge(run, baseline, GATE, past.known)
        assert remember(path, run, _stored(baseline), past, verdicts) == []
        found += verdicts
    return found


def test_a_red_stays_red_while_it_lasts_and_is_forgotten_when_it_is_mended(tmp_path: Path) -> None:
    found = _course(tmp_path / "h.sqlite", 1.0, 1.5, 1.5, 1.5, 3.0, 1.0)

    red = [Verdict.REGRESSED] * 4
    assert [one.verdict for one in found] == [Verdict.OK, *red, Verdict.OK]
    assert {one.baseline for one in found} == {1.0}


def test_an_improvement_hides_no_later_red(tmp_path: Path) -> None:
    found = _course(tmp_path / "h.sqlite", 0.5, 0.5, 1.0, 1.5)

    assert all(one.verdict in (Verdict.OK, Verdict.IMPROVED) for one in found[:3])
    assert found[3].verdict is Verdict.REGRESSED


def test_a_creep_never_moves_the_level_that_stored_rounds_are_judged_by(tmp_path: Path) -> None:
    found = _course(tmp_path / "h.sqlite", *(1.04**day for day in range(1, 11)))

    assert {one.baseline for one in found} == {1.0}
    assert Verdict.OK in {one.verdict for one in found[:2]}
    assert Verdict.OK not in {one.verdict for one in found[5:]}
    assert found[-1].verdict is Verdict.REGRESSED


# ---------------------------------------------------------------------- the file


def test_a_run_is_never_judged_against_itself_or_what_came_later(tmp_path: Path) -> None:
    path, stored = tmp_path / "h.sqlite", _stored(_baseline(_run(1, 1.0)))
    for day in (1, 2, 3, 4):
        assert remember(path, _run(day, float(day), beside=(day / 10,), key=f"k{day}"), stored, Past(), []) == []

    past = recall(path, _run(3, 3.0, key="k3"), stored)

    assert past.known == {KEY: ((0.2,),)}
    assert [point.commit for point in past.trails[KEY]] == ["c1", "c2"]
    assert past.note is None


def test_without_a_baseline_nothing_is_known_but_the_trail(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    remember(path, _run(1, 1.0), None, Past(), [])

    past = recall(path, _run(2, 1.0), None)

    assert (past.known, len(past.trails[KEY])) == ({}, 1)


def test_asking_makes_no_file(tmp_path: Path) -> None:
    assert recall(tmp_path / "h.sqlite", _run(1, 1.0), None) == Past()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"garbage" * 1000, b""])
def test_a_damaged_history_is_one_note_and_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "h.sqlite"
    path.write_bytes(content)

    past = recall(path, _run(1, 1.0), None)

    assert (past.known, past.trails) == ({}, {})
    assert past.note is not None
    assert past.note.startswith(f"history is left out: {path}")
    assert remember(path, _run(1, 1.0), None, past, []) == []
    assert path.read_bytes() == content


def test_a_newer_history_is_one_note(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    with History(path) as history:
        history._file._store.execute("PRAGMA user_version = 99")

    past = recall(path, _run(1, 1.0), None)

    assert "has schema 99, this perfgate reads" in str(past.note)


def test_a_history_that_cannot_be_written_is_one_note(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "h.sqlite"

    past = recall(path, _run(1, 1.0), None)
    (said,) = remember(path, _run(1, 1.0), None, past, [])

    assert past == Past()
    assert said.startswith(f"this run is not in the history: {path}")


def test_engine_keys_are_the_baselines() -> None:
    other = replace(CASE, id="e-new")

    assert engine_keys((CASE, other), _baseline(_run(1, 1.0, key="old"))) == {"e-c": "old"}
    assert engine_keys((CASE,), None) == {}
