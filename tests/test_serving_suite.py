"""Serving workloads as a suite writes them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from perfgate.case import (
    Arrivals,
    Case,
    EngineSpec,
    PromptKind,
    PromptPrefix,
    ServingRoute,
    ServingTimeouts,
    ServingWork,
    Slo,
    WorkKind,
    canonical,
)
from perfgate.engines.served import way_of
from perfgate.errors import SuiteError
from perfgate.record import decode, encode
from perfgate.serving_suite import SERVING_SCHEMA
from perfgate.suite import load_suite

SPEC = EngineSpec("one", Path("m"))
CLOSED = {"concurrency": 4}
CHANGES: dict[str, Any] = {
    "isl": "256",
    "osl": "uniform:1:9",
    "concurrency": 8,
    "request_rate": 2.0,
    "arrivals": Arrivals.CONSTANT,
    "requests": 50,
    "warmup_requests": 5,
    "seed": 1,
    "prefix": PromptPrefix(1, 8),
    "route": ServingRoute.CHAT,
    "prompts": PromptKind.TEXT,
    "ignore_eos": False,
    "slo": Slo(ttft_s=1.0),
    "timeouts": ServingTimeouts(total_s=9.0),
}


def _load(folder: Path, **keys: Any) -> ServingWork:
    suite = {
        "schema": 1,
        "suite": "s",
        "engines": {"one": {"model": "m"}},
        "workloads": {"w": {"kind": "serving", **keys}},
        "gate": {"metrics": {"ttft_p50": {}}},
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    (work,) = (case.work for case in load_suite(folder / "suite.yaml").cases)
    assert isinstance(work, ServingWork)
    return work


def _faults(folder: Path, **keys: Any) -> list[str]:
    with pytest.raises(SuiteError) as error:
        _load(folder, **keys)
    return [str(fault) for fault in error.value.faults]


def test_every_key_is_read(tmp_path: Path) -> None:
    work = _load(
        tmp_path,
        isl="uniform:100:500",
        osl=64,
        request_rate=2.5,
        arrivals="constant",
        requests=40,
        warmup_requests=3,
        seed=7,
        prefix={"groups": 2, "tokens": 50, "share": "50%"},
        route="chat",
        ignore_eos=False,
        slo={"ttft": "500ms", "tpot": "20ms", "e2el": "5s"},
        timeouts={"connect": "1s", "first_token": "2s", "idle": "3s", "total": "4s", "run": "5min"},
    )

    assert work == ServingWork(
        "w",
        "uniform:100:500",
        "64",
        None,
        2.5,
        Arrivals.CONSTANT,
        40,
        3,
        7,
        PromptPrefix(2, 50, 0.5),
        ServingRoute.CHAT,
        PromptKind.TEXT,
        False,
        Slo(0.5, 0.02, 5.0),
        ServingTimeouts(1.0, 2.0, 3.0, 4.0, 300.0),
    )


def test_a_closed_loop_takes_ten_times_its_concurrency_after_a_warm_up_of_one(tmp_path: Path) -> None:
    work = _load(tmp_path, concurrency=16)

    assert (work.requests, work.warmup_requests, work.arrivals, work.prompts) == (160, 16, None, PromptKind.IDS)


def test_an_open_loop_comes_like_independent_users_after_a_tenth_of_its_requests(tmp_path: Path) -> None:
    work = _load(tmp_path, request_rate=4)

    assert (work.requests, work.warmup_requests, work.arrivals) == (100, 10, Arrivals.POISSON)


@given(concurrency=st.integers(1, 4096), times=st.integers(1, 40))
def test_multiples_of_the_concurrency_are_resolved(
    tmp_path_factory: pytest.TempPathFactory, concurrency: int, times: int
) -> None:
    work = _load(tmp_path_factory.mktemp("s"), concurrency=concurrency, requests=f"{times}x", warmup_requests="0")

    assert (work.requests, work.warmup_requests) == (times * concurrency, 0)


def test_a_histogram_is_found_beside_the_suite_and_hashed_without_its_place(tmp_path: Path) -> None:
    works = []
    for place in ("here", "there"):
        folder = tmp_path / place / "suites"
        folder.mkdir(parents=True)
        (folder / "isl.json").write_text('{"128": 3}')
        works.append(_load(folder, isl="isl.json", **CLOSED))

    assert works[0].isl == str(tmp_path / "here" / "suites" / "isl.json")
    assert Case(SPEC, works[0]).hash == Case(SPEC, works[1]).hash


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "exactly one of concurrency (closed loop) and request_rate (open loop)"),
        ({"concurrency": 2, "request_rate": 1}, "exactly one of concurrency"),
        ({"concurrency": 2, "arrivals": "poisson"}, "belongs to request_rate"),
        ({"request_rate": 2, "requests": "5x"}, "multiple of the concurrency"),
        ({"request_rate": 2, "warmup_requests": "5x"}, "w.warmup_requests: 5x is a multiple of the concurrency"),
        ({"concurrency": 9, "requests": 8}, "the concurrency could never be reached"),
        ({"concurrency": 1, "requests": 0}, "the concurrency could never be reached"),
        ({"concurrency": 1, "route": "chat", "prompts": "ids"}, "the chat route takes text"),
        ({"concurrency": 1, "isl": 8, "prefix": {"groups": 1, "tokens": 8}}, "raise isl"),
        ({"concurrency": 1, "isl": "uniform:9:1"}, "the low end 9 is above the high end 1"),
        ({"concurrency": 1, "osl": "long"}, "found the length 'long'"),
        ({"concurrency": 1, "isl": "none.json"}, "cannot be read"),
        ({"request_rate": 0}, "expected requests/s above 0"),
        ({"request_rate": "inf"}, "expected requests/s above 0"),
        ({"concurrency": 1, "slo": {"ttft": 5}}, "expected a duration"),
        ({"concurrency": 1, "slo": {"itl": "5ms"}}, "unknown key"),
        ({"concurrency": 1, "requests": "many"}, "expected a number of requests"),
    ],
)
def test_what_cannot_be_is_a_fault_with_its_place(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    (fault,) = _faults(tmp_path, **keys)

    assert said in fault
    assert "suite.yaml:" in fault
    assert "workloads.w" in fault


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    faults = _faults(tmp_path, isl="x", osl="y", concurrency=0, slo={"ttft": "soon"}, arrivals="never")

    assert len(faults) == 5


@given(st.dictionaries(st.sampled_from([*SERVING_SCHEMA.fields]), st.text() | st.integers() | st.none(), max_size=6))
def test_any_values_give_a_workload_or_faults(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Any]) -> None:
    keys.pop("kind", None)
    try:
        work = _load(tmp_path_factory.mktemp("s"), **keys)
    except SuiteError:
        return
    assert decode(encode(work), ServingWork, "here") == work


@pytest.mark.parametrize("name", CHANGES)
def test_each_field_changes_the_hash(name: str) -> None:
    before = ServingWork("w", concurrency=4)

    assert Case(SPEC, dataclasses.replace(before, **{name: CHANGES[name]})).hash != Case(SPEC, before).hash


def test_no_field_is_left_out_above() -> None:
    assert {field.name for field in dataclasses.fields(ServingWork)} == {"name", *CHANGES}


def test_what_is_not_asked_for_is_not_hashed() -> None:
    plain = canonical(ServingWork("w", concurrency=4, slo=Slo(ttft_s=1.0)))

    assert plain["slo"] == {"ttft_s": 1.0}
    assert not {"request_rate", "arrivals", "prefix", "timeouts"} & set(plain)


def test_a_case_of_it_is_of_the_kind_serving() -> None:
    assert Case(SPEC, ServingWork("w", concurrency=4)).kind is WorkKind.SERVING


def test_the_schema_for_editors_names_every_key() -> None:
    assert set(SERVING_SCHEMA.json_schema()["properties"]) == {"kind", *CHANGES}


def test_the_suite_in_the_docs_is_read(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "docs" / "serving.md").read_text()
    (tmp_path / "docs.yaml").write_text(text.partition("```yaml\n")[2].partition("```")[0])

    suite = load_suite(tmp_path / "docs.yaml")

    assert [spec.name for spec in suite.engines] == ["vllm", "mine", "running", "embedded"]
    assert {case.kind for case in suite.cases} == {WorkKind.SERVING}
    for spec in suite.engines[:3]:
        way_of(spec)
