"""The sides of an A/B comparison: their grammar, and who meets whom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Project
from perfgate.contenders import Contender, Wish, contender, match, parse_wish, parse_wishes
from perfgate.environments import EnvironmentStore
from perfgate.errors import UsageError
from perfgate.process import HERE
from perfgate.suite import load_suite

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
PACKAGES = st.from_regex(r"[a-z0-9]([a-z0-9]|-[a-z0-9]){0,10}", fullmatch=True)
REVISIONS = st.from_regex(r"[A-Za-z0-9~^/@{}._-]{1,20}", fullmatch=True)


@given(NAMES, st.dictionaries(PACKAGES, st.sampled_from(["1", "2026.3.0.0", "2.13.0+cpu"])), REVISIONS | st.just(""))
def test_a_side_reads_back_as_it_was_written(engine: str, pins: dict[str, str], revision: str) -> None:
    parts = [f"{name}=={version}" for name, version in pins.items()] + ([f"commit:{revision}"] if revision else [])
    text = f"{engine}@{','.join(parts)}" if parts else engine

    assert parse_wish(text) == Wish(text, engine, pins, revision)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("int8@2026.3", "'2026.3' is no pin; expected PACKAGE==VERSION"),
        ("int8@openvino>=1", "'openvino>=1' is no pin"),
        ("int8@commit:", "expected one revision after 'commit:'"),
        ("int8@commit:a,commit:b", "expected one revision after 'commit:'"),
        ("int8@a==1,A==2", "'a' is pinned twice"),
    ],
)
def test_a_wrong_side_is_a_usage_error_that_quotes_it(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as found:
        parse_wish(text)

    assert str(found.value).startswith(f"'{text}': ")


def test_a_side_without_an_engine_takes_the_others() -> None:
    a, b = parse_wishes("int8@commit:HEAD~1", "@")

    assert (a.engine, b.engine) == ("int8", "int8")
    assert not b.pins
    assert not b.revision


def _here(suite: Path, a: str, b: str) -> tuple[Contender, Contender]:
    found = load_suite(suite)
    ours, theirs = parse_wishes(a, b)
    return Contender(ours, found, HERE, suite.parent), Contender(theirs, found, HERE, suite.parent)


def test_different_engines_meet_on_the_workloads_that_both_have(small_project: Project) -> None:
    cases = "cases: [{engines: [one], workloads: [build, b1]}, {engines: [two], workloads: [b1, text]}]\ngate:"
    suite = small_project("  two: {max_batch_size: 2}", edit=lambda text: text.replace("gate:", cases))

    (duel,) = match(*_here(suite, "one", "two"), [])

    assert [case.id for case in duel.cases] == ["two-b1"]
    assert duel.a == replace(load_suite(suite).engines[0], name="two")
    assert duel.b.max_batch_size == 2


def test_every_common_engine_meets_itself_where_no_side_names_one(small_project: Project) -> None:
    suite = small_project("  two: {max_batch_size: 2}")

    duels = match(*_here(suite, "@", "@"), ["b1"])

    assert [[case.id for case in duel.cases] for duel in duels] == [["one-b1"], ["two-b1"]]


def test_an_unknown_workload_names_those_there(small_project: Project) -> None:
    with pytest.raises(UsageError, match=r"no workload 'txt' in .*there: build, b1, text; did you mean 'text'"):
        match(*_here(small_project(), "one", "one"), ["txt"])


def test_engines_without_a_common_workload_are_a_usage_error(small_project: Project) -> None:
    cases = "cases: [{engines: [one], workloads: [build]}, {engines: [two], workloads: [b1]}]\ngate:"
    suite = small_project("  two: {max_batch_size: 2}", edit=lambda text: text.replace("gate:", cases))

    with pytest.raises(UsageError, match="'one' and 'two' have no workload in common"):
        match(*_here(suite, "one", "two"), [])


def test_an_unknown_engine_is_told_before_anything_is_installed(small_project: Project, tmp_path: Path) -> None:
    wish = parse_wish("on@perfgate-fakelib==9.9")

    with pytest.raises(UsageError, match=r"no engine 'on' in .*there: one; did you mean 'one'"):
        contender(wish, small_project(), tmp_path, EnvironmentStore(tmp_path / "environments", str))

    assert not (tmp_path / "environments").exists()
